//! The forms of stored histories.

use super::error::ReadError;
use super::{edn, jepsen};
use crate::judge::linearizability::history::{Format, History};

/// The form that the bytes seem to have.
///
/// # Errors
/// When they have none of the forms.
pub fn format(bytes: &[u8]) -> Result<Format, ReadError> {
    const ZSTD: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];
    const LEVELS: [&[u8]; 5] = [b"INFO", b"WARN", b"ERROR", b"DEBUG", b"TRACE"];
    let start = bytes.trim_ascii_start();
    if bytes.starts_with(&ZSTD) || start.starts_with(b"{\"") {
        return Ok(Format::Events);
    }
    match start.first() {
        None => Ok(Format::JepsenLog),
        Some(b'[' | b'(' | b'{' | b'#' | b';') => Ok(Format::Edn),
        Some(_) => {
            let line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let has = |word: &&[u8]| line.windows(word.len()).any(|part| part == *word);
            if LEVELS.iter().any(has) || has(&&b"jepsen.util"[..]) {
                return Ok(Format::JepsenLog);
            }
            let before = bytes.len() - start.len();
            let line = 1 + bytes[..before].iter().filter(|byte| **byte == b'\n').count();
            Err(ReadError::new(
                line,
                "not a history; give lines of a Jepsen log (`INFO  jepsen.util - 0 :invoke :read nil`), EDN maps \
                 (`{:process 0, :type :invoke, :f :read, :value nil}`) or a history.ndjson.zst of lockbench",
            ))
        }
    }
}

/// Reads a history that clients wrote: a Jepsen log or EDN.
///
/// # Errors
/// The first line that makes no sense, with the remedy.
pub fn clients(bytes: &[u8], format: Format) -> Result<History, ReadError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        ReadError::new(line, "not UTF-8; convert the file")
    })?;
    match format {
        Format::JepsenLog => jepsen::read(text),
        Format::Edn => edn::read(text),
        Format::Events => Err(ReadError::new(1, "a history of lockbench is read together with its plan")),
    }
}
