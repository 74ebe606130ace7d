//! Where users go whose node is down. Counts only, no speed.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod trial;

use harness::record::RunRecord;
use harness::servers::ServerKind;

use trial::{Trial, assert_not_violated};

/// Holders of hot keys are killed, and come back a second later.
fn killed(contender: &'static str, server: Option<ServerKind>, entry: &str) -> Option<(RunRecord, String)> {
    let trial = Trial::new("holder-kill", contender, server)
        // Long enough for machines that are busy with others: a lease that runs out would be another story.
        .set("rate_per_s=12")
        .set("detect_ms=2000")
        .set("deadline_ms=30000")
        .set(&format!("entry=\"{entry}\""))
        .faults("kill", "holder", 1.0, 2_000.0);
    let (record, told) = trial.run()?;
    assert!(record.faults.hit_a_holder() >= 2, "{contender}: {:?}", record.faults);
    for check in ["exclusion", "lost-update", "exactly-once", "conservation"] {
        assert_not_violated(&record, check, &format!("{contender}, {entry}: {told}"));
    }
    assert_eq!((record.tasks.refused, record.tasks.not_offered), (0, 0), "{contender}, {entry}: {told}");
    assert!(record.elsewhere.came > 0, "{contender}, {entry}: {told}");
    Some((record, told))
}

#[test]
fn who_asks_again_is_served_once_and_nobody_is_left_without_an_answer() {
    let servers =
        [("redis-fenced", Some(ServerKind::named("redis"))), ("pg-mux", Some(ServerKind::named("postgres")))];
    for (contender, server) in servers {
        let Some((record, told)) = killed(contender, server, "failover") else { continue };
        let (tasks, elsewhere) = (record.tasks, record.elsewhere);
        assert_eq!(
            (tasks.unknown, tasks.partial, tasks.unfinished),
            (0, 0, 0),
            "{contender}: {tasks:?} {told}"
        );
        assert_eq!(tasks.completed, tasks.planned, "{contender}: {tasks:?} {told}");
        assert!(elsewhere.returned > elsewhere.came, "{contender}: nobody asked again: {elsewhere:?}");
    }
}

#[test]
fn who_asks_nobody_twice_is_told_that_he_may_have_been_served() {
    let Some((record, told)) = killed("redis-fenced", Some(ServerKind::named("redis")), "any") else {
        return;
    };
    let (tasks, elsewhere) = (record.tasks, record.elsewhere);
    assert!(tasks.unknown > 0, "{tasks:?} {told}");
    assert_eq!(elsewhere.returned, elsewhere.came, "{elsewhere:?}");
}
