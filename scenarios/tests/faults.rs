//! Faults that hit: a paused holder is overtaken where there is a lease, refused where there is fencing, waited for
//! where there is neither; a killed one is accounted for and comes back. Counts and order only, no speed.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod trial;

use std::collections::BTreeSet;
use std::process::Command;

use harness::model::{Event, Events as _, What};
use harness::record::{RunRecord, StoredHistory, Verdict};
use harness::servers::ServerKind;

use trial::{Trial, assert_not_violated, violated};

/// A paused holder of a lease of 400 ms: five times as long, so that a busy machine does not matter.
fn paused_redis() -> Trial {
    Trial::new("holder-pause", "redis-fenced", Some(ServerKind::named("redis")))
        .set("detect_ms=400")
        .faults("pause", "holder", 0.5, 2_000.0)
}

#[test]
fn without_fencing_a_paused_holder_of_a_lease_is_overtaken_and_writes_all_the_same() {
    let Some((record, told)) = paused_redis().run() else { return };
    let faults = &record.faults;
    assert!(faults.hit_a_holder() >= 3, "{faults:?}");
    assert_eq!(faults.regressed(), faults.hit_a_holder(), "{faults:?}");
    assert!(violated(&record, "exclusion") && violated(&record, "lost-update"));
    assert_not_violated(&record, "conservation", &told);
    assert!(faults.entries_before > 0 && faults.last_completed, "{faults:?}");
}

#[test]
fn with_fencing_every_such_write_is_refused_and_no_update_is_lost() {
    let Some((record, told)) = paused_redis().set("fencing=true").run() else { return };
    let faults = &record.faults;
    assert!(faults.hit_a_holder() >= 3, "{faults:?}");
    assert_eq!(faults.regressed(), 0, "{faults:?}");
    let refused = faults.faults.iter().filter(|fault| fault.rejections > 0).count() as u64;
    assert_eq!(refused, faults.hit_a_holder(), "{faults:?}");
    for check in ["exclusion", "lost-update"] {
        assert_not_violated(&record, check, &told);
    }
    assert!(record.tasks.rejected >= refused);
}

#[test]
fn a_lock_without_lease_and_a_queue_wait_for_a_paused_holder() {
    for (contender, server) in [("pg-mux", Some(ServerKind::named("postgres"))), ("ring-queue", None)] {
        let trial = Trial::new("holder-pause", contender, server).faults("pause", "holder", 0.5, 2_000.0);
        let Some((record, _)) = trial.run() else { continue };
        let faults = &record.faults;
        assert!(faults.hit_a_holder() >= 3, "{contender}: {faults:?}");
        assert_eq!(faults.regressed(), 0, "{contender}: {faults:?}");
        for check in ["exclusion", "lost-update", "conservation"] {
            assert_not_violated(&record, check, contender);
        }
        for fault in faults.faults.iter().filter(|fault| fault.hits > 0) {
            // Awake, he may have left before it is noted that he was woken; a fault at the end of the run is cut short.
            let lasted_ns = (fault.until_ns.unwrap() - fault.from_ns.unwrap()).min(2_000_000_000);
            assert!(fault.freed_ns.is_none_or(|freed_ns| freed_ns >= lasted_ns), "{contender}: {fault:?}");
        }
    }
}

#[test]
fn a_killed_holder_s_tasks_are_accounted_for_and_its_node_comes_back() {
    // A ring's nodes go by one epoch again once a node has come back, whatever their takeover waits for.
    let rings = ["ring-queue", "ring-drain", "ring-fenced"].map(|name| (name, None));
    for (contender, server) in [("redis-fenced", Some(ServerKind::named("redis")))].into_iter().chain(rings) {
        let trial = Trial::new("holder-kill", contender, server)
            .set("detect_ms=400")
            .faults("kill", "holder", 1.0, 1_000.0);
        let Some((record, told)) = trial.run() else { continue };
        let (faults, tasks) = (&record.faults, &record.tasks);
        assert!(faults.hit_a_holder() >= 2, "{contender}: {faults:?}");
        assert_eq!(faults.regressed(), 0, "the dead do not write: {contender}: {faults:?}");
        assert!(tasks.unknown > 0 && tasks.refused > 0, "{contender}: {tasks:?}");
        assert_eq!(tasks.not_offered, 0, "{contender}: {tasks:?}");
        for check in ["exclusion", "lost-update", "conservation"] {
            assert_not_violated(&record, check, &format!("{contender}: {told}"));
        }
        assert!(faults.last_completed, "{contender}: it came back: {faults:?}");
    }
}

