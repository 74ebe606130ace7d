//! What the agent lets in, and in what order.

use super::*;
use crate::model::{Arrival, Holder, PlanSettings, Resource, ResourceKind, StepTree, TaskId};

const NODE: NodeId = NodeId(0);

fn agent(fencing: Fencing) -> (Agent, Arc<Recorder>) {
    agent_with(AgentOptions { fencing, ..AgentOptions::default() })
}

fn agent_with(options: AgentOptions) -> (Agent, Arc<Recorder>) {
    let settings = PlanSettings { seed: 1, nodes: 1, window_ns: 1, deadline_ns: 1, holder: Holder::Checks };
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
    assert_eq!(recorder.take().iter().filter(|event| event.what == What::Superseded).count(), 1);
}

#[test]
fn the_history_of_a_resource_is_in_the_order_in_which_it_happened() {
    let settings = PlanSettings { seed: 1, nodes: 1, window_ns: 1, deadline_ns: 1, holder: Holder::Checks };
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
    for event in recorder.take() {
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
    assert_eq!(recorder.take().into_iter().filter(abandoned).count(), 1);
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
    assert_eq!(recorder.take().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn who_asks_again_writes_once_whether_he_was_done_or_is_inside_another_slot() {
    let (agent, recorder) = agent(Fencing::Off);
    let level_2 = |agent: Agent| {
        let mut plan = Plan::clone(&agent.plan).with_entry(EntryPolicy::Failover);
        plan.resources[0].level = 2;
        Agent::new(Arc::new(plan), agent.clock, agent.recorder, agent.options)
    };
    let agent = level_2(agent);
    // His node died before he was told that he was done.
    agent.enter(NODE, task(0), Some(0), None);
    assert_eq!(agent.leave(NODE, task(0), Some(0), Some(1)), LeaveRet::Applied);
    assert_eq!(agent.enter(NODE, task(0), Some(0), None), EnterRet::Done);
    // His node died, and its request goes on where it had been sent.
    agent.enter(NODE, task(1), Some(0), None);
    agent.enter(NodeId(1), task(1), Some(1), None);
    assert_eq!(agent.leave(NodeId(1), task(1), Some(1), Some(1)), LeaveRet::Applied);
    assert_eq!(
        agent.leave(NODE, task(1), Some(0), Some(2)),
        LeaveRet::Applied,
        "as he has been told already"
    );
    let wrote = |event: &Event| matches!(event.what, What::Left { wrote: Some(_) });
    assert_eq!(recorder.take().iter().filter(|event| wrote(event)).count(), 2);
}
