//! A member of a private server: its process, its folder, and how it is paused, killed, started again and stopped.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use procfs::process::Stat;
use tokio::time::{sleep, timeout};

use super::command::command;
use super::endpoint::Endpoint;
use super::error::ServerError;
use super::folder::Folder;
use super::product::{Answer, Product, READY, Seat, Start};
use super::url::redact;
use super::wire::AskError;
use crate::child::Process;

/// How long a server may take to shut down before it is killed.
const SHUT_DOWN: Duration = Duration::from_secs(5);

const POLL: Duration = Duration::from_millis(10);

/// Within which a server tells the time.
const CLOCK_ANSWERS: Duration = Duration::from_millis(500);

/// One member of a private server, with all its processes; the only one of a server that is not replicated.
#[derive(Debug)]
pub struct Member {
    product: &'static dyn Product,
    /// How it was started.
    start: Start,
    /// Where clients reach it.
    endpoint: Endpoint,
    // Fields drop in this order: no process is left when the folder goes.
    process: Process,
    seat: Seat,
    /// CPU time of the processes before this one, which were killed.
    former_cpu_ns: u64,
}

impl Member {
    pub(super) async fn spawn(
        product: &'static dyn Product,
        seat: Seat,
        start: Start,
    ) -> Result<Self, ServerError> {
        let process = spawn(product, &seat, &start).await?;
        let endpoint = certified(&seat, &product.endpoint(address(&seat), &seat)).into();
        Ok(Self { product, start, endpoint, process, seat, former_cpu_ns: 0 })
    }

    /// Spawns it again after a kill, on its data and its ports.
    pub(super) async fn respawn(&mut self) -> Result<(), ServerError> {
        self.process = spawn(self.product, &self.seat, &self.start).await?;
        Ok(())
    }

    /// Waits until it serves.
    pub(super) async fn first_answer(&mut self) -> Result<Answer, ServerError> {
        let title = self.product.about().title;
        let mut last = String::new();
        let asking = async {
            loop {
                if let Some(status) = self.ended() {
                    if self.folder().log_says("address already in use") {
                        return Err(ServerError::PortTaken { product: title, tries: 1 });
                    }
                    let (program, log) = (self.start.program.clone(), self.folder().log_end());
                    return Err(ServerError::Died { product: title, program, status, log });
                }
                match self.product.ask_member(self.endpoint.as_str()).await {
                    // Somebody else's server has our port; ours is about to find out.
                    Ok(answer)
                        if answer
                            .identity
                            .as_ref()
                            .is_some_and(|identity| *identity != self.start.identity) =>
                    {
                        return Err(ServerError::PortTaken { product: title, tries: 1 });
                    }
                    Ok(answer) => {
                        self.seat.clock.iter().for_each(|clock| clock.has_begun(self.pid()));
                        return Ok(answer);
                    }
                    Err(AskError::Silent(reason)) => last = reason,
                    Err(other) => return Err(other.into_error(title, self.endpoint.as_str())),
                }
                sleep(POLL).await;
            }
        };
        let answer = timeout(READY, asking).await;
        answer.unwrap_or_else(|_| {
            let (endpoint, log) = (redact(self.endpoint.as_str()), self.folder().log_end());
            Err(ServerError::NotReady { product: title, endpoint, seconds: READY.as_secs(), last, log })
        })
    }

    /// Where clients reach this member, as [`Server::endpoint`](super::Server::endpoint).
    pub fn endpoint(&self) -> &str {
        self.endpoint.as_str()
    }

    /// Where it listens for clients.
    pub fn address(&self) -> SocketAddr {
        address(&self.seat)
    }

