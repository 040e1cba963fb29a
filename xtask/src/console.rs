//! What the commands say to the person who runs them.

use anyhow::Error;

/// Prints one line, or several.
#[expect(clippy::print_stdout, reason = "a command's output is its purpose")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}

/// Prints an error and what caused it.
#[expect(
    clippy::print_stderr,
    reason = "a command reports its failure where the shell expects it"
)]
pub(crate) fn say_error(error: &Error) {
    eprintln!("\nerror: {error:#}");
}
