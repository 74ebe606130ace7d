//! Faults of the link between a node and the agent: what is held back arrives late, and what is cut off is abandoned.
//! Counts and order only, no speed.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod trial;

use std::process::Command;

use harness::record::RunRecord;
use harness::servers::ServerKind;

use trial::{Trial, assert_not_violated};

/// A lock and a queue; the fault of the holder's link in place of the scenario's.
fn each(fault: &str, judge: impl Fn(&str, RunRecord)) {
    for (contender, server) in [("redis-fenced", Some(ServerKind::named("redis"))), ("ring-queue", None)] {
        let fault = format!(r#"faults=[{{link="agent",target="holder",every_s=0.5,{fault}}}]"#);
        let trial = Trial::new("holder-kill", contender, server)
            .set(&fault)
            .set("hold_ms=100.0")
            .set("rate_per_s=2.0")
            .set("least_faults=1");
        let Some((record, told)) = trial.run() else { continue };
        assert!(record.faults.hit_a_holder() >= 2, "{contender}: {:?}", record.faults);
        for check in ["exclusion", "lost-update", "fencing", "exactly-once", "conservation", "progress"] {
            assert_not_violated(&record, check, &format!("{contender}: {told}"));
        }
        judge(contender, record);
    }
}

/// Nobody followed a section that was hit before so many ms.
fn was_waited_for(contender: &str, record: &RunRecord, ms: u64) {
    for fault in record.faults.faults.iter().filter(|fault| fault.hits > 0) {
        assert!(fault.freed_ns.is_none_or(|freed_ns| freed_ns >= ms * 1_000_000), "{contender}: {fault:?}");
    }
    assert_eq!(record.tasks.completed, record.tasks.planned, "{contender}: late, and nothing lost");
}

#[test]
fn a_section_whose_link_to_the_agent_is_cut_stays_inside_until_it_is_restored() {
    for (way, deed) in
        [("both", "cut, link to agent"), ("to-agent", "cut to agent"), ("from-agent", "cut from agent")]
    {
        each(&format!(r#"verb="cut",way="{way}",for_ms=1000.0"#), |contender, record| {
            assert!(record.faults.faults.iter().all(|fault| fault.verb == deed), "{:?}", record.faults);
            was_waited_for(contender, &record, 1_000);
        });
    }
}

#[test]
fn a_slow_link_to_the_agent_is_waited_for() {
    each(r#"verb="slow",way="to-agent",delay_ms=300.0,for_ms=1000.0"#, |contender, record| {
        was_waited_for(contender, &record, 300);
    });
}

#[test]
fn a_section_whose_connection_to_the_agent_is_reset_is_abandoned_and_its_node_dials_again() {
    each(r#"verb="reset",for_ms=100.0"#, |contender, record| {
        let tasks = record.tasks;
        let lost = tasks.rejected + tasks.unknown;
        assert!(lost >= record.faults.hit_a_holder(), "{contender}: {tasks:?}");
        assert_eq!(lost + tasks.completed, tasks.planned, "{contender}: {tasks:?}");
        assert_eq!(record.invalid.iter().find(|reason| reason.contains("died")), None, "{contender}");
    });
}

#[test]
fn a_link_to_the_agent_that_cannot_be_is_refused_with_line_and_remedy() {
    let refused = |settings: [&str; 2]| {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockbench"));
        command.args(["run", "holder-kill", "--set", settings[0], "--set", settings[1]]);
        let output = command.current_dir(folder.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let fault = |verb: &str, target: &str| {
        format!(r#"faults=[{{link="agent",verb="{verb}",target="{target}",every_s=1.0,for_ms=500.0}}]"#)
    };
    let single = refused([&fault("cut", "holder"), "placement=\"single\""]);
    assert!(single.contains("line ") && single.contains("--placement process"), "{single}");
    let server = refused([&fault("cut", "server"), "nodes=3"]);
    assert!(server.contains("must be `holder` or a node"), "{server}");
    let pause = refused([&fault("pause", "holder"), "nodes=3"]);
    assert!(pause.contains("`cut`, `slow` and `reset`"), "{pause}");
}
