//! A closed loop: callers who ask again when they have been answered. What theory says of it, what it hides, and that it is told apart
//! from an open load wherever its figures stand.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use harness::engine::Clock;
use harness::judge::Figures;
use harness::model::{
    Arrival, Closed, Event, Events as _, Holder, Mode, NodeId, Plan, PlanSettings, Resource, ResourceKind,
    StepTree, What,
};
use harness::placement::{Run, RunOptions, single};
use harness::record::RunRecord;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Exp};
use scenarios::contenders::{Setting, all};

const MS: u64 = 1_000_000;

/// Tasks of these lengths, on one resource, for callers at one node.
fn plan(holds_ns: impl IntoIterator<Item = u64>, closed: Closed, window_s: u64) -> Plan {
    let resource = Resource { kind: ResourceKind::Vm, id: 0, level: 1 };
    let arrivals = holds_ns.into_iter().map(|hold_ns| {
        let root = StepTree { resource, mode: Mode::Exclusive, hold_ns, create_ns: None, children: vec![] };
        Arrival { kind: 0, at_ns: 0, entry: NodeId(0), root }
    });
    let settings = PlanSettings {
        seed: 3,
        nodes: 1,
        window_ns: window_s * 1_000 * MS,
        deadline_ns: 3_600_000 * MS,
        holder: Holder::Checks,
    };
    Plan::new(settings, vec!["serve".to_owned()], arrivals).unwrap().with_callers(closed)
}

/// What came of it, served one after the other by the lock that is a call away, in virtual time.
async fn served(plan: Plan) -> (Run, Figures) {
    let (plan, clock) = (Arc::new(plan), Clock::virtual_time());
    let control = all().into_iter().find(|contender| contender.name == "local-mutex").unwrap();
    let setting = Setting::alone(Arc::clone(&plan), clock.clone());
    let mechanism = control.build(&setting).await.unwrap();
    let run = single::run(plan, mechanism, clock, RunOptions::default()).await;
    let figures = run.measure().unwrap();
    assert_eq!(figures.implausible, Vec::<String>::new());
    (run, figures)
}

/// From asking to being answered.
fn mean_response_s(run: &Run) -> f64 {
    let (mut sum_ns, mut returned) = (0_i128, 0_u32);
    let see = &mut |_, event: &Event| match event.what {
        What::Invoked => sum_ns -= i128::from(event.at_ns),
        What::Returned { .. } => (sum_ns, returned) = (sum_ns + i128::from(event.at_ns), returned + 1),
        _ => {}
    };
    run.history.pass(see).unwrap();
    sum_ns as f64 / 1e9 / f64::from(returned)
}

/// What so many callers get done a second at one server, where thoughts (Z) and services (S) are exponential: the machine repairman's
/// queue. It idles with the probability p₀ = 1 ÷ Σ N! ÷ (N − k)! · (S ÷ Z)ᵏ, and serves 1 ÷ S a second otherwise.
fn by_theory(callers: u32, think_s: f64, service_s: f64) -> f64 {
    let (mut term, mut sum) = (1.0, 1.0);
    for k in 0..callers {
        term *= f64::from(callers - k) * service_s / think_s;
        sum += term;
    }
    (1.0 - 1.0 / sum) / service_s
}

#[tokio::test(start_paused = true)]
async fn callers_get_as_much_done_as_theory_says() {
    const SERVICE_S: f64 = 0.02;
    const THINK_S: f64 = 0.1;
    for callers in [1_u32, 4, 16] {
        let mut rng = ChaCha8Rng::seed_from_u64(u64::from(callers));
        let service = Exp::new(1.0 / SERVICE_S).unwrap();
        // In whole milliseconds, the steps of the virtual clock, which rounds thoughts up.
        let holds = std::iter::repeat_with(|| (service.sample(&mut rng) * 1e3).round() as u64 * MS);
        let closed = Closed { callers, think_ns: (THINK_S * 1e9) as u64 };
        let (run, figures) = served(plan(holds.take(60_000), closed, 1_000)).await;
        let (seen, theory) = (figures.goodput_per_s, by_theory(callers, THINK_S + 5e-4, SERVICE_S));
        println!("{callers} callers: {seen:.2} a second, by theory {theory:.2}");
        assert!((seen / theory - 1.0).abs() < 0.03, "{callers} callers: {seen} {theory}");
        // And its law of response times: callers ÷ throughput = response + thought.
        let (cycle_s, sum_s) = (f64::from(callers) / seen, mean_response_s(&run) + THINK_S);
        assert!((sum_s / cycle_s - 1.0).abs() < 0.03, "{callers} callers: {sum_s} {cycle_s}");
    }
}

