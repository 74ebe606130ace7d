//! Switches Nagle's algorithm off on the library's connections, which have no setting for it. With it, the kernel holds
//! the second of two requests back until the server has answered the first: to create a node and to list its queue would
//! take two waits instead of one.

use std::net::{SocketAddr, TcpStream};
use std::{fs, io};

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use tokio::net::lookup_host;

/// Does it to every connection of this process to one of the cluster's addresses. Where the system does not let it, they
/// stay as they are, which costs time and nothing else.
pub(super) async fn no_delay(cluster: &str) {
    let hosts = cluster.split_once('/').map_or(cluster, |(hosts, _chroot)| hosts);
    let mut members = Vec::new();
    for host in hosts.split(',') {
        if let Ok(found) = lookup_host(host).await {
            members.extend(found);
        }
    }
    if let Err(error) = no_delay_to(&members) {
        tracing::debug!(%error, "requests may be held back by the kernel");
    }
}

/// The sockets belong to the library: a copy of each is made by its number, and the setting is that of the connection.
fn no_delay_to(members: &[SocketAddr]) -> io::Result<()> {
    let this = pidfd_open(getpid(), PidfdFlags::empty())?;
    for entry in fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        // Nothing but sockets: to close the copy of a file would let its locks go.
        let socket = fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"));
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()).filter(|_| socket)
        else {
            continue;
        };
        // It may be closed by now.
        let Ok(copy) = pidfd_getfd(&this, number, PidfdGetfdFlags::empty()) else { continue };
        let stream = TcpStream::from(copy);
        if stream.peer_addr().is_ok_and(|peer| members.contains(&peer)) {
            stream.set_nodelay(true)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn connections_to_a_member_are_found_and_no_others() {
        let (member, other) =
            (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let to = |listener: &TcpListener| TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (found, untouched) = (to(&member), to(&other));
        no_delay_to(&[member.local_addr().unwrap()]).unwrap();
        assert!(found.nodelay().unwrap());
        assert!(!untouched.nodelay().unwrap());
    }
}
