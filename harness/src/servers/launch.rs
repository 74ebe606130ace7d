//! Starting a private server: a port, a folder, the process, and the first answer.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use futures_util::future::try_join_all;
use nix::sys::signal::Signal;
use nix::unistd::User;
use tokio::time::{sleep, timeout};

use super::folder::Folder;
use super::member::Member;
use super::wire::AskError;
use super::{Answer, ServerError, ServerKind, ServerOptions, Topology, etcd, postgres, redis, zookeeper};
use crate::child::{self, Process, SETPRIV};

/// How often another port is tried.
const TRIES: usize = 5;

/// From the spawn to the first answer. A JVM on a busy machine takes seconds.
pub(super) const READY: Duration = Duration::from_secs(30);

/// Below it are the ports that services are known by.
const FIRST_PORT: u16 = 20_000;

const POLL: Duration = Duration::from_millis(10);

/// How one member of a server is run.
#[derive(Debug, Clone)]
pub(super) struct Start {
    pub(super) program: PathBuf,
    pub(super) args: Vec<OsString>,
    /// Whom it runs as, if not as ourselves.
    pub(super) user: Option<User>,
    /// Where clients find it.
    pub(super) endpoint: String,
    /// Asks it to shut down.
    pub(super) stop: Signal,
    /// Settings that it cannot be asked for.
    pub(super) flags: BTreeMap<String, String>,
    /// What its [`Answer::identity`] must be, if it has one.
    pub(super) identity: String,
}

/// A client's port, and two for what members have to say to each other.
pub(super) type Ports = [u16; 3];

/// What of a member is fixed before it starts: the others are told its ports.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) folder: Folder,
    pub(super) ports: Ports,
}

/// Starts a server's members and waits until all have answered; the first one's answer.
pub(super) async fn launch(
    kind: ServerKind,
    options: &ServerOptions,
) -> Result<(Vec<Member>, Answer), ServerError> {
    if options.topology == Topology::Replicated && !kind.can_be_replicated() {
        return Err(ServerError::NotReplicated { kind });
    }
    for _ in 0..TRIES {
        match attempt(kind, options).await {
            Err(ServerError::PortTaken { .. }) => {}
            result => return result,
        }
    }
    Err(ServerError::PortTaken { kind, tries: TRIES })
}

async fn attempt(kind: ServerKind, options: &ServerOptions) -> Result<(Vec<Member>, Answer), ServerError> {
    let user = if kind == ServerKind::Postgres { postgres::user()? } else { None };
    let mut members = Vec::new();
    for (seat, start) in seats(kind, options, user).await? {
        let process = spawn(kind, &start, &seat.folder).await?;
        members.push(Member::new(kind, start, process, seat.folder));
    }
    // Each says that it serves only when a leader is there and a quorum answers.
    let answers = try_join_all(members.iter_mut().map(first_answer)).await?;
    let mut answer = answers.into_iter().next().unwrap_or_default();
    for (name, value) in &members[0].start().flags {
        answer.settings.entry(name.clone()).or_insert_with(|| value.clone());
    }
    if options.topology == Topology::Replicated {
        answer.settings.insert("members".to_owned(), members.len().to_string());
        // That of the first member says nothing about all.
        answer.settings.remove("mode");
    }
    Ok((members, answer))
}

/// A folder and ports for each member, and how it is started among the others.
async fn seats(
    kind: ServerKind,
    options: &ServerOptions,
    user: Option<User>,
) -> Result<Vec<(Seat, Start)>, ServerError> {
    let mut seats = Vec::new();
    for ports in
        free_ports(options.topology.members()).map_err(|source| ServerError::Ports { kind, source })?
    {
        seats.push(Seat { folder: Folder::create(kind, options, user.as_ref())?, ports });
    }
    let mut starts = Vec::new();
    for (place, Seat { folder, ports }) in seats.iter().enumerate() {
        starts.push(match kind {
            ServerKind::Redis => redis::start(folder, *ports, options)?,
            ServerKind::Postgres => postgres::start(folder, *ports, options, user.clone()).await?,
            ServerKind::Etcd => etcd::start(&seats, place, options)?,
            ServerKind::Zookeeper => zookeeper::start(&seats, place, options)?,
        });
    }
    Ok(seats.into_iter().zip(starts).collect())
}

