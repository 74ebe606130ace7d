//! What the driver and a host of nodes say to each other, in frames over TLS.
//!
//! ```text
//! host ─ Hello::Host ▶ driver ─ Welcome ▶ host         one connection a host, else Refused
//!        Order ▶ host ─ Said ▶ driver                  each order has one answer; Ended comes when it comes
//! host ─ Hello::Relay ▶ driver                         one a connection of a node: then what the node says, byte by byte
//! ```

use serde::{Deserialize, Serialize};

use crate::engine::PartRet;
use crate::model::{Event, NodeId};
use crate::secret::Secret;

/// First frame on each connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Hello {
    /// A host that would take nodes in.
    Host(Offer),
    /// A connection of a node there.
    Relay {
        /// As the driver has named the host.
        host: u32,
    },
}

/// What a host says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Offer {
    pub(super) version: u32,
    /// Which lockbench it is.
    pub(super) build: String,
    /// What it is called, for people.
    pub(super) name: String,
    /// How many nodes it takes.
    pub(super) nodes: u16,
}

/// First frame of the driver to a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Welcome {
    /// It is one of the hosts, by this number.
    Welcome { host: u32 },
    /// Why not.
    Refused(String),
}

/// Names a node's process at its host.
pub(super) type Number = u64;

/// What a host is told to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    /// Names the order on its connection.
    pub(super) number: u64,
    pub(super) what: What,
}

/// Kinds of order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum What {
    /// Say what your clock shows.
    Time,
    /// Start the process of a node.
    Start(Start),
    /// Stop a process, and let all that it has said go on its way.
    Pause(Number),
    /// Let it go on.
    Resume(Number),
    /// Kill it, and return when it is gone.
    Kill(Number),
    /// End it, in whatever state it is; it may be gone.
    End(Number),
    /// Say what it had done and not told, behind so many events.
    LastWords { process: Number, heard: usize },
    /// No more nodes are wanted.
    Leave,
}

/// The process of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Start {
    pub(super) process: Number,
    pub(super) node: NodeId,
    /// Of the run.
    pub(super) secret: Secret,
    /// How far the driver's clock is ahead of the host's.
    pub(super) ahead_ns: i64,
    /// Whether it writes what it does into memory that outlives it.
    pub(super) writes_last_words: bool,
}

/// What a host says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Said {
    /// An order is carried out.
    Done { number: u64, what: Result<Done, String> },
    /// A process is gone, and how it ended.
    Ended { process: Number, how: String },
}

/// What came of an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Done {
    /// By the host's clock.
    Time { came_ns: u64, answered_ns: u64 },
    /// It is as it was told.
    So,
    /// It stands still, and so many bytes of what it said to the agent are on their way, from the first on.
    Paused { said_to_agent: u64 },
    /// What it had done and not told.
    LastWords { events: Vec<Event>, ret: Box<PartRet> },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::damage;
    use crate::placement::frames::decode;

    #[test]
    fn no_damage_to_what_is_said_makes_its_reader_panic() {
        let offer = Offer { version: 5, build: "1.0".into(), name: "a".into(), nodes: 3 };
        let start = Start {
            process: 7,
            node: NodeId(2),
            secret: "s3cret".to_owned().into(),
            ahead_ns: -5,
            writes_last_words: true,
        };
        let words = Done::LastWords { events: Vec::new(), ret: Box::default() };
        let said = [
            serde_json::to_value(Hello::Host(offer)),
            serde_json::to_value(Hello::Relay { host: 4 }),
            serde_json::to_value(Welcome::Refused("no".into())),
            serde_json::to_value(Order { number: 1, what: What::Start(start) }),
            serde_json::to_value(Order { number: 2, what: What::LastWords { process: 7, heard: 9 } }),
            serde_json::to_value(Said::Done { number: 2, what: Ok(words) }),
            serde_json::to_value(Said::Done { number: 3, what: Err("it is gone".into()) }),
            serde_json::to_value(Said::Ended { process: 7, how: "signal: 9".into() }),
        ];
        let said: Vec<_> = said.into_iter().collect::<Result<_, _>>().unwrap();
        damage::inputs("words of hosts of nodes", 20_000, |damage| {
            let mut frame = damage.one_of(&said).clone();
            damage.document(&mut frame);
            let mut bytes = serde_json::to_vec(&frame).unwrap();
            if damage.once_in(2) {
                damage.bytes(&mut bytes);
            }
            drop(decode::<Hello>(&bytes));
            drop(decode::<Welcome>(&bytes));
            drop(decode::<Order>(&bytes));
            drop(decode::<Said>(&bytes));
        });
    }
}
