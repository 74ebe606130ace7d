//! Which servers are the primaries: Sentinels say it of their service, the members of a Cluster of their slots.

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, ErrorKind, RedisResult, ServerErrorKind, cmd};

use super::url::{Access, Address, Several, Who};
use crate::backends::common::lock;
use crate::session::{LockError, told};

/// How long one of them may take to say it: whoever stands still must not keep those waiting who ask the others.
const PATIENCE: Duration = Duration::from_millis(500);

/// Of a Cluster, from which on there are none.
const SLOTS: u16 = 16_384;

/// Whom to ask for the primaries.
pub(super) struct Directory {
    several: Box<Several>,
    /// Those of the URL, and whom they have named.
    known: Mutex<Vec<Address>>,
}

/// What was answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct View {
    /// Rises with each change, so that of two answers the later one is known.
    pub(super) epoch: u64,
    /// The first and the last of some slots, and who has them.
    slots: Vec<(u16, u16, Address)>,
    /// Servers that follow a primary.
    pub(super) replicas: Vec<Address>,
}

impl View {
    /// Who has that slot; of a service, its one primary.
    pub(super) fn primary(&self, slot: u16) -> Option<&Address> {
        let (.., address) = self.slots.iter().find(|(first, last, _)| (*first..=*last).contains(&slot))?;
        Some(address)
    }

    /// All primaries, each once.
    pub(super) fn primaries(&self) -> Vec<&Address> {
        let mut all: Vec<&Address> = self.slots.iter().map(|(.., address)| address).collect();
        all.sort();
        all.dedup();
        all
    }

    /// Whether the same servers have the same slots.
    pub(super) fn serves_as(&self, other: &Self) -> bool {
        self.slots == other.slots
    }
}

impl Directory {
    pub(super) fn new(several: Box<Several>) -> Self {
        let known = Mutex::new(several.seeds.clone());
        Self { several, known }
    }

    /// What lets a client in at a server that was named.
    pub(super) fn access(&self, address: &Address) -> Access {
        self.several.access.at(address)
    }

    /// Whether keys are spread over several servers.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.several.who, Who::Members)
    }

    /// Asks all that are known, side by side, and takes the latest answer. Cancel safe.
    ///
    /// # Errors
    /// [`LockError::Unavailable`] with what each of them said, when none knows.
    pub(super) async fn look(&self) -> Result<View, LockError> {
        let known = lock(&self.known).clone();
        let answers = join_all(known.iter().map(|address| self.asked(address))).await;
        let (mut latest, mut failures): (Option<View>, Vec<String>) = (None, Vec::new());
        for (address, answer) in known.iter().zip(answers) {
            match answer {
                Ok(view) if latest.as_ref().is_none_or(|latest| latest.epoch < view.epoch) => {
                    latest = Some(view);
                }
                Ok(_) => {}
                Err(failure) => failures.push(format!("{address}: {failure}")),
            }
        }
        let view = latest.ok_or_else(|| LockError::Unavailable(failures.join("; ")))?;
        if self.is_cluster() {
            let mut known = lock(&self.known);
            let named = view.primaries().into_iter().chain(&view.replicas);
            let news: Vec<Address> = named.filter(|address| !known.contains(address)).cloned().collect();
            known.extend(news);
        }
        Ok(view)
    }

    async fn asked(&self, address: &Address) -> Result<View, String> {
        let asking = async {
            match &self.several.who {
                Who::Sentinels { service, access } => {
                    let connected = connection(&access.at(address)).await.map_err(with_their_login);
                    of_a_service(&mut connected?, service).await
                }
                Who::Members => {
                    let access = self.several.access.at(address);
                    of_a_cluster(&mut connection(&access).await?, address).await
                }
            }
        };
        match tokio::time::timeout(PATIENCE * 2, asking).await {
            Ok(answer) => answer,
            Err(_) => Err("no answer in time".to_owned()),
        }
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without what lets a client in.
        f.debug_tuple("Directory").field(&*lock(&self.known)).finish()
    }
}

/// What lets a client in at the servers does not at Sentinels.
fn with_their_login(text: String) -> String {
    if ["NOAUTH", "WRONGPASS", "uthentication"].iter().any(|word| text.contains(word)) {
        return format!(
            "{text} (what lets a client in at Sentinels is given as sentinel-user and sentinel-password)"
        );
    }
    text
}

async fn connection(access: &Access) -> Result<MultiplexedConnection, String> {
    let client = access.client(None, TcpSettings::default().set_nodelay(true));
    let client = client.map_err(|error| error.to_string())?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    let connected = client.get_multiplexed_async_connection_with_config(&config).await;
    connected.map_err(|error| told(&error))
}

