//! The resource side: a hypervisor's agent in real life. It alone says who is inside, on one clock; that is the
//! ground truth which every check starts from.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::event::{Event, Recorder, What};
use crate::mechanism::{BoxFuture, Token};
use crate::plan::{Mode, NodeId, Plan, StepRef};

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

/// A step that is inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// Where it runs.
    pub node: NodeId,
    /// The step.
    pub step: StepRef,
    /// Its slot; `None` at level 0.
    pub slot: Option<u32>,
    /// The token that it showed.
    pub token: Option<Token>,
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
        Self { plan, clock, recorder, options, resources }
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
        if let Some(value) = write {
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

    fn lock(&self, step: StepRef) -> std::sync::MutexGuard<'_, Vec<Slot>> {
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
mod tests {
    use super::*;
    use crate::plan::{Arrival, Holder, PlanSettings, Resource, ResourceKind, StepTree, TaskId};

    const NODE: NodeId = NodeId(0);

    fn agent(fencing: Fencing) -> (Agent, Arc<Recorder>) {
        agent_with(AgentOptions { fencing, ..AgentOptions::default() })
    }

    fn agent_with(options: AgentOptions) -> (Agent, Arc<Recorder>) {
        let settings =
            PlanSettings { seed: 1, nodes: 1, window_ns: 1, deadline_ns: 1, holder: Holder::Checks };
        let resource = Resource { kind: ResourceKind::Vm, id: 0, level: 1 };
        let root = |mode| StepTree { resource, mode, hold_ns: 0, create_ns: None, children: Vec::new() };
        let arrival = |mode| Arrival { kind: 0, at_ns: 0, entry: NodeId(0), root: root(mode) };
        let modes = [Mode::Exclusive, Mode::Exclusive, Mode::Shared, Mode::Shared];
        let plan = Plan::new(settings, vec!["vm".into()], modes.map(arrival).to_vec()).unwrap();
        let recorder = Arc::new(Recorder::default());
        (Agent::new(Arc::new(plan), Clock::virtual_time(), Arc::clone(&recorder), options), recorder)
    }

    fn task(number: u32) -> StepRef {
        StepRef { task: TaskId(number), step: 0 }
    }

    fn token(sequence: u64) -> Option<Token> {
        Some(Token { generation: 0, sequence })
    }

    #[tokio::test(start_paused = true)]
    async fn without_fencing_an_overlap_loses_an_update() {
        let (agent, _) = agent(Fencing::Off);
        assert_eq!(agent.enter(NODE, task(0), Some(0), token(1)), EnterRet::Entered(0));
        assert_eq!(agent.enter(NODE, task(1), Some(0), token(2)), EnterRet::Entered(0));
        assert_eq!(agent.leave(NODE, task(1), Some(0), Some(1)), LeaveRet::Applied);
        assert_eq!(agent.leave(NODE, task(0), Some(0), Some(1)), LeaveRet::Applied);
    }

    #[tokio::test(start_paused = true)]
    async fn shared_sections_neither_supersede_nor_refuse_each_other_but_exclusive_ones() {
        for when_busy in [WhenBusy::Admit, WhenBusy::Refuse] {
            let (agent, recorder) = agent_with(AgentOptions { fencing: Fencing::On, when_busy });
            assert_eq!(agent.enter(NODE, task(2), Some(0), token(5)), EnterRet::Entered(0));
            assert_eq!(agent.enter(NODE, task(3), Some(0), token(4)), EnterRet::Entered(0));
            assert!(!recorder.take().iter().any(|event| event.what == What::Superseded));
            let stale = agent.enter(NODE, task(0), Some(0), token(3));
            assert_eq!(stale, EnterRet::Rejected("stale token".to_owned()));
            agent.enter(NODE, task(0), Some(0), token(6));
            let superseded = recorder.take().iter().filter(|event| event.what == What::Superseded).count();
            assert_eq!(superseded, 2, "an exclusive section with a higher token supersedes both");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn with_fencing_the_older_section_is_superseded_and_a_stale_token_kept_out() {
        let (agent, recorder) = agent(Fencing::On);
        agent.enter(NODE, task(0), Some(0), token(1));
        assert_eq!(agent.enter(NODE, task(1), Some(0), token(2)), EnterRet::Entered(0));
        assert!(matches!(agent.leave(NODE, task(0), Some(0), Some(1)), LeaveRet::Rejected(_)));
        assert_eq!(agent.leave(NODE, task(1), Some(0), Some(1)), LeaveRet::Applied);
        assert!(matches!(agent.enter(NODE, task(0), Some(0), token(1)), EnterRet::Rejected(_)));
        assert_eq!(recorder.finish().iter().filter(|event| event.what == What::Superseded).count(), 1);
    }

    #[test]
    fn the_history_of_a_resource_is_in_the_order_in_which_it_happened() {
        let settings =
            PlanSettings { seed: 1, nodes: 1, window_ns: 1, deadline_ns: 1, holder: Holder::Checks };
        let resource = Resource { kind: ResourceKind::Host, id: 1, level: 1 };
        let root =
            StepTree { resource, mode: Mode::Exclusive, hold_ns: 0, create_ns: None, children: Vec::new() };
        let arrivals = vec![Arrival { kind: 0, at_ns: 0, entry: NodeId(0), root }; 4_000];
        let plan = Arc::new(Plan::new(settings, vec!["t".into()], arrivals).unwrap());
        let (clock, recorder) = (Clock::real().unwrap(), Arc::new(Recorder::default()));
        let agent = Agent::new(plan, clock, Arc::clone(&recorder), AgentOptions::default());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let agent = &agent;
                scope.spawn(move || {
                    for number in 0..1_000 {
                        let step = task(thread * 1_000 + number);
                        let EnterRet::Entered(value) = agent.enter(NODE, step, Some(0), None) else {
                            panic!("nothing refuses it")
                        };
                        agent.leave(NODE, step, Some(0), Some(value + 1));
                    }
                });
            }
        });
        let mut value_so_far = 0;
        for event in recorder.finish() {
            match event.what {
                What::Entered { value, .. } => assert_eq!(value, value_so_far),
                What::Left { wrote: Some(value) } => value_so_far = value,
                other => panic!("{other:?}"),
            }
        }
        assert!(value_so_far >= 1_000);
    }

    #[tokio::test(start_paused = true)]
    async fn the_sections_of_a_node_that_is_gone_are_abandoned_and_can_no_longer_leave() {
        let (agent, recorder) = agent(Fencing::Off);
        agent.enter(NODE, task(0), Some(0), token(1));
        agent.enter(NodeId(1), task(1), Some(0), token(2));
        agent.abandon(NODE);
        let rest = agent.inside();
        assert_eq!(rest.iter().map(|section| section.step).collect::<Vec<_>>(), [task(1)]);
        assert!(matches!(agent.leave(NODE, task(0), Some(0), Some(1)), LeaveRet::Rejected(_)));
        assert!(matches!(agent.leave(NODE, task(1), Some(0), Some(1)), LeaveRet::Rejected(_)), "not its own");
        assert_eq!(agent.leave(NodeId(1), task(1), Some(0), Some(1)), LeaveRet::Applied);
        let abandoned = |event: &Event| event.what == What::Abandoned && event.step == task(0);
        assert_eq!(recorder.finish().into_iter().filter(abandoned).count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slot_that_the_level_does_not_have_is_refused() {
        let (agent, _) = agent(Fencing::Off);
        assert!(matches!(agent.enter(NODE, task(0), Some(1), None), EnterRet::Rejected(_)));
    }

    fn link(agent: &Agent, number: u32, token: Option<Token>) -> BoxFuture<'_, EnterRet> {
        Box::pin(agent.enter_in_turn(NODE, task(number), Some(0), token))
    }

    #[tokio::test(start_paused = true)]
    async fn a_state_machine_turns_an_overlap_into_a_rejection() {
        let (agent, _) = agent_with(AgentOptions { when_busy: WhenBusy::Refuse, ..AgentOptions::default() });
        assert_eq!(link(&agent, 0, None).await, EnterRet::Entered(0));
        let refused = link(&agent, 1, None).await;
        assert_eq!(refused, EnterRet::Rejected("illegal state: a step is under way".to_owned()));
        agent.leave(NODE, task(0), Some(0), Some(1));
        assert_eq!(link(&agent, 1, None).await, EnterRet::Entered(1));
    }

    #[tokio::test(start_paused = true)]
    async fn with_fencing_a_state_machine_does_not_keep_a_higher_token_out() {
        let (agent, _) = agent_with(AgentOptions { fencing: Fencing::On, when_busy: WhenBusy::Refuse });
        link(&agent, 0, token(1)).await;
        assert_eq!(link(&agent, 1, token(2)).await, EnterRet::Entered(0));
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_serialises_lets_overlaps_wait_for_their_turn() {
        let (agent, recorder) =
            agent_with(AgentOptions { when_busy: WhenBusy::Serialise, ..AgentOptions::default() });
        assert_eq!(link(&agent, 0, None).await, EnterRet::Entered(0));
        let mut waiting = link(&agent, 1, None);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        {
            let mut gives_up = link(&agent, 1, None);
            assert!(futures_util::poll!(&mut gives_up).is_pending());
        }
        agent.leave(NODE, task(0), Some(0), Some(1));
        assert_eq!(waiting.await, EnterRet::Entered(1), "it reads what the one before it wrote");
        agent.leave(NODE, task(1), Some(0), Some(2));
        assert_eq!(link(&agent, 0, None).await, EnterRet::Entered(2));
        assert_eq!(recorder.finish().len(), 5);
    }
}
