//! Servers of three members that lose the one that leads: locks go on, exclude, and the report says how long nobody was
//! served. Counts and order only, no speed.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod trial;

use std::process::Command;

use harness::record::{FaultRecord, RunRecord, SLICE_NS};
use harness::servers::ServerKind;

use trial::{Trial, assert_not_violated};

const REPLICATED: [(&str, &str); 3] = [("etcd-cas", "etcd"), ("zk-seq", "zookeeper"), ("nats-kv", "nats")];

/// Tasks that completed from that stamp of the run on.
fn completed_after(record: &RunRecord, from_ns: u64) -> u64 {
    let first = usize::try_from(from_ns / SLICE_NS).unwrap() + 1;
    record.completed_per_slice.iter().skip(first).sum()
}

fn goes_on_without_its_leader(scenario: &'static str, verb: &str) {
    for (contender, kind) in REPLICATED {
        let trial = Trial::new(scenario, contender, Some(ServerKind::named(kind)))
            .set("duration_s=16")
            .set("least_faults=1")
            .faults(verb, "leader", 1.0, 9_000.0);
        let Some((record, told)) = trial.run() else { continue };
        let faults = &record.faults;
        assert!(faults.injected() >= 1, "{contender}: {faults:?}");
        let members = |fault: &FaultRecord| fault.member.is_some_and(|place| place < 3);
        assert!(faults.faults.iter().all(members), "{contender}: which member it was: {faults:?}");
        for fault in &faults.faults {
            let (from_ns, unserved_ns) = (fault.from_ns.unwrap(), fault.unserved_ns.unwrap());
            assert!(completed_after(&record, from_ns + unserved_ns) > 0, "{contender}: {fault:?}");
        }
        assert!(faults.last_completed, "{contender}: {faults:?}");
        // Not progress: how long an election takes beside other tests is the server's, and no promise of the lock.
        for check in ["exclusion", "lost-update", "conservation"] {
            assert_not_violated(&record, check, &format!("{contender}: {told}"));
        }
        let settings = &record.server.as_ref().unwrap().settings;
        assert_eq!(settings.get("members").map(String::as_str), Some("3"), "{settings:?}");
    }
}

#[test]
fn locks_go_on_when_the_leader_is_killed_and_exclude() {
    goes_on_without_its_leader("leader-kill", "kill");
}

#[test]
fn locks_go_on_when_the_leader_stands_still_and_exclude_when_it_goes_on() {
    goes_on_without_its_leader("leader-pause", "pause");
}

/// The members are one all the while; only the nodes do not reach the one that leads.
#[test]
fn nodes_whose_links_to_the_leader_are_cut_go_on_over_the_other_members() {
    for (contender, kind) in REPLICATED {
        let trial = Trial::new("leader-kill", contender, Some(ServerKind::named(kind)))
            .set("duration_s=16")
            .set("least_faults=1")
            .faults("cut", "leader", 1.0, 9_000.0);
        let Some((record, told)) = trial.run() else { continue };
        let faults = &record.faults;
        assert!(faults.injected() >= 1, "{contender}: {faults:?}");
        for fault in &faults.faults {
            let (from_ns, until_ns) = (fault.from_ns.unwrap(), fault.until_ns.unwrap());
            assert!(fault.unserved_ns.unwrap() < until_ns - from_ns, "{contender}: {fault:?}");
        }
        for check in ["exclusion", "lost-update", "conservation", "progress"] {
            assert_not_violated(&record, check, &format!("{contender}: {told}"));
        }
    }
}

#[test]
fn each_node_has_a_link_to_each_member() {
    for (contender, kind) in REPLICATED {
        let trial = Trial::new("leader-kill", contender, Some(ServerKind::named(kind)))
            .set("faults=[]")
            .set("rtt_ms=30.0")
            .set("rate_per_s=5.0")
            .set("duration_s=4");
        let Some((record, _)) = trial.run() else { continue };
        assert_eq!(record.tasks.completed, record.tasks.planned, "{contender}");
        let ns = record.latency.response.quantile_ns(0.01).unwrap();
        assert!(ns >= 30_000_000, "{contender}: {ns}");
    }
}

#[test]
fn contenders_whose_server_is_not_replicated_are_skipped_with_the_reason_and_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockbench"));
        command.args(["run", "smoke", "--topology", "replicated", "--blocks", "1", "--duration", "0.5"]);
        let output = command.args(more).current_dir(folder.path()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, told) = run(&["--contenders", "redis-fenced"]);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("redis-fenced cannot run: Redis has no replicated form"), "{told}");
    let (_, told) = run(&["--set", r#"contenders=["noop","none","ring-queue","pg-mux","redis-poll"]"#]);
    for skipped in ["pg-mux: PostgreSQL has no replicated form", "redis-poll: Redis has no replicated form"] {
        assert!(told.contains(&format!("skipped: {skipped}")), "{told}");
    }
    assert!(!told.contains("skipped: ring-queue") && !told.contains("skipped: noop"), "{told}");
}
