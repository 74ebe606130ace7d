//! Questions of the founding documents, in the short forms of their scenarios: a job on a schedule, very many who wait, accounts
//! that are there twice. Counts only, no speed.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod trial;

use std::sync::Arc;

use harness::engine::Clock;
use harness::judge::checks;
use harness::placement::{RunOptions, single};
use harness::record::{Amount, CheckVerdict, RunRecord, Verdict};
use harness::servers::ServerKind;
use scenarios::contenders::Setting;
use scenarios::{catalog, contenders, workload};

use trial::{Trial, assert_not_violated};

fn answer<'a>(record: &'a RunRecord, check: &str) -> &'a CheckVerdict {
    record.verdicts.iter().find(|each| each.check == check).unwrap()
}

fn figure(record: &RunRecord, check: &str, name: &str) -> u64 {
    let figures = &answer(record, check).figures;
    let figure = figures.iter().find(|figure| figure.name == name).unwrap_or_else(|| panic!("{figures:?}"));
    match figure.amount {
        Amount::Count(count) => count,
        Amount::Ns(_) => panic!("{figure:?}"),
    }
}

/// A job that is due 64 times, while whoever works on it is killed and paused; the record, and how many runs were missed.
fn scheduled(contender: &'static str, server: Option<&'static str>) -> Option<(RunRecord, u64)> {
    let trial = Trial::of("scheduled-job", contender, server.map(ServerKind::named)).small();
    let (record, told) = trial.run()?;
    let once = |name| figure(&record, "created-once", name);
    let (created, missed) = (once("created"), once("never created"));
    assert_eq!(created + missed, 64, "{contender}: each tick was asked for: {told}");
    assert!(created >= 48, "{contender}: {missed} missed: {told}");
    let killed = record.faults.faults.iter().filter(|fault| fault.verb == "kill" && fault.effective).count();
    let paused = record.faults.faults.iter().filter(|fault| fault.verb == "pause" && fault.effective).count();
    assert!(killed >= 1 && paused >= 1, "{contender}: {:?}", record.faults);
    for check in ["exactly-once", "conservation"] {
        assert_not_violated(&record, check, &format!("{contender}: {told}"));
    }
    eprintln!("{contender}: {created} ticks run, {missed} missed, {} double", once("created again"));
    Some((record, missed))
}

#[test]
fn a_tick_runs_once_where_a_lock_lasts_as_long_as_its_transaction() {
    let Some((record, missed)) = scheduled("pg-xact", Some("postgres")) else { return };
    assert_eq!((missed, figure(&record, "created-once", "created again")), (0, 0));
    // Of a step that ran at two nodes, one would hold what the other had already.
    assert_not_violated(&record, "fencing", "pg-xact");
}

#[test]
fn of_thousands_who_wait_at_once_each_is_served_once_and_none_has_a_connection_of_his_own() {
    for (contender, server) in [("redis-fenced", "redis"), ("ring-queue", "")] {
        let server = (!server.is_empty()).then(|| ServerKind::named(server));
        let trial = Trial::of("waiting-100000", contender, server).small();
        let Some((record, told)) = trial.run() else { continue };
        let tasks = record.tasks;
        assert_eq!((tasks.planned, tasks.completed), (4_000, 4_000), "{contender}: {tasks:?}\n{told}");
        for check in ["exclusion", "lost-update", "exactly-once", "conservation"] {
            assert_not_violated(&record, check, &format!("{contender}: {told}"));
        }
        let peak = record.peak;
        assert!(peak.node_bytes.is_some_and(|bytes| bytes > 0), "{contender}: {peak:?}");
        assert_eq!(peak.connections.is_some(), server.is_some(), "{contender}: {peak:?}");
        // Three nodes, each with one session, and one that looks at the server.
        assert!(peak.connections.is_none_or(|count| (3..=12).contains(&count)), "{contender}: {peak:?}");
    }
}

/// Transfers from one account, of which both nodes have a copy.
fn mirrored(contender: &'static str) -> Option<(RunRecord, String)> {
    let postgres = Some(ServerKind::named("postgres"));
    let (record, told) =
        Trial::of("transfer-mirror", contender, postgres).small().set("nodes=2").set("duration_s=6").run()?;
    assert_eq!(record.tasks.completed, record.tasks.planned, "{contender}: {:?}\n{told}", record.tasks);
    Some((record, told))
}

