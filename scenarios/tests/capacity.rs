//! What is known of queues, found by the bench: the control that excludes within one process is servers side by side, first come
//! first served.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use harness::engine::{Clock, Progress};
use harness::judge::checks;
use harness::model::{
    Arrival, Events as _, Histogram, Holder, Mode, NodeId, Plan, PlanSettings, Resource, ResourceKind,
    StepTree, What,
};
use harness::placement::{Run, RunOptions, single};
use harness::record::Verdict;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Exp};
use reports::Comparison;
use scenarios::contenders::{Setting, all};
use tokio_util::sync::CancellationToken;

/// Tasks of exponential length at exponential distances, on one resource; in whole milliseconds, the steps of the virtual clock.
fn plan(tasks: u32, rate_per_s: f64, servers: u32, service_s: f64, seed: u64) -> Arc<Plan> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (gap, service) = (Exp::new(rate_per_s).unwrap(), Exp::new(1.0 / service_s).unwrap());
    let mut at_s = 0.0_f64;
    let arrivals: Vec<Arrival> = (0..tasks)
        .map(|_| {
            at_s += gap.sample(&mut rng);
            let resource = Resource { kind: ResourceKind::Vm, id: 0, level: servers };
            let hold_ns = whole_ms(service.sample(&mut rng));
            let root =
                StepTree { resource, mode: Mode::Exclusive, hold_ns, create_ns: None, children: vec![] };
            Arrival { kind: 0, at_ns: whole_ms(at_s), entry: NodeId(0), root }
        })
        .collect();
    let settings = PlanSettings {
        seed,
        nodes: 1,
        window_ns: whole_ms(at_s) + 1,
        deadline_ns: 60_000_000_000_000,
        holder: Holder::Checks,
    };
    Arc::new(Plan::new(settings, vec!["serve".to_owned()], arrivals).unwrap())
}

fn whole_ms(seconds: f64) -> u64 {
    (seconds * 1e3).round() as u64 * 1_000_000
}

async fn served(plan: &Arc<Plan>, clock: Clock) -> Run {
    served_with(plan, clock, RunOptions::default()).await
}

async fn served_with(plan: &Arc<Plan>, clock: Clock, options: RunOptions) -> Run {
    let control = all().into_iter().find(|contender| contender.name == "local-mutex").unwrap();
    let setting = Setting::alone(Arc::clone(plan), clock.clone());
    let mechanism = control.build(&setting).await.unwrap();
    single::run(Arc::clone(plan), mechanism, clock, options).await
}

/// How long each task waits by the queue's own recursion: it begins when it has come and a server is free.
fn recursion(plan: &Plan, servers: u32) -> Histogram {
    let mut free: BinaryHeap<Reverse<u64>> = (0..servers).map(|_| Reverse(0)).collect();
    let mut waits = Histogram::default();
    for task in plan.tasks.iter() {
        let Reverse(free_ns) = free.pop().unwrap();
        let begins_ns = free_ns.max(task.arrival_ns);
        free.push(Reverse(begins_ns + task.step(0).hold_ns));
        waits.record_ns(begins_ns - task.arrival_ns);
    }
    waits
}

/// The probability that a task waits at all (Erlang, 1917), by load.
fn waits_at_all(servers: u32, load: f64) -> f64 {
    let (c, a) = (f64::from(servers), load * f64::from(servers));
    let (mut term, mut sum) = (1.0, 1.0);
    for k in 1..servers {
        term *= a / f64::from(k);
        sum += term;
    }
    let last = term * a / c * c / (c - a);
    last / (sum + last)
}

const SERVICE_S: f64 = 0.02;

/// Tasks after which the 99th percentile of a queue at nine tenths is within 5 % of that of all such queues.
const TO_HAVE_ITS_OWN: u32 = 10_000_000;

/// `LOCKBENCH_SERVED=500000` for the night.
fn tasks() -> u32 {
    std::env::var("LOCKBENCH_SERVED").map_or(60_000, |text| text.parse().unwrap())
}

