//! What can go wrong with a server, each with what to do about it.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

/// Why a server could not be found, started, asked or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// No product has this name.
    #[error("no server is called `{name}`; there are {known}")]
    UnknownName {
        /// The name that was given.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// A program or file that the start needs is not on this machine.
    #[error(
        "{product}: {what} is not on this machine; on Debian and Ubuntu: `make setup`, or `apt-get install {package}`"
    )]
    Missing {
        /// The product, as it is written in prose.
        product: &'static str,
        /// What was looked for, and where.
        what: String,
        /// The packages that hold it.
        package: &'static str,
    },
    /// The program that was named is none that can be started.
    #[error("{product}: {path} {what}")]
    Program {
        /// The product, as it is written in prose.
        product: &'static str,
        /// As it was named.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The data folder could not be made, filled or removed.
    #[error(
        "{product}: cannot {action} {path}: {source}; free space or permissions? TMPDIR names another place"
    )]
    Folder {
        /// The product, as it is written in prose.
        product: &'static str,
        /// What was tried.
        action: &'static str,
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No port is free.
    #[error("{product}: cannot find free ports on 127.0.0.1: {source}")]
    Ports {
        /// The product, as it is written in prose.
        product: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A program is there but could not be run.
    #[error("{product}: cannot run {program}: {source}")]
    Spawn {
        /// The product, as it is written in prose.
        product: &'static str,
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A program that prepares the data folder failed.
    #[error("{product}: {program} failed ({status}): {output}")]
    Prepare {
        /// The product, as it is written in prose.
        product: &'static str,
        /// The program.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// The last lines that it wrote.
        output: String,
    },
    /// It is not started so here.
    #[error("{product} cannot be started as `{topology}` here")]
    NotStartedAs {
        /// The product, as it is written in prose.
        product: &'static str,
        /// The word for it.
        topology: &'static str,
    },
    /// Only one instance of it is ever started here.
    #[error("{product}: only one instance is started here; {others} can be replicated")]
    NotReplicated {
        /// The product, as it is written in prose.
        product: &'static str,
        /// Those that can be.
        others: String,
    },
    /// Started as root, and no account is there to run the server as.
    #[error("{product}: is not run as root, and there is no user {accounts}; run as another user")]
    NoUser {
        /// The product, as it is written in prose.
        product: &'static str,
        /// The accounts that were looked for.
        accounts: String,
    },
    /// Every port that was tried was taken by another program between the choice and the start.
    #[error("{product}: its ports on 127.0.0.1 were taken by others, {tries} times in a row; try again")]
    PortTaken {
        /// The product, as it is written in prose.
        product: &'static str,
        /// How often it was tried.
        tries: usize,
    },
    /// The server ended before it answered.
    #[error("{product}: {program} ended at start ({status}); the end of its log:\n{log}")]
    Died {
        /// The product, as it is written in prose.
        product: &'static str,
        /// The program.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// The last lines of its log.
        log: String,
    },
    /// The server runs but did not answer in time.
    #[error(
        "{product}: no answer at {endpoint} within {seconds} s of its start ({last}); is the machine \
         overloaded? The end of its log:\n{log}"
    )]
    NotReady {
        /// The product, as it is written in prose.
        product: &'static str,
        /// Where it was asked.
        endpoint: String,
        /// How long it was asked.
        seconds: u64,
        /// What came instead of an answer.
        last: String,
        /// The last lines of its log.
        log: String,
    },
    /// The server runs, but says of itself something else than it was started for, so that a run would compare what
    /// is not comparable.
    #[error("{product}: was started with {setting} = {wanted:?} and says {found}; is its version supported?")]
    Unlike {
        /// The product, as it is written in prose.
        product: &'static str,
        /// Which setting.
        setting: &'static str,
        /// What it was started with.
        wanted: &'static str,
        /// What it says, or that it says nothing.
        found: String,
    },
    /// The URL is none that this product is reached by.
    #[error("{product}: `{url}` cannot be used: {reason}")]
    BadUrl {
        /// The product, as it is written in prose.
        product: &'static str,
        /// The URL, without its password.
        url: String,
        /// What is wrong, and what is expected.
        reason: String,
    },
    /// A server that already runs lets nobody in as the URL would have it; the reason says what to do.
    #[error("{product} at {url}: {reason}")]
    Refused {
        /// The product, as it is written in prose.
        product: &'static str,
        /// The URL, without its password.
        url: String,
        /// What it said, and what to do about it.
        reason: String,
    },
    /// A server that should already run does not answer.
    #[error("{product}: no answer at {url}: {reason}; does it run, and is it reachable from here?")]
    Unreachable {
        /// The product, as it is written in prose.
        product: &'static str,
        /// The URL, without its password.
        url: String,
        /// What came instead of an answer.
        reason: String,
    },
}

/// A word that stands for none of the choices.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is not known: {known} is expected")]
pub struct UnknownWord {
    /// The word that was given.
    pub(super) word: String,
    /// The words that there are, for people.
    pub(super) known: String,
}
