//! To which server a request goes: the only one, or the primary that has the key now, as a directory says. Where that changes,
//! the connections follow, and all that was heard over those that are given up counts as interrupted.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::Value;
use tokio::time::Instant;

use super::client::{Ask, Connection, fault, is_elsewhere};
use super::directory::{Directory, View};
use super::names::slot_of;
use super::requests::{Heard, Hears};
use super::scripts::Scripts;
use super::url::Address;
use crate::backends::common::lock;
use crate::session::LockError;

/// From one look into the directory to the next, at least.
const PAUSE: Duration = Duration::from_millis(20);
/// The same where nobody answered: the servers may serve all the same.
const LONG_PAUSE: Duration = Duration::from_millis(500);

/// A node's ways to its servers.
#[derive(Debug)]
pub(super) enum Routes {
    One(Connection),
    Several(Box<Several>),
}

/// Ways to servers that a directory names.
pub(super) struct Several {
    directory: Directory,
    scripts: Arc<Scripts>,
    ttl: Duration,
    hears: Arc<Doubting>,
    table: Mutex<Table>,
    /// Something was answered, or not, that speaks against the table.
    doubted: Arc<AtomicBool>,
    /// Held by whoever looks into the directory or connects; the others wait for what comes of it.
    changing: tokio::sync::Mutex<()>,
}

struct Table {
    view: View,
    /// No look before this.
    pause_ends: Instant,
    /// Invariant: only to primaries of the view.
    open: BTreeMap<Address, Arc<Connection>>,
    /// Channels that are heard, each with the slot that decides at which server, and where it was subscribed last.
    channels: BTreeMap<String, (u16, Option<Address>)>,
}

/// Hears for a node, and notes that a connection broke: its server may not be the primary any more.
struct Doubting {
    hears: Arc<dyn Hears>,
    doubted: Arc<AtomicBool>,
}

impl Hears for Doubting {
    fn hear(&self, heard: Heard<'_>) {
        if matches!(heard, Heard::Disconnected) {
            self.doubted.store(true, Ordering::Release);
        }
        self.hears.hear(heard);
    }
}

impl Routes {
    /// Asks the server that has the keys of this tag. Where that one says that another has them, it ran nothing, and that
    /// other one is asked.
    pub(super) async fn ask(&self, tag: u16, what: Ask<'_>) -> Result<Value, LockError> {
        match self {
            Self::One(connection) => connection.ask(what).await.map_err(|error| fault(&error)),
            Self::Several(several) => several.ask(tag, what).await,
        }
    }

    /// Hears a channel on which servers publish that have the keys of this tag.
    pub(super) async fn subscribe(&self, tag: u16, channel: &str) -> Result<(), LockError> {
        match self {
            Self::One(connection) => connection.subscribe(channel).await.map_err(|error| fault(&error)),
            Self::Several(several) => several.subscribe(tag, channel).await,
        }
    }

    pub(super) async fn unsubscribe(&self, channels: &[String]) -> Result<(), LockError> {
        match self {
            Self::One(connection) => connection.unsubscribe(channels).await.map_err(|error| fault(&error)),
            Self::Several(several) => several.unsubscribe(channels).await,
        }
    }
}

impl Several {
    /// Asks the directory and connects to all primaries, so that the first request is one round trip like every other.
    pub(super) async fn open(
        directory: Directory,
        ttl: Duration,
        hears: Arc<dyn Hears>,
        scripts: Arc<Scripts>,
    ) -> Result<Self, LockError> {
        let view = directory.look().await?;
        let doubted = Arc::<AtomicBool>::default();
        let hears = Arc::new(Doubting { hears, doubted: Arc::clone(&doubted) });
        let table =
            Table { view, pause_ends: Instant::now(), open: BTreeMap::new(), channels: BTreeMap::new() };
        let (table, changing) = (Mutex::new(table), tokio::sync::Mutex::default());
        let several = Self { directory, scripts, ttl, hears, table, doubted, changing };
        let primaries: Vec<Address> = lock(&several.table).view.primaries().into_iter().cloned().collect();
        for address in primaries {
            several.connected(&address).await?;
        }
        Ok(several)
    }

    async fn ask(&self, tag: u16, what: Ask<'_>) -> Result<Value, LockError> {
        let slot = self.slot(tag);
        let mut told_so = false;
        loop {
            let connection = self.to(slot).await?;
            let error = match connection.ask(what).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let elsewhere = is_elsewhere(&error);
            if elsewhere || error.is_io_error() || error.is_unrecoverable_error() {
                self.doubted.store(true, Ordering::Release);
            }
            // Neither has run anything.
            if told_so || !(elsewhere || error.is_connection_refusal()) {
                return Err(fault(&error));
            }
            told_so = true;
        }
    }

