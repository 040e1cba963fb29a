//! What the commands say to the person who runs them.

/// Prints one line.
#[expect(clippy::print_stdout, reason = "a command's output is its purpose")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}