#[test]
fn what_a_killed_node_did_in_its_last_moments_is_known_and_counted() {
    let trial = Trial::new("holder-kill", "redis-fenced", Some(ServerKind::named("redis")))
        .set("detect_ms=400")
        .faults("kill", "holder", 1.0, 1_000.0);
    let (mut granted, mut untold) = (BTreeSet::new(), Vec::new());
    let ran = trial.run_and_look(|run| {
        let see = &mut |_, event: &Event| match event.what {
            What::Granted { .. } => drop(granted.insert(event.step)),
            What::Entered { .. } if !granted.contains(&event.step) => untold.push(event.clone()),
            _ => {}
        };
        StoredHistory(run.join("history.ndjson.zst")).pass(see).unwrap();
    });
    let Some((record, told)) = ran else { return };
    let hits = record.faults.hit_a_holder();
    assert!(hits >= 2, "{:?}", record.faults);
    assert_eq!(untold, [], "the agent let them in, and of their grants nobody told: {told}");
    // One request to take it and one to give it back; who was killed did not give it back, and may have died while it asked.
    let (asked, grants) = (record.load_operations().unwrap(), record.grants);
    assert!(asked + 2 * hits >= 2 * grants && asked <= 6 * grants, "{asked} requests, {grants} grants");
    let (operations, probes) = (record.operations.unwrap(), record.latency.bystander.count());
    assert!(operations.bystander + 2 * hits >= 2 * probes, "{operations:?}, {probes} probes");
}

#[test]
fn a_server_that_is_paused_or_killed_comes_back_also_where_nodes_share_a_process() {
    for verb in ["pause", "kill"] {
        let trial = Trial::new("holder-kill", "redis-fenced", Some(ServerKind::named("redis")))
            .set("placement=\"single\"")
            .set("detect_ms=4000")
            .faults(verb, "server", 2.0, 500.0);
        let Some((record, _)) = trial.run() else { continue };
        let faults = &record.faults;
        assert!(faults.injected() >= 2, "{verb}: {faults:?}");
        assert!(faults.last_completed, "{verb}: {faults:?}");
        assert_not_violated(&record, "conservation", verb);
    }
}

