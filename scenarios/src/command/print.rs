//! Standard output.

use std::io::Write as _;

/// Prints to standard output; a reader that has gone away (`| head`) is no error.
pub(super) fn print(text: &str) {
    let _reader_gone = writeln!(std::io::stdout().lock(), "{text}").is_err();
}