/// The same stall that an open load has in its 99th percentile (`a_stall_of_three_seconds…` in capacity.rs): one caller meets it once.
#[tokio::test(start_paused = true)]
async fn a_stall_is_in_one_task_of_a_caller_and_in_no_percentile() {
    let holds = (0..12_000_u64).map(|number| if number == 6_000 { 3_000 * MS } else { 5 * MS });
    let (_, figures) = served(plan(holds, Closed { callers: 1, think_ns: 0 }, 120)).await;
    let response = figures.latency.response;
    assert_eq!(response.count(), 12_000);
    assert!(response.quantile_ns(0.99).unwrap() < 6 * MS, "{:?}", response.quantile_ns(0.99));
    assert!(response.max_ns().unwrap() >= 2_990 * MS);
}

#[tokio::test(start_paused = true)]
async fn nobody_asks_after_the_window_and_never_do_more_than_there_are_callers() {
    let (run, figures) = served(plan(vec![10 * MS; 5_000], Closed { callers: 3, think_ns: 0 }, 2)).await;
    // One at a time for two seconds; two wait when it is over, and are served.
    assert!((200..=203).contains(&figures.tasks.planned), "{:?}", figures.tasks);
    assert_eq!(figures.tasks.completed, figures.tasks.planned);
    assert!((figures.goodput_per_s - 100.0).abs() < 1.0, "{}", figures.goodput_per_s);
    let waits = &figures.latency.wait;
    assert!(waits.quantile_ns(0.5).unwrap().abs_diff(20 * MS) < MS, "behind the two others");
    assert!(run.facts.end_ns - run.facts.origin_ns < 2_100 * MS);
}

fn lockbench(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lockbench")).args(arguments).current_dir(folder).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A batch of `smoke` in a folder of this name.
fn batch(folder: &Path, name: &str, load: &[&str]) -> (PathBuf, String) {
    let usual = [
        "run",
        "smoke",
        "--duration",
        "0.5",
        "--blocks",
        "1",
        "--seed",
        "7",
        "--contenders",
        "ring-queue",
        "--out",
        name,
    ];
    let output = lockbench(folder, &[&usual[..], load].concat());
    assert!(matches!(output.status.code(), Some(0 | 4)), "{}", said(&output));
    let batch = std::fs::read_dir(folder.join(name)).unwrap().next().unwrap().unwrap().path();
    (batch, said(&output))
}

#[test]
fn a_closed_loop_says_so_wherever_its_figures_stand_and_is_set_beside_no_open_load() {
    let folder = tempfile::tempdir().unwrap();
    let (open, _) = batch(folder.path(), "open", &[]);
    let (closed, told) = batch(folder.path(), "closed", &["--closed", "6", "--think", "2"]);
    assert!(told.contains("a closed loop of 6 callers") && told.contains("coordinated omission"), "{told}");
    let record = std::fs::read(closed.join("1-ring-queue/record.json")).unwrap();
    let record: RunRecord = serde_json::from_slice(&record).unwrap();
    assert_eq!(record.closed, Some(Closed { callers: 6, think_ns: 2 * MS }));
    assert!(record.tasks.completed > 20 && record.tasks.not_offered == 0, "{:?}", record.tasks);
    assert_eq!((record.backlog, record.latency.lag.count()), (None, 0));
    let read = |file: &str| std::fs::read_to_string(closed.join(file)).unwrap();
    for file in ["report.html", "summary.md"] {
        assert!(read(file).contains("coordinated omission"), "{file}");
    }
    for file in
        ["report.html", "summary.md", "junit.xml", "metrics.prom", "bencher.json", "benchmark-bigger.json"]
    {
        assert!(read(file).contains("smoke (closed loop, 6 callers)"), "{file}");
    }
    assert!(read("runs.csv").lines().next().unwrap().contains("closed_callers"));
    // What it says follows from its history, as of any other.
    let verified = lockbench(
        folder.path(),
        &[
            "report",
            "--verify",
            closed.join("report.html").to_str().unwrap(),
            "--histories",
            closed.to_str().unwrap(),
        ],
    );
    assert_eq!(verified.status.code(), Some(0), "{}", said(&verified));
    let compared = lockbench(folder.path(), &["compare", open.to_str().unwrap(), closed.to_str().unwrap()]);
    assert_eq!(compared.status.code(), Some(2), "{}", said(&compared));
    let words = "who asked: tasks that arrive by themselves (an open load) | a closed loop of 6 callers who think for 2 ms";
    assert!(said(&compared).contains(words), "{}", said(&compared));
}

#[test]
fn what_a_closed_loop_cannot_be_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, told) in [
        (&["run", "smoke", "--closed", "2"][..], "`callers`: 2.0 must be from 3"),
        (&["run", "smoke", "--closed", "8", "--rate", "10"], "cannot be used with"),
        (&["run", "smoke", "--think", "8"], "--closed"),
        (
            &["run", "holder-pause", "--closed", "8"],
            "callers of a closed loop who are stuck ask for nothing more",
        ),
        (&["capacity", "capacity-hot", "--closed", "8"], "a closed loop offers none"),
    ] {
        let output = lockbench(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains(told), "{arguments:?}: {}", said(&output));
    }
    assert!(!folder.path().join("out").exists());
}
