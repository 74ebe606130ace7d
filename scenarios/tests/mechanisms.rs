//! One contract for every mechanism that needs no server: nested steps with several owners, nothing lost, and the
//! checks tell exclusion from its absence.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use harness::engine::{Clock, Mechanism as _};
use harness::judge::checks;
use harness::model::{
    Arrival, Holder, Mode, NodeId, Plan, PlanSettings, Resource, ResourceKind, StepTree, What,
};

use harness::placement::process::{self, Ground, NodeCommand};
use harness::placement::single;
use harness::placement::{Run, RunOptions};
use harness::record::Verdict;
use harness::secret::Sealed;
use harness::servers::{Server, ServerOptions};
use scenarios::catalog;
use scenarios::contenders::{Contender, Setting, all};
use scenarios::spec::Placement;

const DEADLINE_NS: u64 = 30_000_000_000;

fn step(kind: ResourceKind, id: u32, level: u32, children: Vec<StepTree>) -> StepTree {
    let resource = Resource { kind, id, level };
    StepTree { resource, mode: Mode::Exclusive, hold_ns: 5_000_000, create_ns: None, children }
}

/// Volume → VM → host, a few keys of each, entered at all nodes, more load than level 1 can serve side by side. Every third
/// task only looks at its VM.
fn plan(tasks: u32) -> Arc<Plan> {
    let settings = PlanSettings {
        seed: 11,
        nodes: 3,
        window_ns: 200_000_000,
        deadline_ns: DEADLINE_NS,
        holder: Holder::Checks,
    };
    let arrivals = (0..tasks).map(|number| {
        let mut vm =
            step(ResourceKind::Vm, number % 5, 1, vec![step(ResourceKind::Host, number % 2, 2, vec![])]);
        vm.mode = if number % 3 == 0 { Mode::Shared } else { Mode::Exclusive };
        Arrival {
            kind: 0,
            at_ns: u64::from(number) * 1_000_000,
            entry: NodeId((number % 3) as u16),
            root: step(ResourceKind::Volume, number % 7, 1, vec![vm]),
        }
    });
    let plan = Plan::new(settings, vec!["attach".to_owned()], arrivals).unwrap();
    // A volume is held for 3 × 5 ms and asked for every 7: overlaps do not depend on how busy the machine is.
    assert!(plan.overlaps_without_exclusion() >= u64::from(tasks) / 2);
    Arc::new(plan)
}

fn contender(name: &str) -> Contender {
    all().into_iter().find(|contender| contender.name == name).unwrap()
}

async fn run_on(contender: &Contender, placement: Placement, endpoint: Option<String>) -> Run {
    let (plan, clock) = (plan(100), Clock::real().unwrap());
    let setting =
        Setting { endpoint: endpoint.map(Into::into), ..Setting::alone(Arc::clone(&plan), clock.clone()) };
    if placement == Placement::Process {
        let here = Ground::Here(NodeCommand {
            program: env!("CARGO_BIN_EXE_lockbench").into(),
            args: vec!["node".into()],
            processors: Vec::new(),
        });
        let recipe = Sealed(serde_json::to_value(contender.recipe(&setting)).unwrap());
        let run = process::run(plan, here, recipe, clock, RunOptions::default()).await.unwrap();
        assert_eq!(run.facts.outages, [], "{}", contender.name);
        return run;
    }
    let mechanism = contender.build(&setting).await.unwrap();
    single::run(plan, mechanism, clock, RunOptions::default()).await
}