#[test]
fn a_holder_whose_answers_do_not_arrive_is_overtaken_and_its_link_is_restored() {
    let trial = Trial::new("holder-pause", "redis-fenced", Some(ServerKind::named("redis")))
        .set("detect_ms=400")
        .set(r#"faults=[{verb="cut",way="from-server",target="holder",every_s=0.5,for_ms=1500.0}]"#)
        .set("hold_ms=600.0")
        .set("rate_per_s=1.0")
        .set("least_faults=1");
    let Some((record, told)) = trial.run() else { return };
    let faults = &record.faults;
    assert!(faults.hit_a_holder() >= 2, "{faults:?}");
    assert!(faults.faults.iter().all(|fault| fault.verb == "cut from server"), "{faults:?}");
    assert_not_violated(&record, "conservation", &told);
    assert!(record.tasks.completed > 0, "{:?}", record.tasks);
}

/// The ring has one key, so of three nodes two reach it over the link before its owner.
fn broken_before_the_owner(placement: &str, fault: &str) -> RunRecord {
    let trial = Trial::new("holder-pause", "ring-queue", None)
        .set(&format!("placement=\"{placement}\""))
        .set(&format!("faults=[{{{fault},link=\"nodes\",target=\"holder\",every_s=0.5}}]"))
        .set("least_faults=1");
    let (record, told) = trial.run().expect("it needs no server");
    assert!(record.faults.hit_a_holder() >= 2, "{placement} {fault}: {:?}", record.faults);
    for check in ["exclusion", "lost-update", "exactly-once", "conservation", "progress"] {
        assert_not_violated(&record, check, &format!("{placement} {fault}: {told}"));
    }
    assert!(record.tasks.completed > record.tasks.planned / 2, "{placement} {fault}: {:?}", record.tasks);
    record
}

#[test]
fn links_between_nodes_can_be_cut_one_way_slowed_and_reset() {
    for placement in ["single", "process"] {
        // Of 40 tasks a second, some ask for the key early in the cut; they run, and nobody hears of it before its end.
        let cut = broken_before_the_owner(placement, r#"verb="cut",way="from-server",for_ms=2500.0"#);
        assert!(cut.latency.response.quantile_ns(1.0).unwrap() >= 1_500_000_000, "{placement}");
        assert!(cut.faults.faults.iter().all(|fault| fault.verb == "cut from server, link between nodes"));
    }
    let slow = broken_before_the_owner("single", r#"verb="slow",delay_ms=150.0,for_ms=1000.0"#);
    assert!(slow.latency.response.quantile_ns(1.0).unwrap() >= 300_000_000, "150 ms there, 150 ms back");
    // The connection is there again at once; what was on the way is lost.
    let reset = broken_before_the_owner("single", r#"verb="reset",for_ms=100.0"#);
    assert!(reset.tasks.unknown > 0, "{:?}", reset.tasks);
}

#[test]
fn a_round_trip_that_is_added_to_the_links_is_paid_by_locks_and_ring_alike() {
    for (contender, server) in [("redis-fenced", Some(ServerKind::named("redis"))), ("ring-queue", None)] {
        for placement in ["single", "process"] {
            let trial = Trial::new("holder-pause", contender, server)
                .set("faults=[]")
                .set("rtt_ms=30.0")
                .set("rate_per_s=5.0")
                .set("duration_s=4")
                .set(&format!("placement=\"{placement}\""));
            let Some((record, _)) = trial.run() else { continue };
            assert_eq!(record.tasks.completed, record.tasks.planned, "{contender} {placement}");
            // Of three nodes, the one that owns the ring's only key asks itself.
            let share = if contender == "ring-queue" { 0.95 } else { 0.01 };
            let ns = record.latency.response.quantile_ns(share).unwrap();
            // Where the agent is in another process, to enter and to leave are round trips too.
            let least_ns = if placement == "process" { 90_000_000 } else { 30_000_000 };
            assert!(ns >= least_ns, "{contender} {placement}: {ns}");
        }
    }
}

#[test]
fn controls_that_cross_no_link_pay_no_round_trip_and_say_so() {
    for contender in ["local-mutex", "ring-local", "noop"] {
        let trial = Trial::new("holder-pause", contender, None)
            .set("faults=[]")
            .set("rtt_ms=300.0")
            .set("rate_per_s=5.0")
            .set("hold_ms=1.0")
            .set("duration_s=4")
            .set("placement=\"single\"");
        let (record, _) = trial.run().expect("it needs no server");
        let ns = record.latency.response.quantile_ns(0.5).unwrap();
        let says = record.warnings.iter().any(|warning| warning.contains("it crosses no link"));
        let free = contender != "noop";
        assert_eq!((ns < 300_000_000, says), (free, free), "{contender}: {ns} ns, {:?}", record.warnings);
    }
}

#[test]
fn what_bystanders_and_renewals_ask_is_no_cost_of_a_grant() {
    for contender in ["redis-fenced", "etcd-cas", "pg-mux"] {
        let server = ServerKind::named(
            contender.split('-').next().map(|of| if of == "pg" { "postgres" } else { of }).unwrap(),
        );
        let trial = Trial::new("holder-pause", contender, Some(server))
            .set("faults=[]")
            .set("rate_per_s=5.0")
            .set("hold_ms=1.0")
            .set("duration_s=4");
        let Some((record, _)) = trial.run() else { continue };
        let operations = record.operations.unwrap();
        // Some 20 tasks on one key, nearly always free: a request to take it, one to give it back, and few more.
        assert!(
            operations.load <= 4 * record.grants,
            "{contender}: {operations:?}, {} grants",
            record.grants
        );
        // Three bystanders ask 20 times a second each, for two requests; pg-mux may send two of theirs as one.
        let probes = record.latency.bystander.count();
        let least = if contender == "pg-mux" { 3 * probes / 2 } else { 2 * probes };
        assert!(
            probes >= 100 && operations.bystander >= least,
            "{contender}: {operations:?}, {probes} probes"
        );
    }
}

#[test]
fn too_few_hits_prove_nothing() {
    // Tasks are too few for anybody to be inside when most of the pauses are due.
    let trial = paused_redis().faults("pause", "holder", 0.2, 1_000.0);
    let Some((record, told)) = trial.set("rate_per_s=0.3").set("least_faults=6").run() else { return };
    assert!(record.faults.planned >= 6 && record.faults.hit_a_holder() < 6, "{:?}", record.faults);
    for verdict in &record.verdicts {
        assert!(!matches!(verdict.verdict, Verdict::Holds), "{verdict:?}: {told}");
    }
}

#[test]
fn a_run_too_short_for_its_faults_is_refused_before_it_begins() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_lockbench"))
        .args(["run", "holder-kill", "--duration", "3", "--contenders", "ring-queue"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(
        told.contains("0 faults (kill holder) are drawn") && told.contains("3 must take effect"),
        "{told}"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is written");
}

#[test]
fn a_promise_of_a_violation_that_did_not_show_is_exit_3() {
    let folder = tempfile::tempdir().unwrap();
    // The ring promises what only a lease can break.
    let expect = r#"expect=[{check="exclusion",class="ring",verdict="violated"}]"#;
    let output = Command::new(env!("CARGO_BIN_EXE_lockbench"))
        .args([
            "run",
            "smoke",
            "--placement",
            "process",
            "--blocks",
            "1",
            "--duration",
            "0.5",
            "--set",
            expect,
        ])
        .args(["--set", r#"contenders=["ring-queue"]"#])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(told.contains("exclusion") && told.contains("promised"), "{told}");
}

#[test]
fn faults_that_cannot_be_are_refused_with_line_and_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("catalog/holder-pause.toml");
    let text = std::fs::read_to_string(catalog).unwrap();
    let refused = |from: &str, to: &str| {
        assert!(text.contains(from));
        std::fs::write(folder.path().join("mine.toml"), text.replace(from, to)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockbench"));
        let output = command.args(["run", "mine.toml"]).current_dir(folder.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let line = text[..text.find("target = ").unwrap()].matches('\n').count() + 1;
    let place = format!("mine.toml, line {line}");
    let single = refused("placement = \"process\"", "placement = \"single\"");
    assert!(single.contains(&place) && single.contains("--placement process"), "{single}");
    let unknown = refused("target = \"holder\"", "target = \"owner\"");
    assert!(unknown.contains(&place) && unknown.contains("unknown target `owner`"), "{unknown}");
    let leader = refused("target = \"holder\"", "target = \"leader\"");
    assert!(leader.contains(&place) && leader.contains("--topology replicated"), "{leader}");
    let missing = refused("target = \"holder\"", "target = \"node-3\"");
    assert!(missing.contains(&place) && missing.contains("there is no node 3"), "{missing}");
    let check = refused("check = \"exclusion\"", "check = \"exlusion\"");
    assert!(
        check.contains("unknown check `exlusion` (did you mean `exclusion`?); there are exclusion"),
        "{check}"
    );
}