/// Starts killed members again, on their data and their ports, and waits until they have answered.
pub(super) async fn relaunch(members: &mut [Member]) -> Result<(), ServerError> {
    for member in &mut *members {
        let process = spawn(member.kind(), member.start(), member.folder()).await?;
        *member.process() = process;
    }
    try_join_all(members.iter_mut().map(first_answer)).await.map(drop)
}

async fn spawn(kind: ServerKind, start: &Start, folder: &Folder) -> Result<Process, ServerError> {
    let mut command = command(kind, &start.program, start.user.as_ref(), folder)?;
    command.args(&start.args);
    let spawn_failed = |source| ServerError::Spawn { kind, program: start.program.clone(), source };
    Process::spawn(command).await.map_err(spawn_failed)
}

/// A command that dies with the thread that spawns it, works in the folder and writes to its log.
///
/// A change of user clears the death signal, so `setpriv` is nested: the outer one changes the user, the inner one
/// sets the signal. Its own process group keeps a Ctrl-C at the terminal from the server: lockbench stops it.
pub(super) fn command(
    kind: ServerKind,
    program: &Path,
    user: Option<&User>,
    folder: &Folder,
) -> Result<Command, ServerError> {
    let setpriv = setpriv(kind)?;
    let mut command = Command::new(&setpriv);
    if let Some(user) = user {
        command.args([format!("--reuid={}", user.uid), format!("--regid={}", user.gid)]);
        command.args(["--init-groups", "--"]).arg(&setpriv);
    }
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    let log_failed = |source| ServerError::Folder { kind, action: "write", path: folder.log(), source };
    let log = File::options().create(true).append(true).open(folder.log()).map_err(log_failed)?;
    let errors = log.try_clone().map_err(log_failed)?;
    command.stdin(Stdio::null()).stdout(log).stderr(errors).current_dir(folder.data()).process_group(0);
    Ok(command)
}

/// The program that ties a server's life to ours.
pub(super) fn setpriv(kind: ServerKind) -> Result<PathBuf, ServerError> {
    child::on_path(SETPRIV).ok_or_else(|| ServerError::Missing {
        kind,
        what: "the program setpriv".to_owned(),
        package: "util-linux",
    })
}

async fn first_answer(member: &mut Member) -> Result<Answer, ServerError> {
    let (kind, start) = (member.kind(), member.start().clone());
    let mut last = String::new();
    let asking = async {
        loop {
            if let Some(status) = member.ended() {
                if member.folder().log_says("address already in use") {
                    return Err(ServerError::PortTaken { kind, tries: 1 });
                }
                let log = member.folder().log_end();
                return Err(ServerError::Died { kind, program: start.program.clone(), status, log });
            }
            match super::ask(kind, &start.endpoint).await {
                // Somebody else's server has our port; ours is about to find out.
                Ok(answer)
                    if answer.identity.as_ref().is_some_and(|identity| *identity != start.identity) =>
                {
                    return Err(ServerError::PortTaken { kind, tries: 1 });
                }
                Ok(answer) => return Ok(answer),
                Err(AskError::Silent(reason)) => last = reason,
                Err(other) => return Err(other.into_error(kind, &start.endpoint)),
            }
            sleep(POLL).await;
        }
    };
    let answer = timeout(READY, asking).await;
    answer.unwrap_or_else(|_| {
        let (endpoint, log) = (start.endpoint.clone(), member.folder().log_end());
        Err(ServerError::NotReady { kind, endpoint, seconds: READY.as_secs(), last, log })
    })
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
