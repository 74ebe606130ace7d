//! The resource side: a hypervisor's agent in real life. It alone says who is inside, on one clock; that is the
//! ground truth which every check starts from.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::clock::Clock;
use super::mechanism::BoxFuture;
use super::recorder::Recorder;
use crate::model::{EntryPolicy, Event, Mode, NodeId, Plan, Section, StepRef, Token, What};

/// What the agent does beyond watching; all off by default, because each hides races that a mechanism lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AgentOptions {
    /// Whether stale tokens are rejected.
    pub fencing: Fencing,
    /// What happens to an entry while somebody is inside the slot.
    pub when_busy: WhenBusy,
}

/// Whether an agent looks at tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fencing {
    /// It does not.
    #[default]
    Off,
    /// A token lower than one seen on the slot is rejected; a higher one supersedes whoever is inside. Shared steps are
    /// not compared with each other.
    On,
}

/// What an agent does with an entry to a slot that somebody is inside of; level 0 is never busy. Superseded sections
/// do not make a slot busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenBusy {
    /// It lets it in: the overlap shows.
    #[default]
    Admit,
    /// It rejects it, as a resource's state machine does: a VM that is starting cannot be started.
    Refuse,
    /// It lets it wait for its turn, as an agent that works one by one does. Without fencing only: a higher token could
    /// not supersede the section that it waits for.
    Serialise,
}

/// Answer to an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EnterRet {
    /// Inside; the slot's value at this moment.
    Entered(u64),
    /// Kept out.
    Rejected(String),
    /// There is nothing left to do: its user asked before, and what he asked for was applied.
    Done,
}

/// Answer to a leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeaveRet {
    /// Gone, the write is applied.
    Applied,
    /// Gone, the write is refused.
    Rejected(String),
    /// The connection closed before the answer: gone, and the write may have been applied. The agent itself never says so.
    Unknown(String),
}

/// A node's way to the agent: a call in one process ([`Direct`]), a connection between processes.
pub trait AgentLink: Send + Sync + std::fmt::Debug {
    /// A section asks to be inside. At level 0 there is no slot, no token and no value.
    fn enter(&self, step: StepRef, slot: Option<u32>, token: Option<Token>) -> BoxFuture<'_, EnterRet>;

    /// A section ends, writing a value or without effect. Only after the answer may its lock be released.
    fn leave(&self, step: StepRef, slot: Option<u32>, write: Option<u64>) -> BoxFuture<'_, LeaveRet>;
}

/// The agent of all resources of a run.
#[derive(Debug)]
pub struct Agent {
    plan: Arc<Plan>,
    clock: Clock,
    recorder: Arc<Recorder>,
    options: AgentOptions,
    resources: Vec<Mutex<Vec<Slot>>>,
    /// Steps that have written, where users ask again: by the id of their task they write once. Locked after a resource.
    applied: Option<Mutex<HashSet<StepRef>>>,
}

#[derive(Debug, Default)]
struct Slot {
    value: u64,
    highest: Option<Token>,
    /// The highest of an exclusive step.
    highest_alone: Option<Token>,
    inside: Vec<(Section, Standing)>,
    /// Whose turn it is, where the agent serialises: one permit, taken by whoever is inside.
    turn: Option<Arc<Semaphore>>,
}

