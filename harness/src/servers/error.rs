//! What can go wrong with a server, each with what to do about it.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use super::ServerKind;

/// Why a server could not be found, started, asked or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// No product has this name.
    #[error("no server is called `{name}`; there are redis, postgres, etcd and zookeeper")]
    UnknownName {
        /// The name that was given.
        name: String,
    },
    /// A program or file that the start needs is not on this machine.
    #[error(
        "{kind}: {what} is not on this machine; on Debian and Ubuntu: `make setup`, or `apt-get install {package}`"
    )]
    Missing {
        /// The product.
        kind: ServerKind,
        /// What was looked for, and where.
        what: String,
        /// The packages that hold it.
        package: &'static str,
    },
    /// The data folder could not be made, filled or removed.
    #[error(
        "{kind}: cannot {action} {path}: {source}; free space or permissions? TMPDIR names another place"
    )]
    Folder {
        /// The product.
        kind: ServerKind,
        /// What was tried.
        action: &'static str,
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No port is free.
    #[error("{kind}: cannot find free ports on 127.0.0.1: {source}")]
    Ports {
        /// The product.
        kind: ServerKind,
        /// What the system said.
        source: io::Error,
    },
    /// A program is there but could not be run.
    #[error("{kind}: cannot run {program}: {source}")]
    Spawn {
        /// The product.
        kind: ServerKind,
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A program that prepares the data folder failed.
    #[error("{kind}: {program} failed ({status}): {output}")]
    Prepare {
        /// The product.
        kind: ServerKind,
        /// The program.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// The last lines that it wrote.
        output: String,
    },
    /// Only one instance of it is ever started here.
    #[error("{kind}: only one instance is started here; only etcd and ZooKeeper can be replicated")]
    NotReplicated {
        /// The product.
        kind: ServerKind,
    },
    /// Started as root, and no account is there to run the server as.
    #[error(
        "{kind}: refuses to run as root, and there is no user `postgres` or `nobody`; run as another user"
    )]
    NoUser {
        /// The product.
        kind: ServerKind,
    },
    /// Every port that was tried was taken by another program between the choice and the start.
    #[error("{kind}: its ports on 127.0.0.1 were taken by others, {tries} times in a row; try again")]
    PortTaken {
        /// The product.
        kind: ServerKind,
        /// How often it was tried.
        tries: usize,
    },
    /// The server ended before it answered.
    #[error("{kind}: {program} ended at start ({status}); the end of its log:\n{log}")]
    Died {
        /// The product.
        kind: ServerKind,
        /// The program.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// The last lines of its log.
        log: String,
    },
    /// The server runs but did not answer in time.
    #[error(
        "{kind}: no answer at {endpoint} within {seconds} s of its start ({last}); is the machine \
         overloaded? The end of its log:\n{log}"
    )]
    NotReady {
        /// The product.
        kind: ServerKind,
        /// Where it was asked.
        endpoint: String,
        /// How long it was asked.
        seconds: u64,
        /// What came instead of an answer.
        last: String,
        /// The last lines of its log.
        log: String,
    },
    /// The URL is none that this product is reached by.
    #[error("{kind}: `{url}` cannot be used: {reason}")]
    BadUrl {
        /// The product.
        kind: ServerKind,
        /// The URL, without its password.
        url: String,
        /// What is wrong, and what is expected.
        reason: String,
    },
    /// A server that should already run does not answer.
    #[error("{kind}: no answer at {url}: {reason}; does it run, and is it reachable from here?")]
    Unreachable {
        /// The product.
        kind: ServerKind,
        /// The URL, without its password.
        url: String,
        /// What came instead of an answer.
        reason: String,
    },
}