/// What a Sentinel says of its service.
async fn of_a_service(sentinel: &mut MultiplexedConnection, service: &str) -> Result<View, String> {
    let asked: RedisResult<HashMap<String, String>> =
        cmd("SENTINEL").arg("MASTER").arg(service).query_async(sentinel).await;
    let primary = asked.map_err(|error| {
        let text = told(&error);
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::ResponseError) if text.contains("unknown command") => {
                format!("this is no Sentinel: {text}")
            }
            _ => with_their_login(text),
        }
    })?;
    let strange = || format!("SENTINEL MASTER {service}: no address in its answer");
    let address = address_of(&primary).ok_or_else(strange)?;
    let epoch = primary.get("config-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0);
    let replicas: RedisResult<Vec<HashMap<String, String>>> =
        cmd("SENTINEL").arg("REPLICAS").arg(service).query_async(sentinel).await;
    let replicas = replicas.unwrap_or_default().iter().filter_map(address_of).collect();
    Ok(View { epoch, slots: vec![(0, SLOTS - 1, address)], replicas })
}

fn address_of(said: &HashMap<String, String>) -> Option<Address> {
    Some(Address { host: said.get("ip")?.clone(), port: said.get("port")?.parse().ok()? })
}

/// What a member says of its Cluster. Whoever gets a slot has a higher epoch than whoever had it, so that the answer in which the
/// highest stands is the latest.
async fn of_a_cluster(member: &mut MultiplexedConnection, asked: &Address) -> Result<View, String> {
    let said: RedisResult<String> = cmd("CLUSTER").arg("NODES").query_async(member).await;
    let said = said.map_err(|error| {
        let text = told(&error);
        if text.contains("cluster support disabled") {
            return format!("no member of a Cluster, which redis+cluster:// is for: {text}");
        }
        text
    })?;
    let view = view_of(&said, asked);
    if view.slots.is_empty() { Err("its Cluster has no slots yet".to_owned()) } else { Ok(view) }
}

/// From lines such as `<id> 10.0.0.1:6379@16379,name myself,master - 0 0 1 connected 0-5460 [77->-<id>]`.
fn view_of(nodes: &str, asked: &Address) -> View {
    let mut view = View::default();
    for line in nodes.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [_, place, flags, _, _, _, epoch, _, slots @ ..] = &words[..] else { continue };
        let is = |flag: &str| flags.split(',').any(|other| other == flag);
        let Some(address) = place.split('@').next().and_then(|place| address_in(place, asked)) else {
            continue;
        };
        if is("slave") && !is("fail") {
            view.replicas.push(address);
        } else if is("master") {
            let ranges: Vec<(u16, u16)> = slots.iter().filter_map(|slots| range(slots)).collect();
            if !ranges.is_empty() {
                view.epoch = view.epoch.max(epoch.parse().unwrap_or(0));
            }
            view.slots.extend(ranges.into_iter().map(|(first, last)| (first, last, address.clone())));
        }
    }
    view.slots.sort();
    view.replicas.sort();
    view
}

/// `0-5460` or `77`; what is on its way is told in brackets, and is still where it was.
fn range(slots: &str) -> Option<(u16, u16)> {
    let (first, last) = slots.split_once('-').unwrap_or((slots, slots));
    Some((first.parse().ok()?, last.parse().ok()?))
}

/// A member that was never told by which name it is reached leaves it empty: then it is the one by which it was asked.
fn address_in(place: &str, asked: &Address) -> Option<Address> {
    let (host, port) = place.rsplit_once(':')?;
    let host = if host.is_empty() { &asked.host } else { host };
    Some(Address { host: host.to_owned(), port: port.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> Address {
        Address { host: "a".to_owned(), port }
    }

    #[test]
    fn each_slot_has_its_primary_and_a_gap_has_none() {
        let slots = vec![(0, 9, address(1)), (10, 20, address(2)), (30, SLOTS - 1, address(1))];
        let view = View { epoch: 3, slots, replicas: Vec::new() };
        assert_eq!(view.primary(9), Some(&address(1)));
        assert_eq!(view.primary(10), Some(&address(2)));
        assert_eq!(view.primary(25), None);
        assert_eq!(view.primary(SLOTS - 1), Some(&address(1)));
        assert_eq!(view.primaries(), [&address(1), &address(2)]);
    }

    #[test]
    fn the_members_of_a_cluster_are_read_from_what_one_says() {
        let asked = Address { host: "10.0.0.9".to_owned(), port: 1 };
        let nodes = "a 10.0.0.1:6379@16379,name master - 0 0 7 connected 0-5460 77 [78->-b]\n\
                     b :6380@16380 myself,master - 0 0 2 connected 5461-16383\n\
                     c 10.0.0.3:6379@16379 slave a 0 0 9 connected\n\
                     d 10.0.0.4:6379@16379 master,fail - 0 0 8 disconnected\n\
                     e fe80::1:6379@16379 slave,fail a 0 0 9 connected\n";
        let view = view_of(nodes, &asked);
        let at = |host: &str, port| Address { host: host.to_owned(), port };
        assert_eq!(view.primary(77), Some(&at("10.0.0.1", 6379)));
        assert_eq!(view.primary(78), Some(&at("10.0.0.1", 6379)), "on its way");
        assert_eq!(view.primary(16383), Some(&at("10.0.0.9", 6380)));
        assert_eq!(view.replicas, [at("10.0.0.3", 6379)]);
        assert_eq!(view.epoch, 7, "of those that have slots");
    }
}
