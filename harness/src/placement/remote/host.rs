//! A host of nodes: dials the driver, and starts, stops and ends processes of nodes as it is told.

use std::collections::HashMap;
use std::ffi::OsString;
use std::net::IpAddr;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::dial::Dial;
use super::keys::KeysError;
use super::relay::Relay;
use super::words::{Done, Hello, Number, Offer, Order, Said, Start, Welcome, What};
use crate::child::Process;
use crate::engine::{LastWords, monotonic_ns};
use crate::placement::frames::{CONTROL_BYTES, FrameError, Frames, PROTOCOL_VERSION};
use crate::secret::SECRET;

/// How long nothing may be heard of the driver, which asks for the time every second: then it is lost, and its nodes must not go
/// on for more than ten.
pub(super) const SILENCE: Duration = Duration::from_secs(9);

/// Pause before the driver is dialled again.
const REDIAL: Duration = Duration::from_millis(500);

/// How often it is looked whether a process has ended.
const POLL: Duration = Duration::from_millis(50);

/// Answers that wait to be written.
const OUTBOX: usize = 64;

/// A host that wants to take nodes in.
#[derive(Debug, Clone)]
pub struct Joining {
    /// `HOST:PORT` of the driver.
    pub driver: String,
    /// The folder of the keys.
    pub keys: PathBuf,
    /// How long the driver may take to be there.
    pub patience: Duration,
    /// What this host is called, for people.
    pub name: String,
    /// How many nodes it takes.
    pub nodes: u16,
    /// Which lockbench this is: the driver must be the same.
    pub build: String,
    /// Where nodes here are reached by others; the address that the driver is dialled from where none is given.
    pub address: Option<IpAddr>,
    /// The program of a node, and its first arguments; `--driver ADDRESS --agent ADDRESS --node N` and so on are added.
    pub program: (PathBuf, Vec<OsString>),
}

/// Why a host has not carried out all that it was told.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// No keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Nobody there.
    #[error("no driver at {driver} within {} s: {reason}", .patience.as_secs())]
    Unreachable {
        /// Where.
        driver: String,
        /// For how long.
        patience: Duration,
        /// What happened instead.
        reason: String,
    },
    /// The driver does not want this host.
    #[error("the driver refuses this host: {0}")]
    Refused(String),
    /// It is gone; its nodes have been ended.
    #[error("lost the driver, and ended its nodes: {0}")]
    Lost(String),
}

/// Takes in nodes of the driver's runs until no more are wanted. All of them are gone when this returns, and also when its future
/// is dropped.
///
/// # Errors
/// When the driver is not there, refuses, or is lost.
pub async fn join(joining: Joining) -> Result<(), JoinError> {
    let dial = Arc::new(Dial::new(&joining.driver, &joining.keys)?);
    let (mut frames, number) = accepted(&joining, &dial).await?;
    let address = match joining.address {
        Some(address) => address,
        None => frames.socket().local_addr().map_err(|error| JoinError::Lost(error.to_string()))?.ip(),
    };
    let (say, mut outgoing) = mpsc::channel(OUTBOX);
    let house = Arc::new(House { joining, dial, number, address, rooms: Mutex::default(), say });
    let mut at_work = JoinSet::new();
    let lost = |reason: String| JoinError::Lost(reason);
    let mut heard = Instant::now();
    let ended = loop {
        tokio::select! {
            biased;
            order = frames.next::<Order>() => {
                let came_ns = monotonic_ns();
                let order = match order {
                    Ok(order) => order,
                    Err(error) => break Err(lost(error.to_string())),
                };
                heard = Instant::now();
                match order.what {
                    What::Time => {
                        let what = Ok(Done::Time { came_ns, answered_ns: monotonic_ns() });
                        if let Err(error) = frames.send(&Said::Done { number: order.number, what }).await {
                            break Err(lost(error.to_string()));
                        }
                    }
                    What::Leave => {
                        let what = Ok(Done::So);
                        drop(frames.send(&Said::Done { number: order.number, what }).await);
                        break Ok(());
                    }
                    what => {
                        let house = Arc::clone(&house);
                        at_work.spawn(async move {
                            let what = house.carry_out(what).await;
                            drop(house.say.send(Said::Done { number: order.number, what }).await);
                        });
                    }
                }
            }
            () = sleep_until(heard + SILENCE) => {
                break Err(lost(format!("nothing heard for {} s", SILENCE.as_secs())));
            }
            Some(said) = outgoing.recv() => match timeout_at(heard + SILENCE, frames.send(&said)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => break Err(lost(error.to_string())),
                Err(_) => break Err(lost("it takes nothing more".to_owned())),
            },
            Some(_) = at_work.join_next() => {}
        }
    };
    at_work.shutdown().await;
    let rooms = std::mem::take(&mut *house.rooms());
    drop(tokio::task::spawn_blocking(move || drop(rooms)).await);
    ended
}

/// Dials until the driver is there and has taken this host in.
async fn accepted(joining: &Joining, dial: &Dial) -> Result<(Frames, u32), JoinError> {
    let Joining { driver, patience, name, nodes, build, .. } = joining;
    let until = Instant::now() + *patience;
    loop {
        let reason = match dial.connect().await {
            Ok(mut frames) => {
                let offer = Offer {
                    version: PROTOCOL_VERSION,
                    build: build.clone(),
                    name: name.clone(),
                    nodes: *nodes,
                };
                match taken_in(&mut frames, offer).await {
                    Ok(Welcome::Welcome { host }) => {
                        frames.allow(CONTROL_BYTES);
                        return Ok((frames, host));
                    }
                    Ok(Welcome::Refused(reason)) => return Err(JoinError::Refused(reason)),
                    // By the rules of TLS 1.3 it is only now that a certificate is refused.
                    Err(error) if is_final(&error.to_string()) => return Err(stranger(&error)),
                    Err(error) => error.to_string(),
                }
            }
            Err(reason) if is_final(&reason) => return Err(stranger(&reason)),
            Err(reason) => reason,
        };
        if Instant::now() >= until {
            return Err(JoinError::Unreachable { driver: driver.clone(), patience: *patience, reason });
        }
        sleep(REDIAL).await;
    }
}

