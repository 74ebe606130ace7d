//! How a ZooKeeper ensemble is named.

use crate::backends::common;
use crate::session::{Endpoint, LockError};

pub(super) const URL: &str = "zookeeper://host[:port][,host[:port] …][/root]";

/// The members and the root as the client crate wants them.
pub(super) fn cluster(endpoint: &Endpoint) -> Result<String, LockError> {
    let members = common::members(endpoint, &["zookeeper", "zk"], 2181, URL)?;
    Ok(format!("{}{}", members.hosts.join(","), members.path))
}
