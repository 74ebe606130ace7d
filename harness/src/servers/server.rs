//! A running server, private or attached to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};

use super::endpoint::Endpoint;
use super::error::ServerError;
use super::kind::ServerKind;
use super::launch::launch;
use super::leader::leader;
use super::member::Member;
use super::options::{Durability, ServerOptions, Topology};
use super::product::Answer;
use crate::fingerprint;
use crate::record::UNSEEN;

/// A running server: a private child, or a handle on one that runs elsewhere.
///
/// Dropping it kills a private server and removes its folder, also while a panic unwinds, and blocks for as long
/// as that takes (milliseconds). `std::process::exit` runs no destructors: the server still dies with the process,
/// and [`sweep_leftovers`](super::sweep_leftovers) of the next start removes the folder.
#[derive(Debug)]
#[must_use = "a private server stops when its handle is dropped"]
pub struct Server {
    kind: ServerKind,
    endpoint: Endpoint,
    version: String,
    settings: BTreeMap<String, String>,
    /// Empty when the server runs elsewhere.
    members: Vec<Member>,
    topology: Topology,
    /// The place of the member that clients reach, where they know one address.
    primary: usize,
}

impl Server {
    /// Starts a private server and returns when every member has answered, at most half a minute later. The first
    /// start in a folder also removes what a killed lockbench left there.
    ///
    /// Cancel safe: a start that is dropped takes its server along.
    ///
    /// # Errors
    /// When a program is missing, a folder cannot be made, a member dies or does not answer in time, or this kind cannot
    /// be replicated.
    pub async fn start(kind: ServerKind, options: &ServerOptions) -> Result<Self, ServerError> {
        let (members, answer) = launch(kind, options).await?;
        let mut settings = answer.settings;
        settings.insert("data".to_owned(), members[0].folder().medium().to_owned());
        if let Some(program) = &options.program {
            // Two builds of one version are two programs.
            let failed =
                |source| ServerError::Spawn { product: kind.title(), program: program.clone(), source };
            let made_of = fingerprint::of(&[program]).map_err(failed)?;
            let name = program.file_name().unwrap_or_default().to_string_lossy();
            settings.insert("program".to_owned(), format!("{name}, digest {made_of}"));
        }
        if let Some(tls) = kind.tls(members[0].endpoint()).filter(|_| options.tls.is_some()) {
            settings.insert("tls".to_owned(), tls.to_owned());
        }
        let mut server = Self {
            kind,
            endpoint: String::new().into(),
            version: answer.version,
            settings,
            members,
            topology: options.topology,
            primary: 0,
        };
        server.endpoint = server.endpoint_over(&server.doors()).into();
        Ok(server)
    }

    /// Asks a server that already runs for its version and settings. etcd, ZooKeeper and NATS take a comma-separated
    /// list, of which each member has to answer; the first one's answer is kept.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// When the URL is no URL of this product, or the server does not answer it.
    pub async fn attach(kind: ServerKind, url: &str) -> Result<Self, ServerError> {
        let asked = kind.product().ask(url).await;
        let answer = asked.map_err(|reason| reason.into_error(kind.title(), url))?;
        let Answer { version, mut settings, .. } = answer;
        for (name, _) in kind.effective(Durability::Durable) {
            // Flags of a program, and what this login is not told.
            settings.entry((*name).to_owned()).or_insert_with(|| UNSEEN.to_owned());
        }
        // Without TLS nothing is said, as in records of versions that knew none.
        if let Some(tls) = kind.tls(url) {
            settings.insert("tls".to_owned(), tls.to_owned());
        }
        let (members, topology) = (Vec::new(), Topology::Single);
        Ok(Self { kind, endpoint: url.to_owned().into(), version, settings, members, topology, primary: 0 })
    }

    /// The product.
    pub fn kind(&self) -> ServerKind {
        self.kind
    }

    /// The address that clients use: `redis://:PASSWORD@127.0.0.1:P`, `http://127.0.0.1:P` or `127.0.0.1:P`, of several members
    /// separated by commas; of an attached server the URL as it was given. What shows it calls [`redact`](super::redact).
    pub fn endpoint(&self) -> &str {
        self.endpoint.as_str()
    }

    /// The addresses that clients of a private server are told, in their order; none of an attached one.
    #[must_use]
    pub fn doors(&self) -> Vec<SocketAddr> {
        self.reached().map(Member::address).collect()
    }

    /// The endpoint of a private server over links that take the places of its [`doors`](Self::doors).
    #[must_use]
    pub fn endpoint_over(&self, links: &[SocketAddr]) -> String {
        Member::endpoint_over(self.reached().zip(links.iter().copied()))
    }

    /// The members that clients know.
    fn reached(&self) -> impl Iterator<Item = &Member> {
        let one = (self.topology == Topology::Copied).then_some(self.primary);
        self.members
            .iter()
            .enumerate()
            .filter(move |(place, _)| one.is_none_or(|one| one == *place))
            .map(|(_, of)| of)
    }

    /// The version that the server reports.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The settings in force that bear on durability and timeouts, as the server tells them; those that it cannot
    /// tell are, of a private server, the flags that it was started with.
    pub fn settings(&self) -> &BTreeMap<String, String> {
        &self.settings
    }

