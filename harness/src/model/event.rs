//! What happened, event by event. Waits, hand-overs, goodput and every verdict come from these events, for locks and
//! queues alike.

use serde::{Deserialize, Serialize};

use super::id::{NodeId, StepRef};
use super::outcome::{Outcome, ReleaseRet, Token};
use super::plan::Plan;

/// Something that happened at a stamp of the run's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at_ns: u64,
    /// At which node; `None` = the agent says so.
    pub node: Option<NodeId>,
    /// To which step.
    #[serde(flatten)]
    pub step: StepRef,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// Kinds of event. A node writes Invoked, Granted, Lost, ReleaseSent, Released and Returned; the agent alone writes
/// the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum What {
    /// A step was asked for at this node.
    Invoked,
    /// The mechanism let it in, at this node.
    Granted {
        /// Slot.
        slot: Option<u32>,
        /// Token.
        token: Option<Token>,
        /// End of the lease as known then.
        valid_until_ns: Option<u64>,
    },
    /// The holder was told that its lease is lost.
    Lost,
    /// A release is about to be sent.
    ReleaseSent,
    /// The release was answered.
    Released {
        /// How.
        ret: ReleaseRet,
    },
    /// The caller may go on.
    Returned {
        /// How the step ended.
        outcome: Outcome,
    },
    /// The agent let the section in.
    Entered {
        /// Slot.
        slot: Option<u32>,
        /// Token.
        token: Option<Token>,
        /// The slot's value at entry.
        value: u64,
    },
    /// The section is over.
    Left {
        /// The value that it wrote; `None`: without effect.
        wrote: Option<u64>,
    },
    /// A higher token entered the slot; this section no longer counts and may not write.
    Superseded,
    /// The agent refused an entry or a write.
    Rejected {
        /// Why.
        reason: String,
    },
    /// The section's node is gone.
    Abandoned,
}

impl Event {
    /// The same where no clock of a node is off the agent's by more than half of this: what is asked for, and what is given up, is
    /// stamped so much earlier, and what has returned half of it later. Of a request that comes behind a grant by the stamps it is
    /// certain then that it did so, and what has returned comes behind what the agent saw of it.
    #[must_use]
    pub fn certain(mut self, earlier_ns: u64) -> Self {
        match &mut self.what {
            What::Invoked | What::ReleaseSent => self.at_ns = self.at_ns.saturating_sub(earlier_ns),
            What::Granted { valid_until_ns: Some(until_ns), .. } => {
                *until_ns = until_ns.saturating_sub(earlier_ns);
            }
            What::Returned { .. } => self.at_ns += earlier_ns / 2,
            _ => {}
        }
        self
    }
}

impl What {
    /// Whether a node writes it, not the agent.
    #[must_use]
    pub fn is_of_node(&self) -> bool {
        match self {
            Self::Invoked
            | Self::Granted { .. }
            | Self::Lost
            | Self::ReleaseSent
            | Self::Released { .. }
            | Self::Returned { .. } => true,
            Self::Entered { .. }
            | Self::Left { .. }
            | Self::Superseded
            | Self::Rejected { .. }
            | Self::Abandoned => false,
        }
    }
}

/// One line of a witness: time in ms since `origin_ns`, resource, step, what.
#[must_use]
pub fn describe(event: &Event, plan: &Plan, origin_ns: u64) -> String {
    let ms = (event.at_ns as f64 - origin_ns as f64) / 1e6;
    let place = event.node.map_or("agent".to_owned(), |node| format!("node {}", node.0));
    let what = match &event.what {
        What::Granted { slot, token, .. } => format!("granted{}{}", slot_text(*slot), token_text(*token)),
        What::Entered { slot, token, value } => {
            format!("entered{}{}, read value {value}", slot_text(*slot), token_text(*token))
        }
        What::Left { wrote: Some(value) } => format!("left, wrote value {value}"),
        What::Left { wrote: None } => "left without effect".to_owned(),
        What::Rejected { reason } => format!("rejected: {reason}"),
        What::Invoked => "asked for".to_owned(),
        What::Lost => "told that its lease is lost".to_owned(),
        What::ReleaseSent => "release sent".to_owned(),
        What::Released { ret: ReleaseRet::Released } => "release answered: released".to_owned(),
        What::Released { ret: ReleaseRet::AlreadyLost } => "release answered: already lost".to_owned(),
        What::Released { ret: ReleaseRet::Unknown(why) } => format!("release not answered: {why}"),
        What::Returned { outcome } => format!("returned {outcome:?}"),
        What::Superseded => "superseded".to_owned(),
        What::Abandoned => "abandoned: its node is gone".to_owned(),
    };
    format!("{ms:.3} ms  {}  {}  {place}: {what}", plan.resource(event.step), event.step)
}

fn slot_text(slot: Option<u32>) -> String {
    slot.map_or(String::new(), |slot| format!(" slot {slot}"))
}

fn token_text(token: Option<Token>) -> String {
    token.map_or(String::new(), |token| format!(" token {}.{}", token.generation, token.sequence))
}

#[cfg(test)]
mod tests {
    use super::super::id::TaskId;
    use super::*;

    #[test]
    fn an_event_is_one_flat_line_and_reads_back() {
        let event = Event {
            at_ns: 7,
            node: None,
            step: StepRef { task: TaskId(3), step: 1 },
            what: What::Entered {
                slot: Some(0),
                token: Some(Token { generation: 0, sequence: 9 }),
                value: 4,
            },
        };
        let line = serde_json::to_string(&event).unwrap();
        assert!(line.starts_with(r#"{"at_ns":7,"node":null,"task":3,"step":1,"event":"entered""#), "{line}");
        assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event);
    }

    #[test]
    fn what_a_node_asks_for_and_gives_up_is_stamped_earlier_and_what_has_returned_later() {
        let step = StepRef { task: crate::model::TaskId(1), step: 0 };
        let event = |what| Event { at_ns: 1_000, node: Some(NodeId(0)), step, what };
        let at = |what| event(what).certain(300).at_ns;
        assert_eq!((at(What::Invoked), at(What::ReleaseSent)), (700, 700));
        assert_eq!(at(What::Lost), 1_000);
        assert_eq!(at(What::Returned { outcome: Outcome::Completed }), 1_150);
        let granted = |valid_until_ns| event(What::Granted { slot: None, token: None, valid_until_ns });
        assert_eq!(granted(Some(5_000)).certain(300), granted(Some(4_700)));
        assert_eq!(event(What::Invoked).certain(0), event(What::Invoked));
    }
}
