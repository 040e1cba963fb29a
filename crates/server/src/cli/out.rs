//! What the command line prints: results to standard output, everything else to standard error.

use std::io::Write;

/// Prints a line.
pub(crate) fn line(text: &str) {
    // A reader that went away is no error of ours.
    drop(writeln!(std::io::stdout(), "{text}"));
}

/// Prints why it did not work.
pub(crate) fn error(text: &str) {
    drop(writeln!(std::io::stderr(), "headrace: {text}"));
}

/// Rewrites the last line, where there is a terminal.
pub(crate) fn progress(text: &str) {
    let mut out = std::io::stdout();
    drop(write!(out, "\r\x1b[2K{text}").and_then(|()| out.flush()));
}
