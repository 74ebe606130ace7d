//! Every clause, in turn.

use std::time::Duration;

use tokio::time::timeout;

use super::bench::Bench;
use super::clause::{Clause, Ended};
use super::{exclusion, leaving, loss, waiting, words};

/// Every clause, in the order in which they are tried.
pub const ALL: &[Clause] = &[
    exclusion::ONE_HOLDER,
    exclusion::UNDER_LOAD,
    exclusion::TOKENS,
    exclusion::LEVELS,
    exclusion::MANY,
    exclusion::SHARED,
    waiting::TRY,
    waiting::DEADLINE,
    waiting::HAND_OVER,
    waiting::FAIR,
    words::NAMES,
    words::AT_ONCE_CLAUSE,
    words::COUNTS,
    leaving::CLOSE,
    leaving::KILLED,
    loss::KEPT,
    loss::LEASE,
    loss::REPORTED,
];

/// None takes as long as this.
const PATIENCE: Duration = Duration::from_secs(90);

/// What came of all clauses.
#[derive(Debug, Default)]
pub struct Told {
    /// Promises of which every clause held.
    pub shown: Vec<&'static str>,
    /// Promises of which one was broken.
    pub broken: Vec<&'static str>,
    /// What is not promised.
    pub not_promised: Vec<&'static str>,
    /// How many clauses were broken, those that are about no promise included.
    pub failures: usize,
}

/// Tries every clause, and says how each ended.
pub async fn run(bench: &Bench, mut say: impl FnMut(&Clause, &Ended)) -> Told {
    let promises = bench.promises();
    let mut told = Told::default();
    for clause in ALL {
        let ended = one(bench, clause).await;
        say(clause, &ended);
        match (&ended, clause.about) {
            (Ended::Broken { .. }, about) => {
                told.failures += 1;
                told.broken.extend(about);
            }
            (Ended::Holds, Some(about)) => told.shown.push(about),
            (Ended::Holds | Ended::NotPromised, _) => {}
        }
    }
    told.shown.retain(|shown| !told.broken.contains(shown));
    told.not_promised =
        promises.named().iter().filter(|(_, promised)| !promised).map(|(name, _)| *name).collect();
    told
}

async fn one(bench: &Bench, clause: &Clause) -> Ended {
    if !clause.is_asked(&bench.promises()) {
        return Ended::NotPromised;
    }
    let tried = timeout(PATIENCE, (clause.run)(bench)).await;
    let said = bench.end().await;
    match tried.unwrap_or_else(|_| Err(format!("nothing for {PATIENCE:?}"))) {
        Ok(()) => Ended::Holds,
        Err(came) => Ended::Broken { came, said, log: bench.log_end() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::message::Promises;

    #[test]
    fn every_promise_has_a_clause_and_every_clause_is_about_one_that_there_is() {
        let names: Vec<&str> = Promises::default().named().iter().map(|(name, _)| *name).collect();
        let about: Vec<&str> = ALL.iter().filter_map(|clause| clause.about).collect();
        assert!(names.iter().all(|name| about.contains(name)), "{names:?} {about:?}");
        assert!(about.iter().all(|about| names.contains(about)), "{names:?} {about:?}");
    }
}
