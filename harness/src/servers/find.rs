//! Whether a product is on this machine.

use std::path::{Path, PathBuf};

use super::command::setpriv;
use super::kind::ServerKind;

/// Whether a product's programs are on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It can be started.
    Found {
        /// The program, or for ZooKeeper its jar.
        path: PathBuf,
        /// The version that the program or its file name tells.
        version: String,
    },
    /// It cannot be started.
    Missing {
        /// What is missing and which package holds it, or what is wrong with the program that was named.
        remedy: String,
    },
}

/// Looks for a product's programs, without starting a server.
#[must_use]
pub fn find(kind: ServerKind) -> Finding {
    find_with(kind, None)
}

/// The same with a main program that is named, as [`ServerOptions::program`](super::ServerOptions::program) is.
#[must_use]
pub fn find_with(kind: ServerKind, program: Option<&Path>) -> Finding {
    let product = kind.product();
    match product.find(program).and_then(|found| setpriv(product.about()).map(|_| found)) {
        Ok((path, version)) => Finding::Found { path, version },
        Err(error) => Finding::Missing { remedy: error.to_string() },
    }
}