    async fn subscribe(&self, tag: u16, channel: &str) -> Result<(), LockError> {
        let slot = self.slot(tag);
        let connection = self.to(slot).await?;
        connection.subscribe(channel).await.map_err(|error| fault(&error))?;
        let mut table = lock(&self.table);
        // Whatever the table says by now: where it is not subscribed, the next look sees to it.
        let still = |(_, open): &(&Address, &Arc<Connection>)| Arc::ptr_eq(open, &connection);
        let at = table.open.iter().find(still).map(|(address, _)| address.clone());
        if at.is_none() {
            self.doubted.store(true, Ordering::Release);
        }
        table.channels.insert(channel.to_owned(), (slot, at));
        Ok(())
    }

    async fn unsubscribe(&self, channels: &[String]) -> Result<(), LockError> {
        let mut at: BTreeMap<Address, Vec<String>> = BTreeMap::new();
        {
            let mut table = lock(&self.table);
            for channel in channels {
                if let Some((_, Some(address))) = table.channels.remove(channel) {
                    at.entry(address).or_default().push(channel.clone());
                }
            }
        }
        for (address, channels) in at {
            let open = lock(&self.table).open.get(&address).map(Arc::clone);
            if let Some(connection) = open {
                connection.unsubscribe(&channels).await.map_err(|error| fault(&error))?;
            }
        }
        Ok(())
    }

    /// A service has one primary for all.
    fn slot(&self, tag: u16) -> u16 {
        if self.directory.is_cluster() { slot_of(tag) } else { 0 }
    }

    /// The connection to the primary of a slot, as far as is known.
    async fn to(&self, slot: u16) -> Result<Arc<Connection>, LockError> {
        if let Some(connection) = self.known(slot) {
            return Ok(connection);
        }
        let _changing = self.changing.lock().await;
        // Somebody else may have seen to it meanwhile.
        if let Some(connection) = self.known(slot) {
            return Ok(connection);
        }
        if self.is_to_look() {
            self.look().await;
        }
        let address = lock(&self.table).view.primary(slot).cloned();
        let nobody = || LockError::Unavailable("nobody in the Cluster has the slot of this key".to_owned());
        self.connected(&address.ok_or_else(nobody)?).await
    }

    fn known(&self, slot: u16) -> Option<Arc<Connection>> {
        if self.is_to_look() {
            return None;
        }
        let table = lock(&self.table);
        table.open.get(table.view.primary(slot)?).map(Arc::clone)
    }

    fn is_to_look(&self) -> bool {
        self.doubted.load(Ordering::Acquire) && lock(&self.table).pause_ends <= Instant::now()
    }

    /// Looks into the directory and follows what it says. Where it says nothing, things stay as they are.
    async fn look(&self) {
        // Before the question: what is in doubt from now on, its answer may not settle.
        self.doubted.store(false, Ordering::Release);
        let looked = self.directory.look().await;
        let moved = {
            let mut table = lock(&self.table);
            table.pause_ends = Instant::now() + if looked.is_ok() { PAUSE } else { LONG_PAUSE };
            match looked {
                Ok(view) if view.epoch >= table.view.epoch => {
                    let moved = !view.serves_as(&table.view);
                    let primaries: Vec<Address> = view.primaries().into_iter().cloned().collect();
                    table.open.retain(|address, _| primaries.contains(address));
                    table.view = view;
                    moved
                }
                Ok(_) => false,
                Err(error) => {
                    tracing::debug!(%error, "nobody says which server is the primary");
                    self.doubted.store(true, Ordering::Release);
                    false
                }
            }
        };
        if moved {
            tracing::info!(directory = ?self.directory, "other servers are the primaries now");
            self.hears.hears.hear(Heard::Disconnected);
        }
        self.hear_again().await;
    }

    /// Subscribes to what is not subscribed at the server where it would be published now.
    async fn hear_again(&self) {
        let missing: Vec<(String, Address)> = {
            let table = lock(&self.table);
            let due = |(channel, (slot, at)): (&String, &(u16, Option<Address>))| {
                let address = table.view.primary(*slot)?;
                (at.as_ref() != Some(address)).then(|| (channel.clone(), address.clone()))
            };
            table.channels.iter().filter_map(due).collect()
        };
        for (channel, address) in missing {
            let subscribed = match self.connected(&address).await {
                Ok(connection) => connection.subscribe(&channel).await.map_err(|error| fault(&error)),
                Err(error) => Err(error),
            };
            match subscribed {
                Ok(()) => {
                    if let Some((_, at)) = lock(&self.table).channels.get_mut(&channel) {
                        *at = Some(address);
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, channel, "not heard at the new primary");
                    self.doubted.store(true, Ordering::Release);
                }
            }
        }
    }

    /// The connection to a server, made where there is none.
    async fn connected(&self, address: &Address) -> Result<Arc<Connection>, LockError> {
        let open = lock(&self.table).open.get(address).map(Arc::clone);
        if let Some(connection) = open {
            return Ok(connection);
        }
        let access = self.directory.access(address);
        let opened = Connection::open(&access, self.ttl, Arc::clone(&self.hears) as _, &self.scripts).await;
        let connection = Arc::new(opened.inspect_err(|_| self.doubted.store(true, Ordering::Release))?);
        lock(&self.table).open.insert(address.clone(), Arc::clone(&connection));
        Ok(connection)
    }
}

impl fmt::Debug for Several {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Several").field(&self.directory).finish()
    }
}