    /// The endpoint of several members over links that take the places of their addresses.
    pub(super) fn endpoint_over<'a>(members: impl Iterator<Item = (&'a Self, SocketAddr)>) -> String {
        let (mut places, mut seat) = (Vec::new(), None);
        for (member, link) in members {
            places.push(member.product.endpoint(link, &member.seat));
            seat.get_or_insert(&member.seat);
        }
        seat.map_or_else(String::new, |seat| certified(seat, &places.join(",")))
    }

    /// The term in which it leads; `None`: it does not, or does not answer.
    pub(super) async fn leads(&self) -> Option<u64> {
        self.product.leads(self.endpoint.as_str()).await.ok()?
    }

    /// Makes it a copy of the member at that address, or of nobody's; see [`Product::copy`].
    pub(super) async fn copy(&self, of: Option<SocketAddr>) -> Result<(), String> {
        let copied = self.product.copy(self.endpoint.as_str(), of).await;
        copied
            .map_err(|error| error.into_error(self.product.about().title, self.endpoint.as_str()).to_string())
    }

    /// Sets its clock so far ahead of the machine's, and looks whether it goes by it.
    ///
    /// # Errors
    /// When it has no clock of its own, does not tell the time, or goes by another.
    pub async fn set_clock(&self, ahead: Duration) -> Result<(), String> {
        let title = self.product.about().title;
        let clock =
            self.seat.clock.as_ref().ok_or_else(|| format!("this {title} has no clock of its own"))?;
        clock.set(ahead)?;
        let told = self.product.time_us(self.endpoint.as_str()).await;
        let told_us = told.map_err(|error| error.into_error(title, self.endpoint.as_str()).to_string())?;
        let wanted_us = machine_us() + i64::try_from(ahead.as_micros()).unwrap_or(i64::MAX);
        let off = Duration::from_micros(told_us.abs_diff(wanted_us));
        // It may be slow to answer, and has been set further than that, or to where it was.
        if off < CLOCK_ANSWERS {
            Ok(())
        } else {
            Err(format!("this {title} does not go by the clock that it was given: {off:?} off"))
        }
    }

    /// Settings that it cannot be asked for.
    pub(super) fn flags(&self) -> &BTreeMap<String, String> {
        &self.start.flags
    }

    /// Stops all its processes where they are, as a fault; returns when they stand still.
    ///
    /// # Errors
    /// When it is gone, or does not stop.
    pub async fn pause(&self) -> Result<(), String> {
        self.process.pause().await.map_err(|error| error.to_string())
    }

    /// Lets it go on after a pause.
    pub fn resume(&self) {
        self.process.resume();
    }

    /// Kills it with all its processes, as a fault; its folder stays.
    ///
    /// # Errors
    /// When it is gone.
    pub async fn kill(&mut self) -> Result<(), String> {
        let used_ns = self.cpu_ns().unwrap_or(self.former_cpu_ns);
        self.process.kill().await.map_err(|error| error.to_string())?;
        self.former_cpu_ns = used_ns;
        Ok(())
    }

    /// Starts it again after a kill, on its data and its ports, and returns when it serves.
    ///
    /// # Errors
    /// When it does not start, or does not come to serve.
    pub async fn restart(&mut self) -> Result<(), String> {
        let again = async {
            self.respawn().await?;
            self.first_answer().await
        };
        again.await.map(drop).map_err(|error| error.to_string())
    }

    /// Its main process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The folder with its data and its file `log`.
    pub fn path(&self) -> &Path {
        self.folder().path()
    }

    /// Its main process and all its descendants right now.
    pub fn pids(&self) -> Vec<u32> {
        self.process.tree().iter().filter_map(|stat| u32::try_from(stat.pid).ok()).collect()
    }

    pub(super) fn folder(&self) -> &Folder {
        &self.seat.folder
    }

    pub(super) fn cpu_ns(&self) -> Option<u64> {
        let processes = self.process.tree();
        let ticks = |stat: &Stat| {
            let reaped = u64::try_from(stat.cutime + stat.cstime).unwrap_or(0);
            stat.utime + stat.stime + reaped
        };
        let ns_per_tick = 1_000_000_000 / procfs::ticks_per_second();
        let used_ns = || processes.iter().map(ticks).sum::<u64>() * ns_per_tick;
        if processes.is_empty() { None } else { Some(self.former_cpu_ns + used_ns()) }
    }

    /// How it ended, if it has.
    fn ended(&mut self) -> Option<ExitStatus> {
        self.process.ended()
    }

    pub(super) async fn stop(mut self) -> Result<(), ServerError> {
        self.process.signal(self.product.about().stop);
        // A server that a fault has paused hears nothing before it goes on.
        self.process.resume();
        timeout(SHUT_DOWN, self.process.wait()).await.ok();
        let Self { product, process, seat: Seat { folder, .. }, .. } = self;
        let path = folder.path().to_owned();
        let clean = move || {
            drop(process);
            folder.remove()
        };
        let failed =
            |source| ServerError::Folder { product: product.about().title, action: "remove", path, source };
        let result = tokio::task::spawn_blocking(clean).await;
        result.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(failed)
    }
}

async fn spawn(product: &dyn Product, seat: &Seat, start: &Start) -> Result<Process, ServerError> {
    let about = product.about();
    let (program, before) = match &seat.clock {
        Some(clock) => clock.starts(&start.program),
        None => (&*start.program, Vec::new()),
    };
    let mut command = command(about, program, seat.user.as_ref(), &seat.folder)?;
    command.args(before).args(&start.args);
    let failed = |source| ServerError::Spawn { product: about.title, program: start.program.clone(), source };
    Process::spawn_on(command, seat.processors.clone()).await.map_err(failed)
}

/// The machine's time of day, in µs since 1970.
fn machine_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

fn address(seat: &Seat) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, seat.ports[0]).into()
}

/// The URL with the files that a client needs.
fn certified(seat: &Seat, url: &str) -> String {
    seat.tls.as_ref().map_or_else(|| url.to_owned(), |tls| tls.of_clients().on(url))
}
