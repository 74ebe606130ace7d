//! What does not exist yet is created once, whoever is killed on the way: by the job queue in the database, and by every
//! other contender of the scenario. Counts only, no speed.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod trial;

use harness::record::{Amount, CheckVerdict, RunRecord, Verdict};
use harness::servers::ServerKind;

use trial::{Trial, assert_not_violated, violated};

/// Networks of a trial: a burst each.
const NETWORKS: u64 = 8;

/// Twelve VMs at once on each network, one network every two seconds; whoever creates is killed now and then.
fn stampede(contender: &'static str, server: Option<ServerKind>) -> Trial {
    Trial::of("virtual-router", contender, server)
        .set("burst=12")
        .set("burst_every_s=2.0")
        .set("duration_s=16.0")
        .set("least_faults=1")
        .faults("kill", "holder", 1.5, 2_500.0)
}

fn verdict<'a>(record: &'a RunRecord, check: &str) -> &'a CheckVerdict {
    record.verdicts.iter().find(|each| each.check == check).unwrap()
}

fn count(record: &RunRecord, check: &str, figure: &str) -> u64 {
    let figure = verdict(record, check).figures.iter().find(|each| each.name == figure).unwrap();
    match figure.amount {
        Amount::Count(count) => count,
        Amount::Ns(_) => panic!("{figure:?}"),
    }
}

fn one_router_per_network(contender: &'static str, server: ServerKind) -> Option<RunRecord> {
    let (record, told) = stampede(contender, Some(server)).run()?;
    assert!(record.faults.hit_a_holder() >= 1, "{contender}: {:?}", record.faults);
    assert_eq!(verdict(&record, "created-once").verdict, Verdict::Holds, "{contender}: {told}");
    assert_eq!(count(&record, "created-once", "created"), NETWORKS, "{contender}: {told}");
    for check in ["exclusion", "lost-update", "fencing", "exactly-once", "conservation", "progress"] {
        assert_not_violated(&record, check, &format!("{contender}: {told}"));
    }
    assert_eq!(record.latency.burst.count(), NETWORKS, "{contender}");
    // Whose node is down asks the next one.
    assert_eq!(record.tasks.refused, 0, "{contender}: {told}");
    assert!(record.elsewhere.returned > 0, "{contender}: {told}");
    // A connection a node at least, and a thread each.
    let peak = record.peak;
    assert!(peak.connections >= Some(3) && peak.threads >= Some(3), "{contender}: {peak:?}");
    let operations = record.operations.map(|all| all.load);
    assert!(operations > Some(0) && record.server_cpu_ns > Some(0), "{contender}: {operations:?}");
    Some(record)
}

#[test]
fn locks_create_one_router_per_network_though_creators_are_killed() {
    for (contender, server) in [
        ("mysql-get-lock", ServerKind::named("mariadb")),
        ("nats-kv", ServerKind::named("nats")),
        ("pg-mux", ServerKind::named("postgres")),
        ("redis-fenced", ServerKind::named("redis")),
        ("etcd-cas", ServerKind::named("etcd")),
        ("zk-seq", ServerKind::named("zookeeper")),
    ] {
        let Some(record) = one_router_per_network(contender, server) else { continue };
        // Only by users whose node was killed, who ask again at the next one; each wrote once.
        let again = count(&record, "exactly-once", "sections run again");
        assert!(again <= record.elsewhere.returned, "{contender}: {again}, {:?}", record.elsewhere);
        // Of those who were killed too.
        let asked = record.load_operations();
        assert!(asked >= Some(record.grants), "{contender}: {asked:?} requests, {} grants", record.grants);
    }
}

#[test]
fn jobs_create_one_router_per_network_and_run_again_where_their_worker_was_killed() {
    for contender in ["jobs-faithful", "jobs-skip-locked"] {
        let Some(record) = one_router_per_network(contender, ServerKind::named("postgres")) else { continue };
        let again = count(&record, "exactly-once", "sections run again");
        let hits = record.faults.hit_a_holder();
        // In the faithful form a job is dropped with its issuer, who may be the one that was killed.
        assert!(contender == "jobs-faithful" || again >= hits, "{contender}: {again}, {hits} hits");
    }
}

#[test]
fn without_exclusion_a_network_gets_many_routers() {
    let (record, told) = stampede("none", None).run().unwrap();
    assert!(violated(&record, "created-once") && violated(&record, "exclusion"), "{told}");
    assert!(count(&record, "created-once", "created again") >= NETWORKS, "{told}");
}

/// A change cannot be made twice without harm, so a job whose worker died is given up, and its caller told so.
#[test]
fn a_job_that_is_not_idempotent_is_not_run_again() {
    for contender in ["jobs-faithful", "jobs-skip-locked"] {
        let trial =
            Trial::new("holder-kill", contender, Some(ServerKind::named("postgres"))).set("detect_ms=1000");
        let Some((record, told)) = trial.faults("kill", "holder", 1.0, 2_000.0).run() else { continue };
        assert!(record.faults.hit_a_holder() >= 2, "{contender}: {:?}", record.faults);
        assert_eq!(count(&record, "exactly-once", "sections run again"), 0, "{contender}");
        for check in ["exclusion", "lost-update", "fencing", "exactly-once", "conservation", "progress"] {
            assert_not_violated(&record, check, &format!("{contender}: {told}"));
        }
        assert!(record.tasks.unknown > 0 && record.faults.last_completed, "{contender}: {:?}", record.tasks);
    }
}

#[test]
fn jobs_keep_steps_apart_where_all_nodes_are_in_one_process() {
    for contender in ["jobs-faithful", "jobs-skip-locked"] {
        let trial = Trial::new("hot-key", contender, Some(ServerKind::named("postgres"))).set("duration_s=4");
        let Some((record, told)) = trial.set("blocks=1").run() else { continue };
        assert_eq!(record.tasks.completed, record.tasks.planned, "{contender}: {told}");
        for verdict in &record.verdicts {
            assert_not_violated(&record, &verdict.check, &format!("{contender}: {told}"));
        }
    }
}
