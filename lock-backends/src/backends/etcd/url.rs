//! How an etcd cluster is named.

use crate::backends::common;
use crate::session::{Endpoint, LockError};

pub(super) const URL: &str = "etcd://host[:port][,host[:port] …]";

/// The members as the client crate wants them: the scheme says whether to use TLS.
pub(super) fn urls(endpoint: &Endpoint) -> Result<Vec<String>, LockError> {
    match common::members(endpoint, &["etcd", "http"], 2379, URL)? {
        common::Members { hosts, path: "" } => {
            Ok(hosts.iter().map(|host| format!("http://{host}")).collect())
        }
        _ => Err(LockError::BadUrl(URL)),
    }
}
