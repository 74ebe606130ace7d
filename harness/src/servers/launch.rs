//! Starting a private server: ports, folders, the processes, and the first answers.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};

use futures_util::future::try_join_all;

use super::command::user;
use super::error::ServerError;
use super::folder::{self, Folder};
use super::kind::ServerKind;
use super::leftovers::sweep_once;
use super::member::Member;
use super::options::{ClockOf, ServerOptions, Topology};
use super::own_clock::OwnClock;
use super::product::{Answer, Ports, Seat};
use crate::secret::Secret;

/// How often another port is tried.
const TRIES: usize = 5;

/// Below it are the ports that services are known by.
const FIRST_PORT: u16 = 20_000;

/// Starts a server's members and waits until all have answered; the first one's answer.
pub(super) async fn launch(
    kind: ServerKind,
    options: &ServerOptions,
) -> Result<(Vec<Member>, Answer), ServerError> {
    let about = kind.product().about();
    let product = about.title;
    match options.topology {
        topology if kind.can_be(topology) => {}
        Topology::Replicated => {
            return Err(ServerError::NotReplicated { product, others: ServerKind::replicated() });
        }
        topology => return Err(ServerError::NotStartedAs { product, topology: topology.name() }),
    }
    sweep_once(&folder::root(about, options)?);
    for _ in 0..TRIES {
        match attempt(kind, options).await {
            Err(ServerError::PortTaken { .. }) => {}
            result => return result,
        }
    }
    Err(ServerError::PortTaken { product: about.title, tries: TRIES })
}

async fn attempt(kind: ServerKind, options: &ServerOptions) -> Result<(Vec<Member>, Answer), ServerError> {
    let product = kind.product();
    let seats = seats(kind, options)?;
    let mut starts = Vec::new();
    for place in 0..seats.len() {
        starts.push(product.start(&seats, place, options).await?);
    }
    let mut members = Vec::new();
    for (seat, start) in seats.into_iter().zip(starts) {
        members.push(Member::spawn(product, seat, start).await?);
    }
    // Each says that it serves only when a leader is there and a quorum answers.
    let answers = try_join_all(members.iter_mut().map(Member::first_answer)).await?;
    let mut answer = answers.into_iter().next().unwrap_or_default();
    for (name, value) in members[0].flags() {
        answer.settings.entry(name.clone()).or_insert_with(|| value.clone());
    }
    for &(setting, wanted) in product.effective(options.durability) {
        let found = answer.settings.get(setting);
        if found.is_none_or(|found| found != wanted) {
            let found = found.map_or_else(|| "nothing of it".to_owned(), |found| format!("{found:?}"));
            return Err(ServerError::Unlike { product: product.about().title, setting, wanted, found });
        }
    }
    if options.topology != Topology::Single {
        answer.settings.insert("members".to_owned(), members.len().to_string());
        // That of the first member says nothing about all.
        answer.settings.remove("mode");
    }
    Ok((members, answer))
}

/// A folder and ports for each member.
fn seats(kind: ServerKind, options: &ServerOptions) -> Result<Vec<Seat>, ServerError> {
    let about = kind.product().about();
    let no_ports = |source| ServerError::Ports { product: about.title, source };
    let user = user(about)?;
    let secret = Secret::fresh();
    let seat = |(place, ports)| {
        let folder = Folder::create(about, options, user.as_ref())?;
        let processors = options.processors.get(place).cloned();
        let tls = options.tls.clone();
        let clock = match options.clock {
            ClockOf::Machine => None,
            ClockOf::Itself => Some(OwnClock::new(about, &folder, user.as_ref())?),
        };
        Ok(Seat { folder, ports, secret: secret.clone(), user: user.clone(), processors, tls, clock })
    };
    let ports = free_ports(options.topology.members()).map_err(no_ports)?;
    ports.into_iter().enumerate().map(seat).collect()
}

/// So many times the ports of 127.0.0.1 that a member needs, that nobody listens on at this moment, below those that the system gives to outgoing
/// connections: a run opens so many of them that one would soon sit on a server's port.
fn free_ports(members: usize) -> io::Result<Vec<Ports>> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let end = range.split_whitespace().next().and_then(|port| port.parse().ok()).unwrap_or(32_768);
    // Where that leaves too few, the system chooses.
    let candidate = || if end > FIRST_PORT + 1_000 { rand::random_range(FIRST_PORT..end) } else { 0 };
    let listener = || {
        let mut tries = (0..100).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, candidate())));
        tries.find_map(Result::ok).ok_or_else(|| io::Error::from(io::ErrorKind::AddrInUse))
    };
    // All are held until all are known, so that they differ.
    let held: Vec<[TcpListener; 3]> =
        (0..members).map(|_| Ok([listener()?, listener()?, listener()?])).collect::<io::Result<_>>()?;
    let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
    held.iter().map(|[a, b, c]| Ok([port(a)?, port(b)?, port(c)?])).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_ports_of_a_server_differ_and_can_be_bound() {
        for _ in 0..100 {
            let ports = free_ports(3).unwrap().concat();
            assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), 9, "{ports:?}");
            assert!(ports.iter().all(|port| *port >= FIRST_PORT), "{ports:?}");
        }
    }
}