/// Whether one of both ends does not believe the other; a connection that just ends may be of somebody who is not there yet.
fn is_final(reason: &str) -> bool {
    reason.contains("alert") || reason.contains("certificate")
}

fn stranger(reason: &dyn std::fmt::Display) -> JoinError {
    JoinError::Refused(format!("{reason}; are the keys of both from one `lockbench keys`?"))
}

async fn taken_in(frames: &mut Frames, offer: Offer) -> Result<Welcome, FrameError> {
    frames.send(&Hello::Host(offer)).await?;
    match timeout(SILENCE, frames.next()).await {
        Ok(welcome) => welcome,
        Err(_) => Err(FrameError::Closed),
    }
}

/// The processes here, and what they need.
#[derive(Debug)]
struct House {
    joining: Joining,
    dial: Arc<Dial>,
    /// As the driver has named it.
    number: u32,
    address: IpAddr,
    rooms: Mutex<HashMap<Number, Arc<Room>>>,
    say: mpsc::Sender<Said>,
}

/// A node's process, and its way to the driver.
#[derive(Debug)]
struct Room {
    process: tokio::sync::Mutex<Process>,
    agent: Relay,
    _control: Relay,
    words: Option<LastWords>,
    _watch: JoinSet<()>,
}

impl House {
    fn rooms(&self) -> std::sync::MutexGuard<'_, HashMap<Number, Arc<Room>>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn carry_out(self: &Arc<Self>, what: What) -> Result<Done, String> {
        let words = |error: std::io::Error| error.to_string();
        match what {
            What::Time | What::Leave => Err("it is not for here".to_owned()),
            What::Start(start) => self.start(start).await.map(|()| Done::So),
            What::Pause(process) => {
                let room = self.room(process)?;
                room.process.lock().await.pause().await.map_err(words)?;
                let said = room.agent.run_dry().await;
                if said.is_err() {
                    room.process.lock().await.resume();
                }
                Ok(Done::Paused { said_to_agent: said? })
            }
            What::Resume(process) => {
                self.room(process)?.process.lock().await.resume();
                Ok(Done::So)
            }
            What::Kill(process) => {
                self.room(process)?.process.lock().await.kill().await.map_err(words)?;
                Ok(Done::So)
            }
            What::End(process) => {
                let room = self.rooms().remove(&process);
                drop(tokio::task::spawn_blocking(move || drop(room)).await);
                Ok(Done::So)
            }
            What::LastWords { process, heard } => {
                let room = self.room(process)?;
                let (mut events, ret) = match &room.words {
                    Some(words) => words.read().map_err(|error| error.to_string())?,
                    None => Default::default(),
                };
                events.drain(..heard.min(events.len()));
                Ok(Done::LastWords { events, ret: Box::new(ret) })
            }
        }
    }

    fn room(&self, process: Number) -> Result<Arc<Room>, String> {
        self.rooms().get(&process).cloned().ok_or_else(|| format!("there is no process {process} here"))
    }

    async fn start(self: &Arc<Self>, start: Start) -> Result<(), String> {
        let Start { process: number, node, secret, ahead_ns, writes_last_words } = start;
        let wrong = |error: std::io::Error| format!("cannot start the process of node {}: {error}", node.0);
        let relay = || Relay::open(Arc::clone(&self.dial), self.number);
        let (control, agent) = (relay().await.map_err(wrong)?, relay().await.map_err(wrong)?);
        let (program, args) = &self.joining.program;
        let mut command = Command::new(program);
        command.args(args);
        command.args(["--driver", &control.address.to_string(), "--agent", &agent.address.to_string()]);
        command.args(["--node", &node.0.to_string(), "--address", &self.address.to_string()]);
        command.args(["--parent", &std::process::id().to_string()]);
        command.arg(format!("--clock-ahead={ahead_ns}"));
        command.env(SECRET, secret.text()).process_group(0);
        let words = writes_last_words.then(LastWords::blank).transpose().map_err(wrong)?;
        let paper = match &words {
            Some(words) => Stdio::from(words.share().map_err(wrong)?),
            None => Stdio::null(),
        };
        command.stdin(Stdio::null()).stdout(paper).stderr(Stdio::inherit());
        let process = tokio::sync::Mutex::new(Process::spawn(command).await.map_err(wrong)?);
        let (house, mut watch) = (Arc::downgrade(self), JoinSet::new());
        watch.spawn(async move {
            loop {
                sleep(POLL).await;
                let Some(house) = house.upgrade() else { return };
                let Ok(room) = house.room(number) else { continue };
                let ended = room.process.lock().await.ended();
                if let Some(status) = ended {
                    let said = Said::Ended { process: number, how: status.to_string() };
                    return drop(house.say.send(said).await);
                }
            }
        });
        let room = Room { process, agent, _control: control, words, _watch: watch };
        self.rooms().insert(number, Arc::new(room));
        Ok(())
    }
}
