//! The ring changes while it works: what each takeover makes of it. Counts and order only, no speed.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod trial;

use harness::record::{FaultFacts, RunRecord, Verdict};
use harness::servers::ServerKind;

use trial::{Trial, assert_not_violated, violated};

/// What nobody may break, whatever it does to keys that move.
const ALWAYS: [&str; 3] = ["exactly-once", "conservation", "progress"];

/// What keeps a key to one at a time.
const APART: [&str; 3] = ["exclusion", "lost-update", "fencing"];

/// Twelve keys that are held for 100 ms and always asked for, by arithmetic: 100 tasks a second of 0.1 s on 12 keys, so a
/// key that moves nearly always has somebody inside and more arrives while he is; and each change moves several.
fn busy(scenario: &'static str, contender: &'static str) -> Trial {
    Trial::new(scenario, contender, None)
        .set("nodes=4")
        .set("duration_s=6")
        .set("rate_per_s=100.0")
        .set("resources.vm.count=12")
        .set("saturating=true")
}

fn join(late: &str) -> String {
    format!(r#"faults=[{{verb="join",target="node-3",every_s=0.3,for_ms=800.0{late}}}]"#)
}

fn changes_were_seen(record: &RunRecord) {
    let faults = &record.faults;
    assert!(faults.injected() >= 3, "{faults:?}");
    assert!(faults.faults.iter().map(|fault| fault.moved_keys).sum::<u64>() >= 3, "{faults:?}");
    assert!(faults.hit_a_holder() >= 1, "keys were busy when they moved: {faults:?}");
}

/// Faithful is caught with a witness; the other two keep every key to one at a time. The record of `ring-drain`.
fn races_under_faithful_alone(scenario: &'static str, faults: &str, placement: &str) -> RunRecord {
    let mut drain = None;
    for contender in ["ring-queue", "ring-drain", "ring-fenced"] {
        let trial = busy(scenario, contender).set(faults).set(&format!("placement=\"{placement}\""));
        let (record, told) = trial.run().expect("it needs no server");
        changes_were_seen(&record);
        let faithful = contender == "ring-queue";
        for check in APART {
            assert_eq!(violated(&record, check), faithful, "{contender} {placement}: {check}: {told}");
        }
        for check in ALWAYS {
            assert_not_violated(&record, check, &format!("{contender} {placement}: {told}"));
        }
        let exclusion = record.verdicts.iter().find(|each| each.check == "exclusion").unwrap();
        if let Verdict::Violated { witness } = &exclusion.verdict {
            assert!(witness.len() >= 2, "{witness:?}");
        }
        if contender == "ring-drain" {
            drain = Some(record);
        }
    }
    drain.unwrap()
}

#[test]
fn a_node_that_joins_brings_a_race_unless_the_old_owner_is_waited_for_or_fenced() {
    races_under_faithful_alone("ring-join", &join(""), "single");
}

#[test]
fn so_it_does_where_nodes_are_processes() {
    races_under_faithful_alone("ring-join", &join(""), "process");
}

#[test]
fn an_owner_that_leaves_while_somebody_is_inside_brings_the_same_race() {
    let leave = r#"faults=[{verb="leave",target="holder",every_s=0.3,for_ms=800.0}]"#;
    let drain = races_under_faithful_alone("ring-leave", leave, "single");
    assert_eq!(
        (drain.tasks.failed, drain.tasks.rejected),
        (0, 0),
        "a planned change takes nothing from who runs"
    );
}

#[test]
fn while_one_node_hears_late_of_a_change_a_key_has_two_owners_or_under_drain_stands_still() {
    let faults = join(",late_node=0,late_ms=300.0");
    let FaultFacts { faults, .. } = races_under_faithful_alone("rings-differ", &faults, "single").faults;
    let stall_ns = faults.iter().filter_map(|fault| fault.stall_ns).max().unwrap();
    // Whoever is inside when the ring changes is so for 100 ms more at most; until 300 ms nobody else may be.
    assert!(stall_ns >= 200_000_000, "{stall_ns}");
}

/// The suspicion is 1 s and the pause 4 s, so that a busy machine does not matter.
fn paused_owner(contender: &'static str) -> Trial {
    Trial::new("owner-pause", contender, Some(ServerKind::named("postgres")))
        .set("duration_s=16")
        .faults("pause", "holder", 0.5, 4_000.0)
}

#[test]
fn a_paused_owner_is_evicted_and_its_write_is_refused_where_tokens_are_compared() {
    let Some((record, told)) = paused_owner("ring-fenced").run() else { return };
    let faults = &record.faults;
    assert!(faults.hit_a_holder() >= 2, "{faults:?}");
    assert_eq!(faults.regressed(), 0, "{faults:?}");
    assert!(faults.faults.iter().any(|fault| fault.rejections > 0), "somebody was overtaken: {faults:?}");
    assert!(record.tasks.rejected > 0, "{:?}", record.tasks);
    for check in APART.into_iter().chain(ALWAYS) {
        assert_not_violated(&record, check, &told);
    }
    assert!(record.detection.contains("suspected after 1000 ms"), "{}", record.detection);
}

#[test]
fn a_paused_owner_of_a_ring_without_tokens_at_the_agents_writes_all_the_same() {
    let Some((record, _)) = paused_owner("ring-queue").run() else { return };
    let faults = &record.faults;
    assert!(faults.hit_a_holder() >= 2 && faults.regressed() >= 1, "{faults:?}");
    for check in APART {
        assert!(violated(&record, check), "{check}");
    }
}

#[test]
fn once_a_dead_owner_is_evicted_others_serve_its_keys_before_it_is_back() {
    for contender in ["ring-drain", "ring-fenced"] {
        let trial = Trial::new("owner-kill", contender, Some(ServerKind::named("postgres")))
            .faults("kill", "holder", 0.5, 5_000.0)
            .set("duration_s=14")
            .set("least_faults=1");
        let Some((record, told)) = trial.run() else { continue };
        let faults = &record.faults;
        assert!(faults.hit_a_holder() >= 1 && faults.last_completed, "{contender}: {faults:?}");
        for fault in faults.faults.iter().filter(|fault| fault.hits > 0) {
            let down_ns = fault.until_ns.unwrap() - fault.from_ns.unwrap();
            assert!(fault.freed_ns.unwrap() < down_ns, "{contender}: {fault:?}");
        }
        for check in APART.into_iter().chain(ALWAYS) {
            assert_not_violated(&record, check, &format!("{contender}: {told}"));
        }
    }
}

#[test]
fn a_node_that_cannot_reach_the_table_of_members_stops_itself_and_others_serve_its_keys() {
    let trial = Trial::new("owner-pause", "ring-fenced", Some(ServerKind::named("postgres")))
        .faults("cut", "holder", 0.5, 4_000.0)
        .set("placement=\"single\"")
        .set("duration_s=12")
        .set("least_faults=1");
    let Some((record, told)) = trial.run() else { return };
    let faults = &record.faults;
    assert!(faults.hit_a_holder() >= 1 && faults.last_completed, "{faults:?}");
    assert!(faults.faults.iter().any(|fault| fault.moved_keys > 0), "{faults:?}");
    assert!(record.tasks.refused > 0, "its own arrivals: {:?}", record.tasks);
    for check in APART.into_iter().chain(ALWAYS) {
        assert_not_violated(&record, check, &told);
    }
}

#[test]
fn changes_of_the_ring_that_cannot_be_are_refused_with_their_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |fault: &str| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_lockbench"))
            .args(["run", "ring-join", "--set", &format!("faults=[{{every_s=1.0,for_ms=800.0,{fault}}}]")])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{fault}");
        String::from_utf8(output.stderr).unwrap()
    };
    for (fault, remedy) in [
        (r#"verb="join",target="holder""#, "only a named node"),
        (r#"verb="leave",target="server""#, "no member of the ring"),
        (r#"verb="leave",target="node-1",late_ms=5.0"#, "needs a late_node"),
        (r#"verb="leave",target="node-1",late_node=0"#, "needs late_ms"),
        (r#"verb="leave",target="node-1",late_node=0,late_ms=800.0"#, "less than for_ms"),
        (r#"verb="cut",target="server",late_node=0,late_ms=5.0"#, "are for `join` and `leave`"),
    ] {
        let told = refused(fault);
        assert!(told.contains(remedy), "{fault}: {told}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was run");
}