#[test]
fn a_lock_arbitrates_between_two_copies_and_one_in_each_nodes_memory_does_not() {
    if let Some((record, told)) = mirrored("transfer-mirror-locks") {
        let money = answer(&record, "money");
        assert!(matches!(money.verdict, Verdict::Holds), "{money:?}\n{told}");
        assert_eq!(money.examined, 84, "forty accounts and one of each bystander, all of them twice");
        assert_not_violated(&record, "exclusion", &told);
    }
    if let Some((record, told)) = mirrored("transfer-mirror-apart") {
        let money = answer(&record, "money");
        assert!(matches!(money.verdict, Verdict::Violated { .. }), "{money:?}\n{told}");
        assert!(figure(&record, "money", "made") > 0, "what is paid twice is taken once: {money:?}");
    }
}

/// A pool of ten connections that locks and work share has none left as soon as ten hold a lock, and everybody's time runs out; with a
/// pool for each, all are served.
#[test]
fn a_lock_starves_the_pool_that_its_work_needs() {
    let share = |contender: &'static str| {
        let postgres = Some(ServerKind::named("postgres"));
        let (record, told) = Trial::of("shared-pool", contender, postgres).small().run()?;
        for check in ["exclusion", "lost-update", "conservation"] {
            assert_not_violated(&record, check, &format!("{contender}: {told}"));
        }
        Some(record.tasks.completed as f64 / record.tasks.planned as f64)
    };
    let (Some(shared), Some(apart)) = (share("pg-pool-shared"), share("pg-pool-apart")) else { return };
    assert!(apart > 0.95, "{apart}");
    assert!(shared < 0.6, "{shared}");
}

#[test]
fn who_waits_on_a_connection_of_his_own_takes_as_many_as_there_are_waiters() {
    let connections = |contender: &'static str| {
        let postgres = Some(ServerKind::named("postgres"));
        let (record, told) = Trial::of("connections-full", contender, postgres).small().run()?;
        assert_eq!(record.tasks.completed, 150, "{contender}: {:?}\n{told}", record.tasks);
        record.peak.connections
    };
    if let Some(each) = connections("pg-connection-each") {
        assert!(each >= 140, "{each}");
    }
    if let Some(one) = connections("pg-mux") {
        assert!(one <= 12, "{one}");
    }
}

#[test]
fn a_lease_of_a_session_costs_the_same_however_many_keys_it_keeps() {
    let etcd = Some(ServerKind::named("etcd"));
    let Some((record, told)) = Trial::of("held-10000", "etcd-cas", etcd).small().run() else { return };
    assert_eq!(record.tasks.completed, 1_000, "{:?}\n{told}", record.tasks);
    let renewals = record.operations.unwrap().renewal;
    // Of three sessions, each a few times; were they of the keys, a thousand would be renewed every second.
    assert!((1..500).contains(&renewals), "{renewals}");
}

/// Answers take longer than a lease lasts: what is handed out all the same must not have ended.
#[test]
fn a_grant_whose_answer_came_when_its_lease_was_over_is_not_handed_out() {
    let trial = Trial::of("late-answer", "redis-fenced", Some(ServerKind::named("redis"))).small();
    let Some((record, told)) = trial.set("least_faults=1").set("deadline_ms=8000").run() else { return };
    assert!(record.faults.effective() >= 1, "{:?}", record.faults);
    let told_of = record.awareness;
    assert!(told_of.validity.count() > 100, "{told_of:?}");
    assert_eq!(told_of.expired, 0, "{told}");
}

/// Where nothing is broken and nobody has to be asked, the tasks of every short form are served, one by one where they must be.
#[test]
fn every_short_form_is_served_in_virtual_time() {
    let mutex = contenders::all().into_iter().find(|contender| contender.name == "local-mutex").unwrap();
    for (name, _) in catalog::ALL {
        let scenario = catalog::load(name, &catalog::small(name).unwrap()).unwrap();
        let plan = workload::draw(&scenario, 7).unwrap();
        let plan = Arc::new(plan.with_faults(Vec::new()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        let run = runtime.unwrap().block_on(async {
            let clock = Clock::virtual_time();
            let setting = Setting::alone(Arc::clone(&plan), clock.clone());
            let mechanism = mutex.build(&setting).await.unwrap();
            single::run(Arc::clone(&plan), mechanism, clock, RunOptions::default()).await
        });
        let figures = run.measure().unwrap();
        assert_eq!(figures.implausible, Vec::<String>::new(), "{name}");
        assert!(figures.tasks.planned >= 10, "{name}: {:?}", figures.tasks);
        assert_eq!(figures.tasks.completed, figures.tasks.planned, "{name}: {:?}", figures.tasks);
        let events = run.history.to_vec().unwrap();
        for check in checks::ALL {
            let judgement = check.judge(&run.facts, &events);
            let violated = matches!(judgement.verdict, Verdict::Violated { .. });
            assert!(!violated, "{name}: {}: {:?}", check.name, judgement.verdict);
        }
    }
}