/// What the bench measures is what the queue's recursion says of the same plan, task by task; and that is what queueing theory says
/// of such plans.
#[test]
fn in_virtual_time_the_curve_is_that_of_servers_side_by_side() {
    for servers in [1, 8] {
        for load in [0.5, 0.7, 0.9] {
            let rate = load * f64::from(servers) / SERVICE_S;
            let plan = plan(tasks(), rate, servers, SERVICE_S, 11);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            let run = runtime.block_on(served(&plan, Clock::virtual_time()));
            let measured = run.measure().unwrap().latency.excess;
            let expected = recursion(&plan, servers);
            assert_eq!(measured.count(), u64::from(tasks()));
            for q in [0.5, 0.9, 0.99, 0.999] {
                let (measured, expected) =
                    (measured.quantile_ns(q).unwrap(), expected.quantile_ns(q).unwrap());
                let off = measured.abs_diff(expected) as f64;
                // The virtual clock goes in steps of a millisecond.
                assert!(
                    off <= 0.05 * expected as f64 + 2e6,
                    "{servers} at {load}, {q}: {measured} {expected}"
                );
            }
            // The 99th percentile by theory, where the plan is long enough to have its own: near its limit a queue is so much like itself a
            // moment ago that half a million tasks are as few as some thousand.
            let (expected, margin) = match tasks() >= 500_000 {
                true => {
                    (recursion(&self::plan(TO_HAVE_ITS_OWN, rate, servers, SERVICE_S, 11), servers), 0.05)
                }
                false => (expected, 0.3),
            };
            let theory_s =
                (waits_at_all(servers, load) / 0.01).ln() * SERVICE_S / (f64::from(servers) * (1.0 - load));
            let seen_s = expected.quantile_ns(0.99).unwrap() as f64 / 1e9;
            println!("{servers} servers at {load}: p99 {seen_s:.4} s, by theory {theory_s:.4} s");
            assert!(
                (seen_s / theory_s.max(1e-3) - 1.0).abs() < margin || theory_s < 0.0,
                "{seen_s} {theory_s}"
            );
        }
    }
}

/// Whoever arrives while the server stands still waits for what is left of it. Of 12,000 tasks at even distances 600 do, so the
/// longest 120 waits of all begin at four fifths of the stall; a bench that sends no more until it is answered would see one.
#[tokio::test(start_paused = true)]
async fn a_stall_of_three_seconds_is_in_the_99th_percentile_as_arithmetic_has_it() {
    const STALL_NS: u64 = 3_000_000_000;
    let resource = Resource { kind: ResourceKind::Vm, id: 0, level: 1 };
    let arrivals = (0..12_000_u64).map(|number| {
        let hold_ns = if number == 6_000 { STALL_NS } else { 0 };
        let root = StepTree { resource, mode: Mode::Exclusive, hold_ns, create_ns: None, children: vec![] };
        Arrival { kind: 0, at_ns: number * 5_000_000, entry: NodeId(0), root }
    });
    let settings = PlanSettings {
        seed: 1,
        nodes: 1,
        window_ns: 60_000_000_000,
        deadline_ns: 60_000_000_000,
        holder: Holder::Checks,
    };
    let plan = Arc::new(Plan::new(settings, vec!["serve".to_owned()], arrivals).unwrap());
    let run = served(&plan, Clock::virtual_time()).await;
    let waits = run.measure().unwrap().latency.excess;
    assert_eq!(waits.count(), 12_000);
    let (seen, expected) = (waits.quantile_ns(0.99).unwrap() as f64, STALL_NS as f64 * 0.8);
    assert!((seen / expected - 1.0).abs() < 0.1, "{seen} ns, by arithmetic {expected} ns");
    assert!(waits.quantile_ns(0.9).unwrap() < 10_000_000, "nine of ten are not concerned");
}

/// What the bench recorded of a run in real time: of each task when it was asked for, let in and left, and when it was due.
fn recorded(run: &Run) -> Vec<(u64, u64, u64, u64)> {
    let mut times = vec![(None, None, None); run.facts.plan.tasks.len()];
    run.history
        .pass(&mut |_, event| {
            let Some(of) = times.get_mut(event.step.task.0 as usize) else { return };
            match event.what {
                What::Invoked => of.0 = Some(event.at_ns),
                What::Entered { .. } => of.1 = Some(event.at_ns),
                What::Left { .. } => of.2 = Some(event.at_ns),
                _ => {}
            }
        })
        .unwrap();
    let due = run.facts.plan.tasks.iter().map(|task| run.facts.origin_ns + task.arrival_ns);
    times
        .into_iter()
        .zip(due)
        .map(|((asked, entered, left), due)| (asked.unwrap(), entered.unwrap(), left.unwrap(), due))
        .collect()
}

