//! How a NATS server is named.

use async_nats::ServerAddr;

use crate::backends::common;
use crate::session::{Endpoint, LockError};

pub(super) const URL: &str = "nats://host[:port][,host[:port] …]";

/// The members as the client crate wants them.
pub(super) fn servers(endpoint: &Endpoint) -> Result<Vec<ServerAddr>, LockError> {
    let common::Members { hosts, path: "" } = common::members(endpoint, &["nats"], 4222, URL)? else {
        return Err(LockError::BadUrl(URL));
    };
    let server = |host: &String| format!("nats://{host}").parse().map_err(|_| LockError::BadUrl(URL));
    hosts.iter().map(server).collect()
}