impl Slot {
    fn pass_turn_on(&self) {
        if let Some(turn) = self.turn.as_ref().filter(|turn| turn.available_permits() == 0) {
            turn.add_permits(1);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Current,
    Superseded,
}

impl Agent {
    /// An agent for the resources of a plan.
    #[must_use]
    pub fn new(plan: Arc<Plan>, clock: Clock, recorder: Arc<Recorder>, options: AgentOptions) -> Self {
        let serialises = |level: u32| options.when_busy == WhenBusy::Serialise && level > 0;
        let turn = |level| serialises(level).then(|| Arc::new(Semaphore::new(1)));
        let slots =
            |level: u32| (0..level.max(1)).map(|_| Slot { turn: turn(level), ..Slot::default() }).collect();
        let resources = plan.resources.iter().map(|resource| Mutex::new(slots(resource.level))).collect();
        let applied = (plan.entry == EntryPolicy::Failover).then(Mutex::default);
        Self { plan, clock, recorder, options, resources, applied }
    }

    /// What has been written already, where users ask again.
    fn applied(&self) -> Option<MutexGuard<'_, HashSet<StepRef>>> {
        self.applied.as_ref().map(|applied| applied.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// See [`AgentLink::enter`]; at which node the section is. Waits for the turn first where the agent serialises. Cancel
    /// safe.
    pub async fn enter_in_turn(
        &self,
        node: NodeId,
        step: StepRef,
        slot: Option<u32>,
        token: Option<Token>,
    ) -> EnterRet {
        let turn = self.lock(step).get(slot.unwrap_or(0) as usize).and_then(|slot| slot.turn.clone());
        let Some(turn) = turn else { return self.enter(node, step, slot, token) };
        // Fair, and bounded by the holds of those before: whoever is inside leaves. Given back when dropped.
        let permit = turn.acquire().await.expect("nobody closes it");
        let ret = self.enter(node, step, slot, token);
        if let EnterRet::Entered(_) = ret {
            permit.forget();
        }
        ret
    }

    /// [`Agent::enter_in_turn`] without the turn: decides at once.
    pub fn enter(&self, node: NodeId, step: StepRef, slot: Option<u32>, token: Option<Token>) -> EnterRet {
        let mut slots = self.lock(step);
        let count = slots.len();
        let place = slot.unwrap_or(0) as usize;
        let Some(state) = slots.get_mut(place) else {
            return self.reject(step, format!("slot {place} of {count}"));
        };
        if self.applied().is_some_and(|applied| applied.contains(&step)) {
            self.write(step, What::Rejected { reason: "applied already".to_owned() });
            return EnterRet::Done;
        }
        let mode = |step| self.plan.step(step).mode;
        let alone = mode(step) == Mode::Exclusive;
        let excluded = |other: &Section| alone || mode(other.step) == Mode::Exclusive;
        if self.options.fencing == Fencing::On {
            if token < if alone { state.highest } else { state.highest_alone } {
                return self.reject(step, "stale token".to_owned());
            }
            for (older, standing) in &mut state.inside {
                if older.token < token && *standing == Standing::Current && excluded(older) {
                    *standing = Standing::Superseded;
                    self.write(older.step, What::Superseded);
                }
            }
        }
        // A higher token has been seen even if the state machine keeps its section out.
        state.highest = state.highest.max(token);
        if alone {
            state.highest_alone = state.highest_alone.max(token);
        }
        let current = |standing| standing == Standing::Current;
        let busy = state.inside.iter().any(|(other, standing)| current(*standing) && excluded(other));
        if busy && slot.is_some() && self.options.when_busy == WhenBusy::Refuse {
            return self.reject(step, "illegal state: a step is under way".to_owned());
        }
        if busy && slot.is_some() {
            let progress = self.recorder.progress();
            progress.count(&progress.overlaps);
        }
        state.inside.push((Section { node, step, slot, token }, Standing::Current));
        // Stamped and recorded under the resource's lock, so that the history has the true order.
        self.write(step, What::Entered { slot, token, value: state.value });
        EnterRet::Entered(state.value)
    }

    fn reject(&self, step: StepRef, reason: String) -> EnterRet {
        self.write(step, What::Rejected { reason: reason.clone() });
        EnterRet::Rejected(reason)
    }

    /// See [`AgentLink::leave`]. What is not inside, at this node, is refused.
    pub fn leave(&self, node: NodeId, step: StepRef, slot: Option<u32>, write: Option<u64>) -> LeaveRet {
        let mut slots = self.lock(step);
        let leaving =
            |(inside, _): &(Section, Standing)| (inside.node, inside.step, inside.slot) == (node, step, slot);
        let found = slots.iter_mut().find_map(|state| {
            let place = state.inside.iter().position(leaving)?;
            Some((state.inside.swap_remove(place).1, state))
        });
        let Some((standing, state)) = found else {
            let reason = "not inside".to_owned();
            self.write(step, What::Rejected { reason: reason.clone() });
            return LeaveRet::Rejected(reason);
        };
        state.pass_turn_on();
        if write.is_some() && standing == Standing::Superseded {
            let reason = "superseded".to_owned();
            self.write(step, What::Rejected { reason: reason.clone() });
            self.write(step, What::Left { wrote: None });
            return LeaveRet::Rejected(reason);
        }
        // Whoever asked again may be inside another slot at the same time.
        let anew =
            || step.task.is_bystander() || self.applied().is_none_or(|mut applied| applied.insert(step));
        let write = write.filter(|_| anew());
        if let Some(value) = write {
            // Whoever writes has read one less.
            if value <= state.value {
                let progress = self.recorder.progress();
                progress.count(&progress.lost_updates);
            }
            state.value = value;
        }
        self.write(step, What::Left { wrote: write });
        LeaveRet::Applied
    }

    /// Ends all sections of a node whose connection has closed.
    pub fn abandon(&self, node: NodeId) {
        for resource in &self.resources {
            let mut slots = resource.lock().unwrap_or_else(PoisonError::into_inner);
            for state in slots.iter_mut() {
                let gone: Vec<_> = state.inside.extract_if(.., |(each, _)| each.node == node).collect();
                for (section, _) in gone {
                    state.pass_turn_on();
                    self.write(section.step, What::Abandoned);
                }
            }
        }
    }

    /// Who is inside now and may write, bystanders aside.
    #[must_use]
    pub fn inside(&self) -> Vec<Section> {
        let mut sections = Vec::new();
        for resource in &self.resources {
            let slots = resource.lock().unwrap_or_else(PoisonError::into_inner);
            let current = slots.iter().flat_map(|state| &state.inside).filter(|(section, standing)| {
                *standing == Standing::Current && !section.step.task.is_bystander()
            });
            sections.extend(current.map(|(section, _)| *section));
        }
        sections
    }

    fn lock(&self, step: StepRef) -> MutexGuard<'_, Vec<Slot>> {
        let resource = self.plan.step(step).resource as usize;
        self.resources[resource].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, step: StepRef, what: What) {
        if !step.task.is_bystander() {
            self.recorder.record(Event { at_ns: self.clock.now_ns(), node: None, step, what });
        }
    }
}

/// The way to an agent in the same process: a call.
#[derive(Debug)]
pub struct Direct {
    /// The agent.
    pub agent: Arc<Agent>,
    /// Whose way it is.
    pub node: NodeId,
}

impl AgentLink for Direct {
    fn enter(&self, step: StepRef, slot: Option<u32>, token: Option<Token>) -> BoxFuture<'_, EnterRet> {
        Box::pin(self.agent.enter_in_turn(self.node, step, slot, token))
    }

    fn leave(&self, step: StepRef, slot: Option<u32>, write: Option<u64>) -> BoxFuture<'_, LeaveRet> {
        Box::pin(std::future::ready(self.agent.leave(self.node, step, slot, write)))
    }
}

#[cfg(test)]
mod tests;
