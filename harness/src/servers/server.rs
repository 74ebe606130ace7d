//! A running server, private or attached to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use futures_util::future::{join_all, try_join_all};

use super::endpoint::Endpoint;
use super::error::ServerError;
use super::kind::ServerKind;
use super::launch::launch;
use super::leader::leader;
use super::member::Member;
use super::options::ServerOptions;
use super::product::Answer;

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
        if let Some(tls) = kind.tls(members[0].endpoint()).filter(|_| options.tls.is_some()) {
            settings.insert("tls".to_owned(), tls.to_owned());
        }
        let endpoint = Member::endpoint_over(members.iter().map(|member| (member, member.address()))).into();
        Ok(Self { kind, endpoint, version: answer.version, settings, members })
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
        // Without TLS nothing is said, as in records of versions that knew none.
        if let Some(tls) = kind.tls(url) {
            settings.insert("tls".to_owned(), tls.to_owned());
        }
        Ok(Self { kind, endpoint: url.to_owned().into(), version, settings, members: Vec::new() })
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

    /// The endpoint of a private server over links, one a member in their order, that take the places of the addresses.
    #[must_use]
    pub fn endpoint_over(&self, links: &[SocketAddr]) -> String {
        Member::endpoint_over(self.members.iter().zip(links.iter().copied()))
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
