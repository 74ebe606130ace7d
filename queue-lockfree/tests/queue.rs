//! The work queues of one node, through their public face.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use queue_lockfree::{
    Completion, Now, QueueError, QueueLimits, QueueSnapshot, RunningSnapshot, Submission, Token, TokioNow,
    WorkQueues,
};
use tokio::task::JoinSet;

/// A clock that the test moves.
#[derive(Debug, Default)]
struct HandClock(AtomicU64);

impl Now for HandClock {
    fn now_ns(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn queues() -> WorkQueues {
    queues_with(QueueLimits::default())
}

fn queues_with(limits: QueueLimits) -> WorkQueues {
    WorkQueues::new(limits, Arc::new(HandClock::default()))
}

/// Where chain tasks leave their completions, in order of start.
#[derive(Clone, Default)]
struct Started(Arc<Mutex<Vec<(u32, Completion)>>>);

impl Started {
    fn submit(&self, queues: &WorkQueues, task: u32, submission: Submission<'_>) {
        let started = self.0.clone();
        let note = move |turn: Result<Completion, QueueError>| {
            started.lock().unwrap().push((task, turn.unwrap()));
        };
        queues.submit(submission, note).unwrap();
    }

    fn tasks(&self) -> Vec<u32> {
        self.0.lock().unwrap().iter().map(|(task, _)| *task).collect()
    }

    fn take(&self, index: usize) -> Completion {
        self.0.lock().unwrap().remove(index).1
    }
}

#[test]
fn a_slot_is_freed_by_the_signal_and_not_by_the_return_of_the_task() {
    let (queues, started) = (queues(), Started::default());
    for task in 0..3 {
        started.submit(&queues, task, Submission::new("vm-1", 1));
    }
    assert_eq!(started.tasks(), [0], "the task has returned, its slot is still taken");
    started.take(0).done();
    assert_eq!(started.tasks(), [1]);
}

#[test]
fn the_signal_may_come_from_any_thread() {
    let (queues, started) = (queues(), Started::default());
    for task in 0..2 {
        started.submit(&queues, task, Submission::new("vm-1", 1));
    }
    let first = started.take(0);
    std::thread::spawn(move || first.done()).join().unwrap();
    assert_eq!(started.tasks(), [1]);
}

#[test]
fn a_second_signal_is_ignored() {
    let (queues, started) = (queues(), Started::default());
    for task in 0..3 {
        started.submit(&queues, task, Submission::new("vm-1", 1));
    }
    let first = started.take(0);
    first.done();
    first.done();
    drop(first);
    assert_eq!(started.tasks(), [1], "one signal starts one task");
    assert_eq!(queues.metrics().abandoned, 0, "a signalled completion is not abandoned by its drop");
}

#[test]
fn a_forgotten_completion_counts_as_done_with_an_error() {
    let (queues, started) = (queues(), Started::default());
    queues.submit(Submission::new("vm-1", 1), |turn| drop(turn.unwrap())).unwrap();
    started.submit(&queues, 1, Submission::new("vm-1", 1));
    started.submit(&queues, 2, Submission::new("vm-1", 1));
    drop(started.take(0));
    assert_eq!(started.tasks(), [2]);
    assert_eq!(queues.metrics().abandoned, 2);
}

#[test]
fn a_panicking_task_does_not_wedge_its_key_or_hurt_who_started_it() {
    let (queues, started) = (queues(), Started::default());
    started.submit(&queues, 0, Submission::new("vm-1", 1));
    queues.submit(Submission::new("vm-1", 1), |_turn| panic!("first")).unwrap();
    queues.submit(Submission::new("vm-1", 1), |_turn| panic!("second")).unwrap();
    started.submit(&queues, 3, Submission::new("vm-1", 1));
    started.take(0).done();
    assert_eq!(started.tasks(), [3]);
    queues.submit(Submission::new("vm-2", 1), |_turn| panic!("in the submitter's thread")).unwrap();
    assert_eq!(queues.metrics().abandoned, 3);
}

#[test]
fn tasks_that_end_at_once_start_in_order_and_do_not_pile_up_on_the_stack() {
    let (queues, started) = (queues(), Started::default());
    let order = Arc::new(Mutex::new(Vec::new()));
    started.submit(&queues, 0, Submission::new("vm-1", 1));
    for task in 0..100_000_u32 {
        let order = order.clone();
        let note = move |turn: Result<Completion, QueueError>| {
            order.lock().unwrap().push(task);
            turn.unwrap().done();
        };
        queues.submit(Submission::new("vm-1", 1), note).unwrap();
    }
    started.take(0).done();
    assert!(order.lock().unwrap().iter().copied().eq(0..100_000));
    assert!(queues.snapshot().is_empty());
}

#[test]
fn the_level_rises_while_the_queue_lives_and_resets_when_it_is_drained() {
    let (queues, started) = (queues(), Started::default());
    started.submit(&queues, 0, Submission::new("host-1", 1));
    started.submit(&queues, 1, Submission::new("host-1", 1));
    assert_eq!(started.tasks(), [0]);
    started.submit(&queues, 2, Submission::new("host-1", 3));
    assert_eq!(started.tasks(), [0, 1, 2], "the raise starts those that waited, too");
    started.submit(&queues, 3, Submission::new("host-1", 1));
    assert_eq!(started.tasks(), [0, 1, 2], "three slots are taken");
    started.take(0).done();
    assert_eq!(started.tasks(), [1, 2, 3], "a smaller level is ignored");
    for _ in 0..3 {
        started.take(0).done();
    }
    started.submit(&queues, 4, Submission::new("host-1", 1));
    started.submit(&queues, 5, Submission::new("host-1", 1));
    assert_eq!(started.tasks(), [4]);
}

#[test]
fn level_zero_starts_at_once_without_slot_token_or_queue() {
    let (queues, started) = (queues(), Started::default());
    started.submit(&queues, 0, Submission::new("vm-1", 1));
    for task in 1..50 {
        started.submit(&queues, task, Submission::new("vm-1", 0));
    }
    assert_eq!(started.tasks().len(), 50);
    let entitlement = started.take(7).entitlement();
    assert!(entitlement.slot.is_none() && entitlement.token.is_none());
    assert_eq!(queues.snapshot()[0].running.len(), 1);
}

#[test]
fn idle_keys_leave_no_entry() {
    let (queues, started) = (queues(), Started::default());
    for task in 0..1000 {
        started.submit(&queues, task, Submission::new(&format!("vm-{}", task % 500), 1));
    }
    assert_eq!(queues.snapshot().len(), 500);
    while !started.tasks().is_empty() {
        started.take(0).done();
    }
    assert!(queues.snapshot().is_empty());
}

#[test]
fn waiting_tasks_are_bounded_per_key_and_per_node() {
    let queues = queues_with(QueueLimits { pending_per_key: 2, pending: 3, ..QueueLimits::default() });
    let running: Vec<_> = ["a", "b", "c"].map(|key| queues.enqueue(Submission::new(key, 1)).unwrap()).into();
    let first = queues.enqueue(Submission::new("a", 1)).unwrap();
    let _second = queues.enqueue(Submission::new("a", 1)).unwrap();
    assert_eq!(queues.enqueue(Submission::new("a", 1)).unwrap_err(), QueueError::QueueFull);
    let _third = queues.enqueue(Submission::new("b", 1)).unwrap();
    assert_eq!(queues.enqueue(Submission::new("c", 1)).unwrap_err(), QueueError::QueueFull);
    drop(first);
    let _fourth = queues.enqueue(Submission::new("c", 1)).unwrap();
    drop(running);
    assert!(queues.enqueue(Submission::new("d", 1)).is_ok());
}

#[test]
fn of_many_places_at_a_node_all_but_a_hundredth_are_given_and_all_come_back() {
    const PLACES: usize = 60_000;
    let limits = QueueLimits { pending: PLACES, alarm: usize::MAX, ..QueueLimits::default() };
    let queues = queues_with(limits);
    let enqueue = |task: usize| queues.enqueue(Submission::new(&format!("vm-{}", task % 1000), 1));
    for round in 0..3 {
        let turns: Vec<_> = (0..).map_while(|task| enqueue(task).ok()).collect();
        let waiting = queues.metrics().pending as usize;
        assert_eq!(waiting, turns.len() - 1000, "one of each key runs");
        assert!((PLACES - PLACES / 100..=PLACES).contains(&waiting), "{waiting} wait in round {round}");
        drop(turns);
        assert!(queues.snapshot().is_empty());
    }
}

#[test]
fn a_chain_task_whose_deadline_has_passed_is_told_so_when_its_turn_comes() {
    let clock = Arc::new(HandClock::default());
    let queues = WorkQueues::new(QueueLimits::default(), clock.clone());
    let started = Started::default();
    started.submit(&queues, 0, Submission::new("vm-1", 1));
    let outcome = Arc::new(Mutex::new(None));
    let note = outcome.clone();
    let late = move |turn: Result<Completion, QueueError>| *note.lock().unwrap() = turn.err();
    queues.submit(Submission::new("vm-1", 1).until(100), late).unwrap();
    started.submit(&queues, 2, Submission::new("vm-1", 1).until(101));
    clock.0.store(100, Ordering::Relaxed);
    started.take(0).done();
    assert_eq!(*outcome.lock().unwrap(), Some(QueueError::TimedOut));
    assert_eq!(started.tasks(), [2], "the expired task takes no slot");
    let refused = queues.enqueue(Submission::new("vm-2", 1).until(100)).unwrap_err();
    assert_eq!(refused, QueueError::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_task_leaves_the_queue_at_its_deadline() {
    let now = Arc::new(TokioNow::start());
    let queues = WorkQueues::new(QueueLimits::default(), now.clone());
    let holder = queues.acquire(Submission::new("vm-1", 1)).await.unwrap();
    let late = queues.acquire(Submission::new("vm-1", 1).until(50_000_000)).await;
    assert_eq!(late.unwrap_err(), QueueError::TimedOut);
    // The timer has a resolution of a millisecond.
    assert!((50_000_000..=51_000_000).contains(&now.now_ns()), "told at {} ns", now.now_ns());
    let snapshot = queues.snapshot();
    assert_eq!(
        snapshot,
        [QueueSnapshot {
            key: "vm-1".into(),
            level: 1,
            running: vec![RunningSnapshot { slot: 0, age_ns: now.now_ns() }],
            pending_ages_ns: vec![],
        }]
    );
    holder.done();
    assert!(queues.snapshot().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_tells_who_runs_and_who_waits_since_when() {
    let queues = WorkQueues::new(QueueLimits::default(), Arc::new(TokioNow::start()));
    let mut turns = Vec::new();
    for _ in 0..4 {
        turns.push(queues.enqueue(Submission::new("host-1", 2)).unwrap());
        tokio::time::advance(Duration::from_nanos(10)).await;
    }
    let snapshot = queues.snapshot().pop().unwrap();
    assert_eq!(snapshot.level, 2);
    let running = [RunningSnapshot { slot: 0, age_ns: 40 }, RunningSnapshot { slot: 1, age_ns: 30 }];
    assert_eq!(snapshot.running, running);
    assert_eq!(snapshot.pending_ages_ns, [20, 10]);
}

#[tokio::test]
async fn a_dropped_wait_leaves_the_queue_and_a_dropped_grant_is_passed_on() {
    let queues = queues();
    let holder = queues.acquire(Submission::new("vm-1", 1)).await.unwrap();
    let dropped = queues.enqueue(Submission::new("vm-1", 1)).unwrap();
    let granted_unseen = queues.enqueue(Submission::new("vm-1", 1)).unwrap();
    let last = queues.enqueue(Submission::new("vm-1", 1)).unwrap();
    drop(dropped);
    assert_eq!(queues.snapshot()[0].pending_ages_ns.len(), 2);
    holder.done();
    assert_eq!(queues.snapshot()[0].pending_ages_ns.len(), 1);
    drop(granted_unseen);
    last.granted().await.unwrap().done();
    assert!(queues.snapshot().is_empty());
}

#[tokio::test]
async fn the_blocking_form_is_done_when_the_future_returns_panics_or_is_dropped() {
    let queues = queues();
    let doubled = queues.run(Submission::new("vm-1", 1), |_| async { 21 * 2 }).await;
    assert_eq!(doubled, Ok(42));
    let mut tasks = JoinSet::new();
    let inside = queues.clone();
    tasks.spawn(
        async move { inside.run(Submission::new("vm-1", 1), |_| async { panic!("on purpose") }).await },
    );
    assert!(tasks.join_next().await.unwrap().unwrap_err().is_panic());
    let never = queues.run(Submission::new("vm-1", 1), |_| std::future::pending::<()>());
    assert!(tokio::time::timeout(Duration::from_millis(1), never).await.is_err());
    assert!(queues.snapshot().is_empty());
    assert_eq!(queues.metrics().abandoned, 2);
}

#[tokio::test]
async fn closing_ends_waits_refuses_tasks_and_leaves_running_ones_alone() {
    let queues = queues();
    let holder = queues.acquire(Submission::new("vm-1", 1)).await.unwrap();
    let waiting = queues.enqueue(Submission::new("vm-1", 1)).unwrap();
    queues.close();
    assert_eq!(waiting.granted().await.unwrap_err(), QueueError::Shutdown);
    assert_eq!(queues.enqueue(Submission::new("vm-2", 1)).unwrap_err(), QueueError::Shutdown);
    assert_eq!(queues.enqueue(Submission::new("vm-2", 0)).unwrap_err(), QueueError::Shutdown);
    assert_eq!(queues.snapshot()[0].running.len(), 1);
    assert!(!holder.entitlement().lost.signal().is_cancelled());
    queues.lose();
    assert!(holder.entitlement().lost.signal().is_cancelled());
    holder.done();
    assert!(queues.snapshot().is_empty());
}

/// What tasks of one key must not enter together.
#[derive(Default)]
struct Resource {
    inside: AtomicU32,
    overlaps: AtomicU32,
    runs: AtomicU32,
    last: Mutex<Option<Token>>,
}

impl Resource {
    fn enter(&self, token: Option<Token>) -> Inside<'_> {
        if self.inside.fetch_add(1, Ordering::SeqCst) > 0 {
            self.overlaps.fetch_add(1, Ordering::SeqCst);
        }
        self.runs.fetch_add(1, Ordering::SeqCst);
        assert!(std::mem::replace(&mut *self.last.lock().unwrap(), token) < token, "tokens rise");
        Inside(self)
    }
}

struct Inside<'a>(&'a Resource);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tasks_of_a_key_never_overlap_on_many_threads_even_if_some_are_dropped_midway() {
    const KEYS: usize = 20;
    const TASKS: usize = 20_000;
    let queues = queues();
    let resources: Arc<Vec<Resource>> = Arc::new((0..KEYS).map(|_| Resource::default()).collect());
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (queues, resources) = (queues.clone(), resources.clone());
        tasks.spawn(async move {
            let key = format!("vm-{}", task % KEYS);
            let running = queues.run(Submission::new(&key, 1), |entitlement| async move {
                let _inside = resources[task % KEYS].enter(entitlement.token);
                tokio::task::yield_now().await;
            });
            if task % 7 == 0 {
                // Given up at its second poll, wherever it is then.
                tokio::select! { biased; _ = running => {}, () = tokio::task::yield_now() => {} }
            } else {
                running.await.unwrap();
            }
        });
    }
    while let Some(joined) = tasks.join_next().await {
        joined.unwrap();
    }
    assert!(queues.snapshot().is_empty());
    for resource in resources.iter() {
        assert_eq!(resource.overlaps.load(Ordering::SeqCst), 0);
        // At least the six of seven that were not given up.
        assert!(resource.runs.load(Ordering::SeqCst) as usize >= TASKS / KEYS * 6 / 7 - 1);
    }
}

/// The queue of one key as the simplest code that could be right.
#[derive(Default)]
struct Model {
    level: u32,
    running: Vec<(u32, u32)>,
    pending: VecDeque<u32>,
}

impl Model {
    fn submit(&mut self, task: u32, level: u32) {
        if self.running.is_empty() && self.pending.is_empty() {
            self.level = 0;
        }
        self.level = self.level.max(level);
        self.pending.push_back(task);
        self.start();
    }

    fn start(&mut self) {
        while self.running.len() < self.level as usize
            && let Some(task) = self.pending.pop_front()
        {
            let slot = (0..).find(|slot| self.running.iter().all(|(_, taken)| taken != slot)).unwrap();
            self.running.push((task, slot));
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Submit { key: u8, level: u32 },
    Complete { which: prop::sample::Index },
    Withdraw { which: prop::sample::Index },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0_u8..3, 1_u32..5).prop_map(|(key, level)| Step::Submit { key, level }),
        2 => any::<prop::sample::Index>().prop_map(|which| Step::Complete { which }),
        1 => any::<prop::sample::Index>().prop_map(|which| Step::Withdraw { which }),
    ];
    proptest::collection::vec(step, 1..120)
}

proptest! {
    #[test]
    fn queues_behave_as_the_model(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let queues = queues();
        let mut models: HashMap<u8, Model> = HashMap::new();
        let mut turns = Vec::new();
        let mut running: Vec<(u8, u32, Completion)> = Vec::new();
        for (task, step) in (0..).zip(steps) {
            match step {
                Step::Submit { key, level } => {
                    turns.push((key, task, queues.enqueue(Submission::new(&key.to_string(), level)).unwrap()));
                    models.entry(key).or_default().submit(task, level);
                }
                Step::Complete { which } if !running.is_empty() => {
                    let (key, task, completion) = running.swap_remove(which.index(running.len()));
                    completion.done();
                    let model = models.get_mut(&key).unwrap();
                    model.running.retain(|(other, _)| *other != task);
                    model.start();
                }
                Step::Withdraw { which } if !turns.is_empty() => {
                    let (key, task, turn) = turns.swap_remove(which.index(turns.len()));
                    drop(turn);
                    models.get_mut(&key).unwrap().pending.retain(|other| *other != task);
                }
                Step::Complete { .. } | Step::Withdraw { .. } => {}
            }
            // Who runs by the model must have been granted that very slot.
            for (&key, model) in &models {
                for &(task, slot) in &model.running {
                    if let Some(index) = turns.iter().position(|turn| (turn.0, turn.1) == (key, task)) {
                        let turn = turns.swap_remove(index).2;
                        let granted = runtime.block_on(async {
                            tokio::time::timeout(Duration::from_secs(5), turn.granted()).await
                        });
                        let completion = granted.expect("the model says that it runs").unwrap();
                        prop_assert_eq!(completion.entitlement().slot, Some(slot));
                        running.push((key, task, completion));
                    }
                }
            }
            let snapshot = queues.snapshot();
            let alive = models.values().filter(|model| !model.running.is_empty()).count();
            prop_assert_eq!(snapshot.len(), alive, "an idle key has no entry");
            for queue in snapshot {
                let model = &models[&queue.key.parse::<u8>().unwrap()];
                prop_assert_eq!(queue.level, model.level);
                prop_assert_eq!(queue.running.len(), model.running.len());
                prop_assert!(queue.running.len() <= queue.level as usize);
                prop_assert_eq!(queue.pending_ages_ns.len(), model.pending.len());
            }
        }
    }
}