    /// CPU time that the processes of all members have used since they first started, in ns, in steps of the kernel's
    /// tick (10 ms as a rule). None of an attached server, and while a member is down.
    pub fn cpu_ns(&self) -> Option<u64> {
        let used: Option<Vec<u64>> = self.members.iter().map(Member::cpu_ns).collect();
        used.filter(|used| !used.is_empty()).map(|used| used.iter().sum())
    }

    /// The members of a private server; empty of an attached one.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The main process of the first member. None of an attached server.
    pub fn pid(&self) -> Option<u32> {
        self.members.first().map(Member::pid)
    }

    /// The main processes and all their descendants right now. Empty of an attached server.
    pub fn pids(&self) -> Vec<u32> {
        self.members.iter().flat_map(Member::pids).collect()
    }

    /// The folder of the first member. None of an attached server.
    pub fn folder(&self) -> Option<&Path> {
        self.members.first().map(Member::path)
    }

    /// One member, to do something to it.
    ///
    /// # Errors
    /// When there is no such member, as in a server that is not ours.
    pub fn member(&mut self, place: usize) -> Result<&mut Member, String> {
        let kind = self.kind;
        self.ours()?.get_mut(place).ok_or_else(|| format!("this {kind} has no member {place}"))
    }

    /// The place of the member that leads now, as the members themselves say; waits for an election to end.
    ///
    /// # Errors
    /// When it is not ours, or nobody leads in time.
    pub async fn leader(&mut self) -> Result<usize, String> {
        let kind = self.kind;
        leader(self.ours()?).await.map_err(|error| format!("{kind}: {error}"))
    }

    /// Stops all members where they are, as a fault; returns when they stand still.
    ///
    /// # Errors
    /// When it is not ours, is gone, or does not stop.
    pub async fn pause(&mut self) -> Result<(), String> {
        for member in self.ours()? {
            member.pause().await?;
        }
        Ok(())
    }

    /// Lets a paused server go on.
    ///
    /// # Errors
    /// When it is not ours.
    pub fn resume(&mut self) -> Result<(), String> {
        self.ours()?.iter().for_each(Member::resume);
        Ok(())
    }

    /// Kills all members with all their processes, as a fault; their folders stay.
    ///
    /// # Errors
    /// When it is not ours, or is gone.
    pub async fn kill(&mut self) -> Result<(), String> {
        for member in self.ours()? {
            member.kill().await?;
        }
        Ok(())
    }

    /// Starts a killed server again, on its data and its ports, and returns when it has answered.
    ///
    /// # Errors
    /// When it is not ours, or does not start.
    pub async fn restart(&mut self) -> Result<(), String> {
        let again = async |members: &mut [Member]| {
            for member in &mut *members {
                member.respawn().await?;
            }
            try_join_all(members.iter_mut().map(Member::first_answer)).await
        };
        again(self.ours()?).await.map(drop).map_err(|error| error.to_string())
    }

    /// Cuts the copy off from its primary, whose writes it does not hear of from then on.
    ///
    /// # Errors
    /// When there is no copy, or it does not answer.
    pub async fn leave_behind(&mut self) -> Result<(), String> {
        // Nobody answers there.
        self.the_copy()?.copy(Some(([127, 0, 0, 1], 1).into())).await
    }

    /// Kills the primary, and has the copy take its place; where clients reach that one. What the copy had not heard of is lost.
    ///
    /// # Errors
    /// When there is no copy, or one of them does not do it.
    pub async fn promote(&mut self) -> Result<SocketAddr, String> {
        let (primary, copy) = (self.primary, self.the_copy()?.address());
        self.member(primary)?.kill().await?;
        self.the_copy()?.copy(None).await?;
        self.primary = 1 - primary;
        Ok(copy)
    }

    /// Starts the killed primary again, as a copy of the one that took its place; returns when it has all that that one has.
    ///
    /// # Errors
    /// When there is none, or it does not come to be one.
    pub async fn restart_as_copy(&mut self) -> Result<(), String> {
        let primary = self.members.get(self.primary).map(Member::address);
        let copy = self.the_copy()?;
        copy.restart().await?;
        copy.copy(primary).await?;
        copy.first_answer().await.map(drop).map_err(|error| error.to_string())
    }

    fn the_copy(&mut self) -> Result<&mut Member, String> {
        let kind = self.kind;
        if self.topology != Topology::Copied {
            return Err(format!("this {kind} has no copy"));
        }
        self.member(1 - self.primary)
    }

    /// Sets the clocks of all members so far ahead of the machine's.
    ///
    /// # Errors
    /// When it is not ours, has no clock of its own, or does not go by it.
    pub async fn set_clock(&mut self, ahead: Duration) -> Result<(), String> {
        for member in self.ours()? {
            member.set_clock(ahead).await?;
        }
        Ok(())
    }

    fn ours(&mut self) -> Result<&mut [Member], String> {
        let kind = self.kind;
        let none = || format!("this {kind} was not started by lockbench");
        if self.members.is_empty() { Err(none()) } else { Ok(&mut self.members) }
    }

    /// Shuts a private server down, kills it if that takes longer than 5 s, and removes its folder. Lets go of an
    /// attached server.
    ///
    /// When the future is dropped early, the server is killed.
    ///
    /// # Errors
    /// When a folder cannot be removed.
    pub async fn stop(self) -> Result<(), ServerError> {
        let stopped = join_all(self.members.into_iter().map(Member::stop)).await;
        stopped.into_iter().collect()
    }
}
