//! What the answers of the checks amount to, for a row and for the batch.

use harness::record::{CheckVerdict, Expected, Role, RunRecord, Verdict};

use crate::{Comparison, Row};

/// What can be said of a row, or of all contenders together, after all checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Every answer is what the scenario promised, in valid runs, and the controls worked.
    Pass,
    /// Something that had to hold was violated so many times; a witness stands even in an invalid run.
    Violated(u64),
    /// A violation that the scenario promised did not show in so many answers.
    Held(u64),
    /// A check could not tell.
    Unknown,
    /// The answers are right but prove nothing: a run is invalid, a control failed, or the batch has no end.
    NotProven,
    /// A control of which no check asks anything.
    NotJudged,
    /// A control that must be caught was caught in so many of its runs.
    Caught(usize, usize),
    /// A control measured what was programmed, in so many of its runs.
    Exact(usize, usize),
}

/// Whether one answer is what was promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Promise {
    Kept,
    Broken,
    Untold,
}

/// Compares an answer with what the scenario promised.
pub(crate) fn promise(answer: &CheckVerdict) -> Promise {
    match (&answer.verdict, answer.expected) {
        (Verdict::NotApplicable { .. }, _) | (_, Expected::Either) => Promise::Kept,
        (Verdict::Unknown { .. }, _) => Promise::Untold,
        (Verdict::Violated { .. }, Expected::Holds) | (Verdict::Holds, Expected::Violated) => Promise::Broken,
        (Verdict::Violated { .. }, Expected::Violated) | (Verdict::Holds, Expected::Holds) => Promise::Kept,
    }
}

/// Whether a run shows a violation that it must show.
fn caught(run: &RunRecord) -> bool {
    run.verdicts.iter().any(|answer| {
        answer.expected == Expected::Violated && matches!(answer.verdict, Verdict::Violated { .. })
    })
}

impl Row {
    /// A control that excludes nothing, so that the checks must catch it.
    pub(crate) fn must_be_caught(&self) -> bool {
        self.role == Role::Control
            && self
                .records
                .iter()
                .flat_map(|run| &run.verdicts)
                .any(|answer| answer.expected == Expected::Violated)
    }

    /// The wait that a control promised; a promise of 0 cannot be met to a share and is not judged.
    pub(crate) fn programmed_ns(&self) -> Option<u64> {
        self.records.iter().find_map(|run| run.programmed_delay_ns).filter(|_| self.role == Role::Control)
    }

    /// What the answers about this row say, leaving the controls of the batch aside.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let runs = self.records.len();
        let answers = || self.records.iter().flat_map(|run| &run.verdicts);
        let broken = || answers().filter(|answer| promise(answer) == Promise::Broken);
        let had_to_hold = broken().filter(|answer| answer.expected == Expected::Holds);
        let violations: u64 = had_to_hold.map(|answer| answer.violations.max(1)).sum();
        if violations > 0 {
            Standing::Violated(violations)
        } else if self.must_be_caught() {
            Standing::Caught(self.records.iter().filter(|run| caught(run)).count(), runs)
        } else if self.programmed_ns().is_some_and(|ns| ns > 0) {
            Standing::Exact(
                self.records.iter().filter(|run| run.delay_is_exact() == Some(true)).count(),
                runs,
            )
        } else if answers().all(|answer| matches!(answer.verdict, Verdict::NotApplicable { .. })) {
            if self.role == Role::Control { Standing::NotJudged } else { Standing::NotProven }
        } else if broken().next().is_some() {
            Standing::Held(broken().count() as u64)
        } else if answers().any(|answer| promise(answer) == Promise::Untold) {
            Standing::Unknown
        } else if self.records.iter().any(|run| !run.invalid.is_empty()) {
            Standing::NotProven
        } else {
            Standing::Pass
        }
    }
}

impl Standing {
    /// Nothing speaks against the row.
    pub(crate) fn is_good(self) -> bool {
        match self {
            Self::Pass | Self::NotJudged => true,
            Self::Caught(k, n) | Self::Exact(k, n) => k == n,
            Self::Violated(_) | Self::Held(_) | Self::Unknown | Self::NotProven => false,
        }
    }
}

impl Comparison {
    /// Whether the bench itself was shown to work: something without exclusion was caught, in every block, if anything had
    /// to be kept apart; what was programmed was measured, and no control broke another promise.
    pub(crate) fn controls_hold(&self) -> bool {
        let mut checks = self.controls().filter(|row| row.must_be_caught()).peekable();
        (checks.peek().is_some() || self.manifest.plan.unlimited)
            && checks.all(|row| row.standing().is_good())
            && self.controls().all(|row| match row.standing() {
                Standing::Unknown | Standing::NotProven => true,
                other => other.is_good(),
            })
    }

    /// [`Row::standing`], where a pass counts only if the controls worked and the batch came to its end.
    #[must_use]
    pub fn standing_of(&self, row: &Row) -> Standing {
        match row.standing() {
            Standing::Pass if !self.controls_hold() || self.manifest.end.is_none() => Standing::NotProven,
            other => other,
        }
    }

