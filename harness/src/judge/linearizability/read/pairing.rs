//! Joins calls with their returns.

use std::collections::HashMap;

use super::super::history::{Call, End, Format, History, Return, Value, Verb};
use super::error::ReadError;

/// A line of a client.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) line: usize,
    pub(super) process: &'a str,
    /// `None` = a call.
    pub(super) end: Option<End>,
    pub(super) verb: Verb,
    pub(super) key: Option<Box<str>>,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) struct Pairing {
    history: History,
    /// Number of each client, and its call that has not returned.
    processes: HashMap<String, (u32, Option<usize>)>,
    at: u64,
}

impl Pairing {
    pub(super) fn new(format: Format) -> Self {
        Self { history: History { format, ..History::default() }, processes: HashMap::new(), at: 0 }
    }

    pub(super) fn add(&mut self, line: Line<'_>) -> Result<(), ReadError> {
        let Line { line, process, end, verb, key, value } = line;
        self.at += 1;
        if !self.processes.contains_key(process) {
            let number = self.history.processes.len() as u32;
            self.history.processes.push(format!("process {process}"));
            self.processes.insert(process.to_owned(), (number, None));
        }
        let (number, open) = self.processes.get_mut(process).expect("it was just put there");
        let error = |what: String| Err(ReadError::new(line, what));
        match (end, *open) {
            (None, None) => {
                *open = Some(self.history.calls.len());
                self.history.calls.push(Call {
                    process: *number,
                    verb,
                    key,
                    value,
                    at: self.at,
                    line,
                    ret: None,
                });
                Ok(())
            }
            (None, Some(call)) => error(format!(
                "process {process} calls again before its call of line {} returned; a client does one thing at a \
                 time, so give each its own number, or note the return as `:info` (outcome unknown)",
                self.history.calls[call].line
            )),
            (Some(end), Some(call)) => {
                let call = &mut self.history.calls[call];
                if call.verb != verb {
                    return error(format!(
                        "process {process} returns from `{}`, but what it called in line {} is `{}`; a line between is \
                         missing",
                        verb.name(),
                        call.line,
                        call.verb.name()
                    ));
                }
                call.ret = Some(Return { at: self.at, line, end, value });
                *open = None;
                Ok(())
            }
            (Some(_), None) => error(format!(
                "process {process} returns from `{}`, which it never called; give the history from its first line",
                verb.name()
            )),
        }
    }

    pub(super) fn finish(self) -> History {
        self.history
    }
}

/// What a client did, by its name.
pub(super) fn verb(line: usize, name: &str) -> Result<Verb, ReadError> {
    Verb::ALL.into_iter().find(|verb| verb.name() == name).ok_or_else(|| {
        let known: Vec<_> = Verb::ALL.iter().map(|verb| verb.name()).collect();
        ReadError::new(line, format!("unknown operation `{name}`; there are {}", known.join(", ")))
    })
}

/// How a line's type ends an operation; `Ok(None)` = it begins one. `reason` = the line gives one other than the
/// object's state.
pub(super) fn end(line: usize, name: &str, reason: bool) -> Result<Option<End>, ReadError> {
    Ok(match name {
        "invoke" => None,
        "ok" => Some(End::Ok),
        "fail" if reason => Some(End::Error),
        "fail" => Some(End::Fail),
        "info" => Some(End::Unknown),
        _ => {
            let what = format!("unknown type `:{name}`; there are :invoke, :ok, :fail and :info");
            return Err(ReadError::new(line, what));
        }
    })
}
