//! All checks put to a history in one pass, where it is long each in one of its own, and the witnesses of what was violated
//! cut out of it in the last.

use super::check::{Check, Fold};
use super::findings::{Found, Judgement};
use crate::model::{Event, Events, Facts};

/// Tasks above which checks are put one after the other: each keeps some tens of bytes for every step.
const MANY: usize = 200_000;

/// The answers of these checks, in their order.
///
/// # Errors
/// Those of the history.
pub fn judge<E: Events + ?Sized>(
    checks: &[&Check],
    facts: &Facts,
    events: &E,
) -> Result<Vec<Judgement>, E::Error> {
    let together = if facts.plan.tasks.len() > MANY { 1 } else { checks.len().max(1) };
    let mut found: Vec<Found> = Vec::new();
    for checks in checks.chunks(together) {
        let mut folds: Vec<Box<dyn Fold + '_>> = checks.iter().map(|check| (check.begin)(facts)).collect();
        events.pass(&mut |at, event| folds.iter_mut().for_each(|fold| fold.see(at, event)))?;
        found.extend(folds.into_iter().map(|fold| fold.finish()));
    }
    let violated = found.iter().any(|found| found.excerpt.is_some());
    if violated {
        events.pass(&mut |at, event| {
            found
                .iter_mut()
                .filter_map(|found| found.excerpt.as_mut())
                .for_each(|excerpt| excerpt.see(facts, at, event));
        })?;
    }
    Ok(found.into_iter().map(Found::into_judgement).collect())
}

impl Check {
    /// This check's answer alone, from a history in memory.
    #[must_use]
    pub fn judge(&self, facts: &Facts, events: &[Event]) -> Judgement {
        let Ok(mut judgements) = judge(&[self], facts, events);
        judgements.remove(0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::ALL;
    use super::*;
    use crate::judge::fixture::{entered, left, run, witness};
    use crate::record::{StoredHistory, write_history};

    #[test]
    fn a_stored_history_is_judged_as_the_one_in_memory() {
        let table = [(1, 0, entered(0, 0)), (2, 1, entered(0, 0)), (3, 0, left(1)), (4, 1, left(1))];
        let told = run(1, 2, &table);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.ndjson.zst");
        write_history(&path, &told.events[..]).unwrap();
        let Ok(held) = judge(ALL, &told.facts, &told.events[..]);
        assert_eq!(judge(ALL, &told.facts, &StoredHistory(path)).unwrap(), held);
        assert_eq!(witness(held[0].clone()).len(), 3, "two entries and what is wrong");
    }

    #[test]
    fn a_history_that_cannot_be_read_is_no_history_without_violations() {
        let missing = StoredHistory("/nonexistent/history.ndjson.zst".into());
        assert!(judge(ALL, &run(1, 1, &[]).facts, &missing).is_err());
    }
}