fn keeps_apart_and_loses_nothing(name: &str, run: &Run) {
    let figures = run.measure().unwrap();
    assert_eq!(figures.implausible, Vec::<String>::new(), "{name}");
    assert_eq!(figures.tasks.completed, 100, "{name}: {:?}", figures.tasks);
    for check in checks::ALL {
        let judgement = check.judge(&run.facts, &run.history.to_vec().unwrap());
        // A mechanism without tokens or releases gives some checks nothing to look at, nobody promises an order, and
        // this plan creates nothing.
        if matches!(judgement.verdict, Verdict::NotApplicable { .. }) {
            let may = ["fencing", "release-safety", "order", "created-once", "money"];
            assert!(may.contains(&check.name), "{name}: {}", check.name);
            continue;
        }
        assert_eq!(judgement.verdict, Verdict::Holds, "{name}: {}", check.name);
        assert!(judgement.examined >= 100, "{name}: {}", check.name);
    }
    releases_only_after_the_agent_acknowledged_the_leave(name, run);
}

fn releases_only_after_the_agent_acknowledged_the_leave(name: &str, run: &Run) {
    let mut left = HashSet::new();
    for event in &run.history.to_vec().unwrap() {
        match event.what {
            What::Left { .. } => assert!(left.insert(event.step), "{name}: {} left twice", event.step),
            What::ReleaseSent => assert!(left.contains(&event.step), "{name}: {} was inside", event.step),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nested_steps_of_several_owners_are_kept_apart_without_a_server() {
    for name in ["local-mutex", "ring-local", "ring-queue", "ring-drain", "ring-fenced"] {
        keeps_apart_and_loses_nothing(name, &run_on(&contender(name), Placement::Single, None).await);
    }
    for name in ["local-mutex", "ring-local"] {
        let process = ("placement".to_owned(), "process".to_owned());
        let spec = catalog::load("smoke", &[process]).unwrap().spec;
        assert!(contender(name).refuses(&spec).is_some(), "{name}");
    }
    let run = run_on(&contender("ring-queue"), Placement::Process, None).await;
    keeps_apart_and_loses_nothing("ring-queue in processes", &run);
}

#[tokio::test(flavor = "multi_thread")]
async fn nested_steps_of_several_owners_are_kept_apart_by_every_lock_on_its_real_server() {
    let smoke = catalog::load("smoke", &[]).unwrap().spec;
    for contender in all() {
        let Some(kind) = contender.server else { continue };
        // Workers of the job queue would wait for each other: `refuses` keeps it from plans like this one. Tellers move
        // money, and nothing else.
        if contender.name.starts_with("jobs-") || contender.refuses(&smoke).is_some() {
            continue;
        }
        if let harness::servers::Finding::Missing { remedy } = harness::servers::find(kind) {
            assert!(std::env::var_os("CI").is_none(), "{kind} is missing in CI: {remedy}");
            println!("skipped {}: {remedy}", contender.name);
            continue;
        }
        for placement in [Placement::Single, Placement::Process] {
            let server = Server::start(kind, &ServerOptions::default()).await.unwrap();
            let run = run_on(&contender, placement, Some(server.endpoint().to_owned())).await;
            keeps_apart_and_loses_nothing(&format!("{} {placement:?}", contender.name), &run);
            assert!(
                run.history.to_vec().unwrap().iter().any(|event| event.what == What::ReleaseSent),
                "{}",
                contender.name
            );
            server.stop().await.unwrap();
        }
    }
}

/// A local mutex with the exclusion removed is what `none` is: granted at once, at the node that asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_mechanism_without_exclusion_is_caught_by_both_checks() {
    for placement in [Placement::Single, Placement::Process] {
        let run = run_on(&contender("none"), placement, None).await;
        assert_eq!(run.measure().unwrap().tasks.completed, 100);
        for check in checks::ALL {
            let verdict = check.judge(&run.facts, &run.history.to_vec().unwrap()).verdict;
            let caught = matches!(verdict, Verdict::Violated { ref witness } if !witness.is_empty());
            assert_eq!(caught, check.must_catch_none == checks::MustCatch::Yes, "{}", check.name);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn noop_is_measured_exactly_in_virtual_time() {
    let (plan, clock) = (plan(50), Clock::virtual_time());
    let delay = Duration::from_millis(5);
    let mechanism = Arc::new(harness::engine::Open::new(Arc::clone(&plan), clock.clone(), delay));
    let wait =
        single::run(plan, mechanism, clock, RunOptions::default()).await.measure().unwrap().latency.wait;
    assert_eq!(wait.count(), 150);
    // tokio's timer rounds up to a whole millisecond at most; three digits are kept.
    for quantile in [0.01, 0.5, 1.0] {
        let ns = wait.quantile_ns(quantile).unwrap();
        assert!((5_000_000..6_100_000).contains(&ns), "{ns}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_mechanism_refuses_and_every_task_is_accounted_for() {
    let (plan, clock) = (plan(50), Clock::virtual_time());
    let mechanism = Arc::new(harness::engine::Open::new(Arc::clone(&plan), clock.clone(), Duration::ZERO));
    mechanism.shutdown().await;
    let stop = tokio_util::sync::CancellationToken::new();
    stop.cancel();
    let options = RunOptions { stop, ..RunOptions::default() };
    let tally = single::run(plan, mechanism, clock, options).await.measure().unwrap().tasks;
    assert_eq!(tally.planned, 50);
    assert_eq!(tally.not_offered + tally.completed + tally.refused + tally.unfinished, 50);
}

/// Controls that send nothing over sockets, in virtual time: the plan's seed alone decides what happens.
#[test]
fn the_same_plan_gives_the_same_history_byte_by_byte_where_there_are_no_sockets() {
    let history = |name: &str, tasks: u32| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        let events = runtime.unwrap().block_on(async {
            let (plan, clock) = (plan(tasks), Clock::virtual_time());
            let setting = Setting {
                noop_delay: Duration::from_millis(5),
                ..Setting::alone(Arc::clone(&plan), clock.clone())
            };
            let mechanism = contender(name).build(&setting).await.unwrap();
            single::run(plan, mechanism, clock, RunOptions::default()).await.history.to_vec().unwrap()
        });
        serde_json::to_vec(&events).unwrap()
    };
    for name in ["noop", "none", "local-mutex", "ring-local"] {
        let first = history(name, 100);
        for again in 1..3 {
            assert!(first == history(name, 100), "{name}: time {again}");
        }
        assert!(first != history(name, 101), "{name}");
    }
}

/// `local-mutex` with the exclusion between nodes removed: each node has a table of its own, as if nobody had thought
/// of sharing it.
#[derive(Debug)]
struct TablePerNode(Vec<Arc<dyn harness::engine::Mechanism>>);

impl harness::engine::Mechanism for TablePerNode {
    fn register(&self, node: NodeId, runner: Arc<dyn harness::engine::StepRunner>) {
        self.0[usize::from(node.0)].register(node, runner);
    }

    fn run(
        &self,
        at: NodeId,
        step: harness::model::StepRef,
        deadline_ns: u64,
    ) -> harness::engine::BoxFuture<'_, harness::model::Outcome> {
        self.0[usize::from(at.0)].run(at, step, deadline_ns)
    }

    fn shutdown(&self) -> harness::engine::BoxFuture<'_, ()> {
        Box::pin(async {
            for mechanism in &self.0 {
                mechanism.shutdown().await;
            }
        })
    }

    fn detection(&self) -> String {
        "no lease".to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_mutex_with_the_exclusion_between_nodes_removed_is_caught() {
    let (plan, clock) = (plan(100), Clock::real().unwrap());
    let setting = Setting::alone(Arc::clone(&plan), clock.clone());
    let mut tables = Vec::new();
    for _ in 0..plan.settings.nodes {
        tables.push(contender("local-mutex").build(&setting).await.unwrap());
    }
    let run = single::run(plan, Arc::new(TablePerNode(tables)), clock, RunOptions::default()).await;
    assert_eq!(run.measure().unwrap().tasks.completed, 100);
    let exclusion = checks::ALL.iter().find(|check| check.name == "exclusion").unwrap();
    assert!(matches!(
        exclusion.judge(&run.facts, &run.history.to_vec().unwrap()).verdict,
        Verdict::Violated { .. }
    ));
}