/// In real time the machine is late now and then, so that nothing is asked of the clock: who is served when follows from when each was
/// asked for and how long it was inside, as it was recorded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_real_time_each_task_follows_the_recursion_of_its_queue() {
    for servers in [1_u32, 8] {
        // 600 tasks of 4 ms at a load of 0.8.
        let plan = plan(600, 200.0 * f64::from(servers), servers, 0.004, 23);
        let run = served(&plan, Clock::real().unwrap()).await;
        let mut tasks = recorded(&run);
        // Few ask in the same moment; in which order they came to the queue the record does not say.
        tasks.sort_unstable();
        let mut free: BinaryHeap<Reverse<u64>> = (0..servers).map(|_| Reverse(0)).collect();
        let (mut followed, mut early, mut expected) = (0, 0, Histogram::default());
        for (asked_ns, entered_ns, left_ns, due_ns) in &tasks {
            assert!(asked_ns <= entered_ns && entered_ns <= left_ns);
            let Reverse(free_ns) = free.pop().unwrap();
            let begins_ns = free_ns.max(*asked_ns);
            early += u32::from(*entered_ns < begins_ns);
            followed += u32::from(entered_ns.abs_diff(begins_ns) <= 2_000_000);
            free.push(Reverse(*left_ns));
            expected.record_ns(begins_ns - due_ns);
        }
        let count = tasks.len() as u32;
        println!("{servers} servers: {followed} of {count} within 2 ms of the recursion, {early} before it");
        // The other way round only where two changed places within the time that a thread takes to run.
        assert!(early <= count / 20, "{servers} servers: {early} of {count}");
        // Never more than there are servers, and never one idle while somebody waits: who left freed the place of who came next.
        let mut moves: Vec<(u64, i32)> =
            tasks.iter().flat_map(|(_, entered, left, _)| [(*entered, 1), (*left, -1)]).collect();
        moves.sort_unstable();
        let mut inside = 0;
        for (_, by) in moves {
            inside += by;
            assert!(inside <= servers as i32, "{inside} of {servers}");
        }
        // And as a whole, on a machine that has nothing else to do: the figures of the run are those of the recursion.
        if std::env::var_os("LOCKBENCH_SERVED").is_none() {
            continue;
        }
        assert!(followed >= count * 9 / 10, "{servers} servers: {followed} of {count}");
        let measured = run.measure().unwrap().latency.wait;
        assert_eq!(measured.count(), u64::from(count));
        for q in [0.5, 0.9, 0.99] {
            let [measured, expected] = [&measured, &expected].map(|of| of.quantile_ns(q).unwrap());
            let off = measured.abs_diff(expected) as f64;
            assert!(off <= 0.05 * expected as f64 + 1e6, "{servers}, {q}: {measured} {expected}");
        }
    }
}

/// Whoever holds is dropped with the run, and frees its key before the agent hears of it: what comes after is no overlap.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_run_that_is_stopped_shows_no_overlap_of_its_own_making() {
    for seed in 0..30 {
        let plan = plan(400, 50_000.0, 1, 0.001, seed);
        let stop = CancellationToken::new();
        let progress = Arc::<Progress>::default();
        let options =
            RunOptions { stop: stop.clone(), progress: Arc::clone(&progress), ..RunOptions::default() };
        let running = served_with(&plan, Clock::real().unwrap(), options);
        let stopping = async {
            while progress.returned.load(Ordering::Relaxed) < 20 {
                tokio::task::yield_now().await;
            }
            stop.cancel();
        };
        let (run, ()) = tokio::join!(running, stopping);
        let tally = run.measure().unwrap().tasks;
        assert!(
            tally.completed > 0 && tally.completed < 400,
            "seed {seed}: stopped in the middle: {tally:?}"
        );
        for (check, judgement) in
            checks::ALL.iter().zip(checks::judge(checks::ALL, &run.facts, &run.history).unwrap())
        {
            if ["exclusion", "lost-update"].contains(&check.name) {
                assert_eq!(judgement.verdict, Verdict::Holds, "seed {seed}, {}", check.name);
            }
        }
    }
}

fn lockbench(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockbench"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command
}

/// A search that is over soon: what it finds is of no worth.
const SOON: &[&str] = &[
    "capacity",
    "capacity-hot",
    "--seed",
    "3",
    "--contenders",
    "ring-queue",
    "--rate",
    "2000",
    "--duration",
    "0.2",
    "--limit",
    "20",
    "--set",
    "service_level.tasks=100",
    "--set",
    "warm_up_s=0.0",
];

fn batch_of(folder: &Path) -> PathBuf {
    std::fs::read_dir(folder.join("out")).unwrap().next().unwrap().unwrap().path()
}