    /// What can be said of all contenders together: the gravest standing among them.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let all: Vec<Standing> = self.contenders().map(|row| self.standing_of(row)).collect();
        let violations: u64 = all.iter().map(|s| if let Standing::Violated(n) = s { *n } else { 0 }).sum();
        let held: u64 = all.iter().map(|s| if let Standing::Held(n) = s { *n } else { 0 }).sum();
        if violations > 0 {
            Standing::Violated(violations)
        } else if held > 0 {
            Standing::Held(held)
        } else if all.contains(&Standing::Unknown) {
            Standing::Unknown
        } else if all.is_empty() || all.contains(&Standing::NotProven) {
            Standing::NotProven
        } else {
            Standing::Pass
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn row<'a>(comparison: &'a Comparison, name: &str) -> &'a Row {
        comparison.rows.iter().find(|row| row.contender == name).unwrap()
    }

    #[test]
    fn a_violation_outweighs_everything() {
        let comparison = fixture::small();
        assert_eq!(comparison.standing_of(row(&comparison, "redis-naive")), Standing::Violated(3));
        assert_eq!(comparison.standing_of(row(&comparison, "ring-queue")), Standing::Pass);
        assert_eq!(comparison.standing(), Standing::Violated(3));
    }

    #[test]
    fn controls_are_judged_by_what_they_must_show() {
        let comparison = fixture::small();
        assert_eq!(row(&comparison, "none").standing(), Standing::Caught(3, 3));
        assert_eq!(row(&comparison, "noop").standing(), Standing::Exact(3, 3));
    }

    #[test]
    fn a_control_that_escapes_leaves_a_pass_unproven() {
        let mut comparison = fixture::small();
        let none = comparison.rows.iter_mut().find(|row| row.contender == "none").unwrap();
        for answer in &mut none.records[1].verdicts {
            answer.verdict = Verdict::Holds;
        }
        assert_eq!(none.standing(), Standing::Caught(2, 3));
        assert_eq!(comparison.standing_of(row(&comparison, "ring-queue")), Standing::NotProven);
    }

    #[test]
    fn a_control_that_is_off_by_more_than_a_tenth_leaves_a_pass_unproven() {
        let mut comparison = fixture::small();
        let noop = comparison.rows.iter_mut().find(|row| row.contender == "noop").unwrap();
        noop.records[0].programmed_delay_ns = Some(4_000_000);
        assert_eq!(noop.standing(), Standing::Exact(2, 3));
        assert_eq!(comparison.standing_of(row(&comparison, "ring-queue")), Standing::NotProven);
    }

    #[test]
    fn an_invalid_run_or_a_killed_batch_proves_nothing() {
        let mut comparison = fixture::small();
        comparison.rows[0].records[0].invalid.push("generator saturated".to_owned());
        assert_eq!(comparison.standing_of(&comparison.rows[0]), Standing::NotProven);
        let mut killed = fixture::small();
        killed.manifest.end = None;
        assert_eq!(killed.standing_of(&killed.rows[0]), Standing::NotProven);
    }

    #[test]
    fn a_promised_violation_that_does_not_show_is_not_a_pass() {
        let mut comparison = fixture::small();
        comparison.rows[0].records[0].verdicts[0].expected = Expected::Violated;
        assert_eq!(comparison.rows[0].standing(), Standing::Held(1));
    }

    #[test]
    fn without_any_answer_nothing_passes() {
        let mut comparison = fixture::small();
        comparison.rows[0].records.iter_mut().for_each(|run| run.verdicts.clear());
        assert_eq!(comparison.rows[0].standing(), Standing::NotProven);
        let noop = comparison.rows.iter_mut().find(|row| row.contender == "noop").unwrap();
        for run in &mut noop.records {
            run.verdicts.clear();
            run.programmed_delay_ns = Some(0);
        }
        assert_eq!(noop.standing(), Standing::NotJudged);
        assert!(comparison.controls_hold());
    }

    #[test]
    fn where_nothing_has_to_be_kept_apart_no_control_must_be_caught() {
        let mut comparison = fixture::small();
        comparison.rows.retain(|row| row.contender != "none");
        assert!(!comparison.controls_hold());
        comparison.manifest.plan.unlimited = true;
        assert!(comparison.controls_hold());
    }

    #[test]
    fn a_control_that_loses_tasks_is_not_excused_by_being_caught() {
        let mut comparison = fixture::small();
        let none = comparison.rows.iter_mut().find(|row| row.contender == "none").unwrap();
        let conservation = none.records[0].verdicts.last_mut().unwrap();
        conservation.verdict = Verdict::Violated { witness: Vec::new() };
        conservation.violations = 4;
        assert_eq!(none.standing(), Standing::Violated(4));
        assert!(!comparison.controls_hold());
    }
}
