//! Transfers whose coordinator is killed at each step: money stays whole where the design says so, and is lost where it is foretold.
//! Counts only, no speed; `make test-long` has hundreds of kills.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod trial;

use harness::record::{Amount, CheckVerdict, RunRecord, Verdict};
use harness::servers::ServerKind;

use trial::{Trial, assert_not_violated};

/// A few kills at each of these steps.
fn killed_at(contender: &'static str, points: &[&str]) -> Option<(RunRecord, String)> {
    let fault = |point: &&str| {
        format!("{{verb=\"kill\",target=\"at-{point}\",every_s=4.0,for_ms=1500.0,least=0,quiet_s=1.0}}")
    };
    let faults: Vec<String> = points.iter().map(fault).collect();
    let seconds = 6 + 5 * points.len();
    let trial = Trial::of("transfer", contender, Some(ServerKind::named("postgres")))
        .set("blocks=1")
        .set(&format!("duration_s={seconds}.0"))
        .set(&format!("faults=[{}]", faults.join(",")));
    let (record, told) = trial.run()?;
    // The last may come too late for anybody to get there.
    let effective = record.faults.faults.iter().filter(|fault| fault.effective).count();
    assert!(effective >= 1, "{contender}: {:?}\n{told}", record.faults);
    for check in ["exclusion", "lost-update", "exactly-once", "conservation"] {
        assert_not_violated(&record, check, &format!("{contender}: {told}"));
    }
    Some((record, told))
}

fn money(record: &RunRecord) -> &CheckVerdict {
    record.verdicts.iter().find(|each| each.check == "money").unwrap()
}

fn figure(record: &RunRecord, name: &str) -> u64 {
    let figure = money(record).figures.iter().find(|figure| figure.name == name).unwrap();
    match figure.amount {
        Amount::Count(count) => count,
        Amount::Ns(_) => panic!("{figure:?}"),
    }
}

/// Where the design says that money is neither lost nor made, whenever its coordinator dies.
fn keeps_the_money(contender: &'static str, points: &[&str]) -> Option<(RunRecord, String)> {
    let (record, told) = killed_at(contender, points)?;
    let kinds: std::collections::BTreeSet<&str> = record
        .faults
        .faults
        .iter()
        .filter(|fault| fault.effective)
        .map(|fault| fault.target.as_str())
        .collect();
    assert!(kinds.len() >= 2, "{contender}: {kinds:?}");
    let money = money(&record);
    assert!(
        matches!(money.verdict, Verdict::Holds | Verdict::Unknown { .. }) && money.violations == 0,
        "{contender}: {money:?}\n{told}"
    );
    assert!(money.examined > 20, "{contender}: {money:?}");
    assert!(record.tasks.completed > 20, "{contender}: {:?}", record.tasks);
    Some((record, told))
}

#[test]
fn one_transaction_keeps_the_money_and_nothing_is_stuck() {
    let Some((record, told)) = keeps_the_money("transfer-xact", &["begun", "first-changed", "both-changed"])
    else {
        return;
    };
    assert_eq!(figure(&record, "transfers in doubt at the end"), 0, "{told}");
}

#[test]
fn compensation_undoes_what_was_half_done() {
    keeps_the_money("transfer-saga", &["begun", "first-changed", "both-changed"]);
}

#[test]
fn two_phases_keep_the_money_at_every_step_of_the_coordinator() {
    let points = ["first-changed", "first-prepared", "all-prepared", "decided", "first-committed"];
    keeps_the_money("transfer-2pc", &points);
}

#[test]
fn three_phases_keep_the_money_where_the_databases_can_ask_each_other() {
    let points =
        ["first-prepared", "all-prepared", "first-pre-committed", "all-pre-committed", "first-committed"];
    keeps_the_money("transfer-3pc", &points);
}

#[test]
fn money_is_lost_where_one_change_is_made_without_the_other() {
    for (contender, point) in
        [("transfer-locks", "first-changed"), ("transfer-3pc-apart", "first-pre-committed")]
    {
        let Some((record, told)) = killed_at(contender, &[point]) else { continue };
        let kills = record.faults.faults.iter().filter(|fault| fault.effective).count() as u64;
        assert!(matches!(money(&record).verdict, Verdict::Violated { .. }), "{contender}: {told}");
        // One unit of each transfer that was there: the one that stood still, and what else its node had under way, six in all.
        let strayed = figure(&record, "lost") + figure(&record, "made");
        assert!((1..=6 * kills).contains(&strayed), "{contender}: {strayed} units, {kills} kills");
    }
}
