//! What a program may do wrong on purpose, so that it is seen that it would be noticed.

use clap::ValueEnum;

/// A lie of a program that serves one of our own locks: for the tests of the port, and for whoever wants to see it caught.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Flaw {
    /// Grants every other request without asking for the lock.
    GrantsTwice,
    /// Says that it has released what it keeps.
    ForgetsRelease,
    /// Never says that something is lost, and says that it has released what was.
    LiesAboutLoss,
    /// Answers every grant twice.
    AnswersTwice,
}
