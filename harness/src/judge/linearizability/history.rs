//! A history as its clients saw it, before it means anything to a model.

use std::fmt;

/// Calls of clients and their returns, from a file or from a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    /// In which form it was stored.
    pub format: Format,
    /// In the order of their calls.
    pub calls: Vec<Call>,
    /// Names of the clients.
    pub processes: Vec<String>,
}

/// Forms in which histories are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Lines of Jepsen's log: `INFO  jepsen.util - 0 :invoke :read nil`.
    #[default]
    JepsenLog,
    /// Maps in EDN, in a vector or one after the other, as Jepsen, Knossos and porcupine store them.
    Edn,
    /// Our own `history.ndjson.zst`.
    Events,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::JepsenLog => "Jepsen log",
            Self::Edn => "EDN",
            Self::Events => "lockbench history",
        })
    }
}

/// What a client asked for, and how that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The client; index into [`History::processes`].
    pub process: u32,
    /// What it asked for.
    pub verb: Verb,
    /// Of which object; `None` where there is only one.
    pub key: Option<Box<str>>,
    /// With which value.
    pub value: Value,
    /// When: place among the events, or stamp in ns.
    pub at: u64,
    /// Line of the file, from 1.
    pub line: usize,
    /// How it ended; `None` when the history does not say.
    pub ret: Option<Return>,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Return {
    /// When.
    pub at: u64,
    /// Line of the file, from 1.
    pub line: usize,
    /// How.
    pub end: End,
    /// With which value.
    pub value: Value,
}

/// Ways to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It happened.
    Ok,
    /// It did not happen, or, for a compare-and-set, found another value.
    Fail,
    /// It failed for a reason other than the object's state.
    Error,
    /// It may have happened, or may yet.
    Unknown,
}

/// What clients ask of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// See the value.
    Read,
    /// Replace the value.
    Write,
    /// Replace the value if it is this one.
    Cas,
    /// See the text of a key.
    Get,
    /// Replace the text of a key.
    Put,
    /// Add to the text of a key.
    Append,
    /// Take a lock.
    Acquire,
    /// Give a lock back.
    Release,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Read,
        Self::Write,
        Self::Cas,
        Self::Get,
        Self::Put,
        Self::Append,
        Self::Acquire,
        Self::Release,
    ];

    /// Its name in histories.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Cas => "cas",
            Self::Get => "get",
            Self::Put => "put",
            Self::Append => "append",
            Self::Acquire => "acquire",
            Self::Release => "release",
        }
    }
}

/// A value in a history.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Value {
    /// None.
    #[default]
    Nil,
    /// A whole number.
    Int(i64),
    /// A text.
    Text(Box<str>),
    /// Two values: expected and new.
    Pair(Box<(Value, Value)>),
    /// Fence of a grant.
    Fence(u128),
    /// Anything else, as it was printed.
    Other(Box<str>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => f.write_str("nil"),
            Self::Int(int) => write!(f, "{int}"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Pair(pair) => write!(f, "[{} {}]", pair.0, pair.1),
            Self::Fence(fence) => write!(f, "fence {fence}"),
            Self::Other(printed) => f.write_str(printed),
        }
    }
}
