//! What is asked of a program.

use harness::engine::BoxFuture;

use super::bench::Bench;
use crate::port::message::Promises;

/// One thing that is asked of every program, or of those that promise something.
#[derive(Debug)]
pub struct Clause {
    /// As a sentence.
    pub name: &'static str,
    /// What has to come, for whoever wrote the program.
    pub expected: &'static str,
    /// The promise that it is about, by its name; all programs have to keep to one that is about none.
    pub about: Option<&'static str>,
    /// Tries it; what came instead.
    pub(super) run: for<'a> fn(&'a Bench) -> BoxFuture<'a, Result<(), String>>,
}

/// How a clause ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// As expected.
    Holds,
    /// Otherwise.
    Broken {
        /// What came instead.
        came: String,
        /// What each program and we have said to each other last.
        said: Vec<Vec<String>>,
        /// The end of what the programs wrote to their standard error.
        log: String,
    },
    /// It is about something that is not promised.
    NotPromised,
}

impl Clause {
    /// Whether it is asked of a program that promises this.
    pub(super) fn is_asked(&self, promises: &Promises) -> bool {
        self.about
            .is_none_or(|about| promises.named().iter().any(|(name, promised)| *name == about && *promised))
    }
}