#[test]
fn a_search_ends_with_every_contender_at_one_rate_and_a_report_of_what_each_carries() {
    let folder = tempfile::tempdir().unwrap();
    let output = lockbench(folder.path(), &[SOON, &["--blocks", "2"]].concat()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    // A machine that is busy with others proves nothing; anything else is wrong.
    assert!([Some(0), Some(4)].contains(&output.status.code()), "{told}");
    let batch = batch_of(folder.path());
    let Comparison { manifest, rows, probes, .. } = reports::load(&batch).unwrap();
    assert_eq!(manifest.service_level.unwrap().excess_ns, 20_000_000);
    let probed = |name: &str| probes.iter().filter(|run| run.contender == name).count();
    assert!(probed("ring-queue") > 4 && probed("noop") > 4 && probed("none") == 0, "{told}");
    let names: Vec<&str> = rows.iter().map(|row| row.contender.as_str()).collect();
    assert_eq!(rows.iter().map(|row| row.records.len()).collect::<Vec<_>>(), [2; 5], "{names:?}");
    let digests: Vec<&String> =
        rows.iter().filter(|row| row.contender != "none").map(|row| &row.records[0].plan_digest).collect();
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "the same plan for all");
    let page = std::fs::read_to_string(batch.join("report.html")).unwrap();
    assert!(page.contains("How much each carries") && page.contains("Load and latency"));
    let histories = |probe: bool| {
        let folders = std::fs::read_dir(&batch).unwrap().map(|entry| entry.unwrap().path());
        let of = folders.filter(|path| path.to_string_lossy().contains("-probe-") == probe);
        of.filter(|path| path.join("history.ndjson.zst").is_file()).count()
    };
    assert_eq!((histories(true), histories(false)), (0, 10), "of probes that broke nothing none is kept");
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(table.starts_with("contender") && table.contains("capacity /s"), "{table}");
}

#[test]
fn a_search_that_was_stopped_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = lockbench(folder.path(), &[SOON, &["--blocks", "1"]].concat())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufReader::new(running.stderr.take().unwrap()).lines().map(Result::unwrap);
    // After the third probe.
    let probes = lines.by_ref().filter(|line| line.starts_with("block 1")).take(3).count();
    assert_eq!(probes, 3);
    let sent = Command::new("kill").args(["-INT", &running.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let rest: Vec<String> = lines.collect();
    assert_eq!(running.wait().unwrap().code(), Some(130), "{rest:?}");
    let batch = batch_of(folder.path());
    let place = batch.to_str().unwrap();
    assert!(rest.iter().any(|line| line.contains("--resume")), "{rest:?}");
    let before = reports::load(&batch).unwrap().probes;
    let other = lockbench(folder.path(), &["run", "--resume", place]).output().unwrap();
    let told = String::from_utf8_lossy(&other.stderr);
    assert!(other.status.code() == Some(2) && told.contains("take it up with that"), "{told}");
    let output = lockbench(folder.path(), &["capacity", "--resume", place]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!([Some(0), Some(4)].contains(&output.status.code()), "{told}");
    let whole = reports::load(&batch).unwrap();
    assert_eq!(whole.probes[..before.len()], before[..], "what had run is not run again");
    assert_eq!(whole.rows.len(), 5, "{told}");
}

#[test]
fn what_has_no_capacity_is_refused_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, expected) in [
        (&["capacity", "thundering-1000"][..], "the scenario needs rate_per_s"),
        (&["capacity", "holder-pause"], "--set faults=[]"),
        (&["capacity", "capacity-hot", "--budget", "soon"], "a time such as 90s"),
        (&["capacity", "capacity-hot", "--limit", "0"], "must be from 0.1"),
        (&["capacity", "capacity-hot", "--set", "resources.vm.per_rate=-1"], "per_rate must be"),
        (&["capacity", "capacity-hot", "--set", "service_level.p9_ms=1"], "did you mean `p99_ms`"),
        (
            &["capacity", "capacity-hot", "--set", "arrivals={shape=\"ramp\",to_per_s=9.0}"],
            "`arrivals`: a rate that changes",
        ),
        (&["run", "capacity-hot", "--set", "arrivals={shape=\"ramp\"}"], "the scenario needs either"),
        (&["run", "capacity-hot", "--set", "arrivals={shape=\"rmap\"}"], "did you mean `ramp`"),
        (&["capacity"], "required"),
        (&["capacity", "smoke", "--resume", "out"], "cannot be used with"),
        (&["capacity", "--resume", "nowhere"], "nowhere/manifest.json"),
    ] {
        let output = lockbench(folder.path(), arguments).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && told.contains(expected), "{arguments:?}: {told}");
    }
}
