//! What happens to keys when the ring changes, under each takeover.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use queue_lockfree::{
    Delivery, Directory, Handler, Membership, Node, NodeId, NodeOptions, Now, RouterLimits, SubmitError,
    Takeover, Token, TokioNow, Transport, handler_fn,
};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use common::{PATIENCE, cases, options, ring};

/// The resource side, as one process that all nodes reach: who is inside, and what ran.
#[derive(Default)]
struct Agent {
    inside: BTreeMap<String, Vec<(Token, Bytes)>>,
    highest: BTreeMap<String, Token>,
    /// Entries, by payload.
    entered: BTreeMap<Bytes, usize>,
    /// Refused for a token that is out of date.
    rejected: usize,
    /// Who came in while how many others were inside.
    crowded: Vec<(String, usize)>,
    /// Sections beyond the level under tokens of one generation.
    undecided: usize,
    /// What was delivered, in this order: key, payload, and the epoch at which its owner took it in.
    delivered: Vec<(String, Bytes, u64)>,
}

impl Agent {
    fn enter(&mut self, delivery: &Delivery, level: usize, fencing: bool) -> bool {
        self.delivered.push((delivery.key.clone(), delivery.payload.clone(), delivery.epoch));
        let token = delivery.entitlement.token.unwrap();
        let highest = self.highest.entry(delivery.key.clone()).or_insert(token);
        // The slots of one generation are entered in any order.
        let stale = if level == 1 { token < *highest } else { token.generation < highest.generation };
        if fencing && stale {
            self.rejected += 1;
            return false;
        }
        *highest = (*highest).max(token);
        let inside = self.inside.entry(delivery.key.clone()).or_default();
        if inside.len() >= level {
            self.crowded.push((delivery.key.clone(), inside.len()));
        }
        let alike = inside.iter().filter(|(other, _)| other.generation == token.generation).count();
        self.undecided += usize::from(alike >= level);
        inside.push((token, delivery.payload.clone()));
        *self.entered.entry(delivery.payload.clone()).or_default() += 1;
        true
    }

    fn leave(&mut self, delivery: &Delivery) {
        self.inside.get_mut(&delivery.key).unwrap().retain(|(_, payload)| payload != &delivery.payload);
    }
}

/// Nodes that each go by their own view.
struct Ringed {
    nodes: Vec<Arc<Node>>,
    memberships: Vec<Membership>,
    now: Arc<TokioNow>,
}

impl Ringed {
    /// A busy machine must not make a node look dead: owners may be silent as long as tests have patience.
    async fn start(count: u16, takeover: Takeover, direct: bool, handler: Arc<dyn Handler>) -> Self {
        Self::with_grace(PATIENCE, count, takeover, direct, handler).await
    }

    async fn with_grace(
        grace: Duration,
        count: u16,
        takeover: Takeover,
        direct: bool,
        handler: Arc<dyn Handler>,
    ) -> Self {
        let (now, directory) = (Arc::new(TokioNow::start()), Directory::new());
        let (mut nodes, mut memberships) = (Vec::new(), Vec::new());
        for id in 0..count {
            let membership = Membership::new();
            let options = options(id, &membership, &now);
            let transport = if direct { Transport::Direct(directory.clone()) } else { Transport::Tcp };
            let limits = RouterLimits { grace, ..options.limits };
            let options = NodeOptions { takeover, transport, limits, ..options };
            nodes.push(Arc::new(Node::start(options, handler.clone()).await.unwrap()));
            memberships.push(membership);
        }
        Self { nodes, memberships, now }
    }

    fn install(&self, at: usize, epoch: u64, members: &[u16]) {
        let members = members.iter().map(|&id| self.nodes[usize::from(id)].member());
        self.memberships[at].install(ring(epoch, members));
    }

    fn install_everywhere(&self, epoch: u64, members: &[u16]) {
        for at in 0..self.nodes.len() {
            self.install(at, epoch, members);
        }
    }

    fn submit(
        &self,
        tasks: &mut JoinSet<Result<Bytes, SubmitError>>,
        at: usize,
        key: &str,
        level: u32,
        payload: &str,
    ) {
        let deadline_ns = self.now.now_ns() + u64::try_from(PATIENCE.as_nanos()).unwrap();
        let (node, key, payload) = (self.nodes[at].clone(), key.to_owned(), Bytes::from(payload.to_owned()));
        tasks.spawn(async move { node.submit(&key, level, payload, deadline_ns).await });
    }

    async fn shutdown(self) {
        for node in self.nodes {
            node.shutdown().await;
        }
    }
}

async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never came true: {what}"));
}

