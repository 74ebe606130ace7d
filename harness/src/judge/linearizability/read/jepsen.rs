//! Lines of Jepsen's log: process, type, operation, value, and perhaps an error.

use super::super::history::{End, Format, History, Value};
use super::edn::value;
use super::error::ReadError;
use super::pairing::{Line, Pairing, end, verb};

pub(super) fn read(text: &str) -> Result<History, ReadError> {
    let mut pairing = Pairing::new(Format::JepsenLog);
    for (number, text) in text.lines().enumerate() {
        if let Some(line) = line(number + 1, text)? {
            pairing.add(line)?;
        }
    }
    Ok(pairing.finish())
}

/// A client's line; `None` for the nemesis and for other loggers.
fn line(line: usize, text: &str) -> Result<Option<Line<'_>>, ReadError> {
    const FORM: &str = "must be `INFO  jepsen.util - PROCESS :invoke|:ok|:fail|:info :OPERATION VALUE`";
    let Some((_, rest)) = text.split_once("jepsen.util") else {
        let logged = ["INFO", "WARN", "ERROR", "DEBUG", "TRACE"].iter().any(|level| text.contains(level));
        return if logged || text.trim().is_empty() { Ok(None) } else { Err(ReadError::new(line, FORM)) };
    };
    let rest = rest.trim_start();
    let mut rest = rest.strip_prefix('-').unwrap_or(rest);
    let mut field = || {
        rest = rest.trim_start();
        let (field, after) = rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()));
        rest = after;
        field
    };
    let (process, kind, operation) = (field(), field(), field());
    if process.starts_with(':') {
        return Ok(None);
    }
    let (Some(kind), Some(operation)) = (kind.strip_prefix(':'), operation.strip_prefix(':')) else {
        return Err(ReadError::new(line, FORM));
    };
    if process.parse::<u64>().is_err() {
        return Err(ReadError::new(line, FORM));
    }
    let verb = verb(line, operation)?;
    let (mut seen, more) = value(line, rest)?;
    let timed_out = matches!(&seen, Value::Other(text) if &**text == ":timed-out");
    let mut end = end(line, kind, timed_out || !more.trim().is_empty())?;
    if timed_out {
        // The line says what became of the operation, where others have its value.
        seen = Value::Nil;
        // Nobody knows what became of a request without an answer, whatever the line calls it.
        end = end.map(|end| if end == End::Ok { end } else { End::Unknown });
    }
    Ok(Some(Line { line, process, end, verb, key: None, value: seen }))
}