/// A key that node 0 owns alone, and node 1 once it has joined.
fn moving_key(ringed: &Ringed) -> String {
    let after = ring(2, [0, 1].map(|id: usize| ringed.nodes[id].member()));
    (0..).map(|key| format!("vm-{key}")).find(|key| after.owner(key) == Some(NodeId(1))).unwrap()
}

/// The story of a join: A runs and B waits at node 0 when node 1 joins; then C is submitted. A ends when the gate opens.
struct Story {
    ringed: Ringed,
    agent: Arc<Mutex<Agent>>,
    gate: Arc<Semaphore>,
    lost: Arc<Semaphore>,
    key: String,
    tasks: JoinSet<Result<Bytes, SubmitError>>,
}

async fn story(takeover: Takeover) -> Story {
    story_of(takeover, &[0, 1]).await
}

/// The same with other members after the change.
async fn story_of(takeover: Takeover, after: &[u16]) -> Story {
    let (agent, gate, lost) =
        (Arc::new(Mutex::new(Agent::default())), Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let handler = {
        let (agent, gate, lost) = (agent.clone(), gate.clone(), lost.clone());
        handler_fn(move |delivery: Delivery| {
            let (agent, gate, lost) = (agent.clone(), gate.clone(), lost.clone());
            async move {
                agent.lock().unwrap().enter(&delivery, 1, false);
                if delivery.payload == "A" {
                    let told = delivery.entitlement.lost.signal();
                    tokio::select! {
                        biased;
                        () = told.cancelled() => lost.add_permits(1),
                        _ = gate.acquire() => {}
                    }
                    gate.acquire().await.unwrap().forget();
                }
                agent.lock().unwrap().leave(&delivery);
                delivery.payload
            }
        })
    };
    let ringed = Ringed::start(2, takeover, false, Arc::new(handler)).await;
    ringed.install_everywhere(1, &[0]);
    let (key, mut tasks) = (moving_key(&ringed), JoinSet::new());
    ringed.submit(&mut tasks, 0, &key, 1, "A");
    eventually("A is inside", || agent.lock().unwrap().entered.contains_key("A".as_bytes())).await;
    ringed.submit(&mut tasks, 0, &key, 1, "B");
    eventually("B waits", || ringed.nodes[0].snapshot()[0].pending_ages_ns.len() == 1).await;
    ringed.install_everywhere(2, after);
    ringed.submit(&mut tasks, 1, &key, 1, "C");
    Story { ringed, agent, gate, lost, key, tasks }
}

impl Story {
    fn entered(&self, payload: &'static str) -> bool {
        self.agent.lock().unwrap().entered.contains_key(payload.as_bytes())
    }

    async fn end(mut self) -> Agent {
        self.gate.add_permits(10);
        while let Some(joined) = self.tasks.join_next().await {
            joined.unwrap().unwrap();
        }
        self.ringed.shutdown().await;
        let agent = std::mem::take(&mut *self.agent.lock().unwrap());
        assert!(agent.entered.values().all(|&times| times == 1), "{:?}", agent.entered);
        assert_eq!(agent.entered.len(), 3);
        agent
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faithful_lets_the_new_owner_start_while_the_old_one_runs() {
    let story = story(Takeover::Faithful).await;
    eventually("C is inside beside A", || story.entered("C")).await;
    assert!(!story.entered("B"), "it waits at the old owner, for A");
    let key = story.key.clone();
    let agent = story.end().await;
    // The witness: C came in while A was inside.
    assert_eq!(agent.crowded[0], (key, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drain_has_the_new_owner_wait_until_the_old_one_is_done() {
    let story = story(Takeover::Drain).await;
    let arrived = || {
        story.ringed.nodes[1]
            .snapshot()
            .first()
            .map_or(0, |queue| queue.running.len() + queue.pending_ages_ns.len())
    };
    eventually("B and C are at the new owner", || arrived() == 2).await;
    assert!(!story.entered("B") && !story.entered("C"));
    assert_eq!(story.lost.available_permits(), 0, "a planned change takes nothing from who runs");
    let agent = story.end().await;
    assert!(agent.crowded.is_empty(), "{:?}", agent.crowded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drain_has_a_node_that_leaves_by_plan_end_what_it_runs() {
    let story = story_of(Takeover::Drain, &[1]).await;
    let arrived = || story.ringed.nodes[1].snapshot().first().map_or(0, |queue| queue.running.len());
    eventually("the new owner has the key's turn", || arrived() == 1).await;
    assert!(!story.entered("B") && !story.entered("C"));
    assert_eq!(story.lost.available_permits(), 0, "it was not taken for dead");
    let agent = story.end().await;
    assert!(agent.crowded.is_empty(), "{:?}", agent.crowded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fenced_starts_at_once_under_a_higher_generation_and_tells_who_runs() {
    let story = story(Takeover::Fenced).await;
    eventually("B and C have run", || story.entered("B") && story.entered("C")).await;
    eventually("A was told", || story.lost.available_permits() == 1).await;
    let highest = story.agent.lock().unwrap().highest[&story.key];
    assert_eq!(highest.generation, 2);
    let agent = story.end().await;
    assert!(!agent.crowded.is_empty());
    assert_eq!(agent.undecided, 0, "the tokens of any two that met differ in generation");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drain_goes_on_without_an_old_owner_that_has_died() {
    let handler = handler_fn(|delivery: Delivery| async move {
        let generation = delivery.entitlement.token.unwrap().generation;
        Bytes::from(generation.to_string())
    });
    // It is asked until it was silent for so long; the task waits far longer.
    let grace = Duration::from_millis(200);
    let ringed = Ringed::with_grace(grace, 2, Takeover::Drain, false, Arc::new(handler)).await;
    ringed.install_everywhere(1, &[0]);
    let key = moving_key(&ringed);
    ringed.nodes[0].shutdown().await;
    ringed.install_everywhere(2, &[0, 1]);
    let mut tasks = JoinSet::new();
    ringed.submit(&mut tasks, 1, &key, 1, "");
    assert_eq!(tasks.join_next().await.unwrap().unwrap().unwrap(), "2");
    ringed.shutdown().await;
}

#[derive(Clone, Debug)]
struct Plan {
    /// Members of the views from epoch 2 on; the first has all nodes.
    views: Vec<Vec<u16>>,
    /// Which node hears of each view first, and how many milliseconds pass before the next one hears of it.
    late: Vec<(usize, u64)>,
    /// Entry node, key, suspensions.
    tasks: Vec<(usize, u8, u32)>,
    direct: bool,
}

const NODES: u16 = 4;

fn plan() -> impl Strategy<Value = Plan> {
    let view = proptest::collection::btree_set(0..NODES, 1..=usize::from(NODES));
    let views = proptest::collection::vec(view.prop_map(|view| view.into_iter().collect()), 1..5);
    let late = proptest::collection::vec((0..usize::from(NODES), 0_u64..3), 5);
    let tasks = proptest::collection::vec((0..usize::from(NODES), 0_u8..6, 0_u32..6), 20..120);
    (views, late, tasks, any::<bool>()).prop_map(|(views, late, tasks, direct)| Plan {
        views,
        late,
        tasks,
        direct,
    })
}

/// A task's number and what its submitter was told.
type Answer = (usize, Result<Bytes, SubmitError>);

/// What came of a plan.
struct Played {
    agent: Agent,
    answers: Vec<Answer>,
    /// By task: the epoch that all nodes had come to when it was submitted; 0 = some had, some had not.
    settled: Vec<u64>,
}

fn play(plan: &Plan, takeover: Takeover, level: u32) -> Played {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let agent = Arc::new(Mutex::new(Agent::default()));
    let (answers, settled) = runtime.block_on(async {
        let handler = {
            let (agent, plan) = (agent.clone(), plan.clone());
            let fencing = takeover == Takeover::Fenced;
            handler_fn(move |delivery: Delivery| {
                let agent = agent.clone();
                let number: usize = str::from_utf8(&delivery.payload).unwrap().parse().unwrap();
                let suspensions = plan.tasks[number].2;
                async move {
                    let level = level as usize;
                    if !agent.lock().unwrap().enter(&delivery, level, fencing) {
                        return Bytes::from("rejected");
                    }
                    for _ in 0..suspensions {
                        tokio::time::sleep(Duration::from_micros(300)).await;
                    }
                    agent.lock().unwrap().leave(&delivery);
                    delivery.payload
                }
            })
        };
        let ringed = Arc::new(Ringed::start(NODES, takeover, plan.direct, Arc::new(handler)).await);
        ringed.install_everywhere(1, &(0..NODES).collect::<Vec<_>>());
        let mut changes = JoinSet::new();
        let (inside, views, late) = (ringed.clone(), plan.views.clone(), plan.late.clone());
        let settled = Arc::new(AtomicU64::new(1));
        let told = settled.clone();
        changes.spawn(async move {
            for ((epoch, view), (first, pause_ms)) in (2..).zip(views).zip(late) {
                told.store(0, Ordering::SeqCst);
                for at in 0..inside.nodes.len() {
                    inside.install((first + at) % inside.nodes.len(), epoch, &view);
                    tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                }
                told.store(epoch, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            }
        });
        let (mut tasks, mut settled_at) = (JoinSet::new(), Vec::new());
        for (number, &(at, key, _)) in plan.tasks.iter().enumerate() {
            let deadline_ns = ringed.now.now_ns() + u64::try_from(PATIENCE.as_nanos()).unwrap();
            let node = ringed.nodes[at].clone();
            let mut submitting = Box::pin(async move {
                let payload = Bytes::from(number.to_string());
                (number, node.submit(&format!("vm-{key}"), level, payload, deadline_ns).await)
            });
            // Polled here first, so that tasks are submitted in the order of their numbers.
            let before = settled.load(Ordering::SeqCst);
            match submitting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(answer) => drop(tasks.spawn(std::future::ready(answer))),
                Poll::Pending => drop(tasks.spawn(submitting)),
            }
            let after = settled.load(Ordering::SeqCst);
            settled_at.push(if before == after { before } else { 0 });
            if number % 8 == 0 {
                tokio::time::sleep(Duration::from_micros(500)).await;
            }
        }
        let answers = tokio::time::timeout(PATIENCE * 2, tasks.join_all()).await.expect("every task ends");
        changes.join_all().await;
        Arc::into_inner(ringed).unwrap().shutdown().await;
        (answers, settled_at)
    });
    let agent = std::mem::take(&mut *agent.lock().unwrap());
    Played { agent, answers, settled }
}

/// Tasks of one key that entered at one node while all nodes went by one view, and that the owner by this view ran, ran in
/// the order in which they were submitted. Returns how many times one followed another.
fn check_order(plan: &Plan, played: &Played) -> Result<usize, TestCaseError> {
    let (mut last, mut followed) = (BTreeMap::new(), 0);
    for (key, payload, epoch) in &played.agent.delivered {
        let number: usize = str::from_utf8(payload).unwrap().parse().unwrap();
        if played.settled[number] == *epoch
            && let Some(before) = last.insert((plan.tasks[number].0, key, epoch), number)
        {
            prop_assert!(before < number, "{key}: task {number} after {before}");
            followed += 1;
        }
    }
    Ok(followed)
}

/// Each task has one outcome, and ran as often as that says.
fn check_outcomes(played: &Played) -> Result<(), TestCaseError> {
    let Played { agent, answers, .. } = played;
    for (number, answer) in answers {
        let payload = Bytes::from(number.to_string());
        let times = agent.entered.get(&payload).copied().unwrap_or(0);
        match answer {
            Ok(answer) if answer == "rejected" => prop_assert_eq!(times, 0, "task {}", number),
            Ok(answer) => prop_assert_eq!((times, answer), (1, &payload), "task {}", number),
            // Its redirect led to a node whose view differs again.
            Err(SubmitError::WrongOwner) => prop_assert_eq!(times, 0, "task {}", number),
            Err(error) => prop_assert!(false, "task {}: {}", number, error),
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn drain_keeps_level_and_order_loses_nothing_and_runs_nothing_twice(plan in plan(), level in 1_u32..3) {
        let played = play(&plan, Takeover::Drain, level);
        prop_assert!(played.agent.crowded.is_empty(), "{:?}", played.agent.crowded);
        check_outcomes(&played)?;
        if level == 1 {
            check_order(&plan, &played)?;
        }
    }

    #[test]
    fn fenced_keeps_level_and_order_within_a_generation_loses_nothing_and_runs_nothing_twice(
        plan in plan(), level in 1_u32..3
    ) {
        let played = play(&plan, Takeover::Fenced, level);
        prop_assert_eq!(played.agent.undecided, 0);
        check_outcomes(&played)?;
        if level == 1 {
            check_order(&plan, &played)?;
        }
    }
}

#[test]
fn without_changes_all_takeovers_give_the_same() {
    let tasks: Vec<_> = (0..200).map(|task| (task % 4, (task % 6) as u8, 0)).collect();
    for takeover in [Takeover::Faithful, Takeover::Drain, Takeover::Fenced] {
        let plan = Plan { views: Vec::new(), late: Vec::new(), tasks: tasks.clone(), direct: false };
        let played = play(&plan, takeover, 1);
        // 4 nodes and 6 keys make 12 pairs that occur, each with a first task.
        assert_eq!(check_order(&plan, &played).unwrap(), 200 - 12, "{takeover:?}");
        let Played { agent, answers, .. } = played;
        assert!(agent.crowded.is_empty() && agent.rejected == 0, "{takeover:?}");
        assert!(
            answers.iter().all(|(number, answer)| answer.as_deref() == Ok(number.to_string().as_bytes()))
        );
        assert_eq!(agent.highest.values().map(|token| token.generation).max(), Some(1), "{takeover:?}");
    }
}
