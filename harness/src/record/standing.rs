//! What a row did: what a contender did and what the scenario foretold are two things, and whoever let two in or lost a write never
//! passes, also where that was to be shown.

use super::run::{Role, RunRecord};
use super::verdict::{CheckVerdict, Expected, Verdict};

/// What can be said of a row, or of all contenders together, after all checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Everything asked holds, in valid runs, and the controls worked.
    Pass,
    /// It did what had to be left undone; a witness stands even in an invalid run. The gravest deed first.
    Violated(Vec<Deed>),
    /// It did what the scenario foretold, and nothing else that is wrong.
    Foretold(Vec<Deed>),
    /// A violation that the scenario foretold did not show in so many answers.
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

/// What a row did against one check, over all its runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    /// Name of the check.
    pub check: String,
    /// What was counted, such as `updates lost`.
    pub counted: String,
    /// How many.
    pub times: u64,
    /// Whether the scenario foretold it.
    pub foretold: bool,
}

/// Whether one answer is what was promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// It is, or nothing was promised.
    Kept,
    /// It is not.
    Broken,
    /// The check could not tell.
    Untold,
}

impl CheckVerdict {
    /// Compares the answer with what the scenario promised.
    #[must_use]
    pub fn promise(&self) -> Promise {
        match (&self.verdict, self.expected) {
            (Verdict::NotApplicable { .. }, Expected::Holds) | (_, Expected::Either) => Promise::Kept,
            (Verdict::Unknown { .. }, _) => Promise::Untold,
            (Verdict::Violated { .. }, Expected::Holds)
            | (Verdict::Holds | Verdict::NotApplicable { .. }, Expected::Violated) => Promise::Broken,
            (Verdict::Violated { .. }, Expected::Violated) | (Verdict::Holds, Expected::Holds) => {
                Promise::Kept
            }
        }
    }

    pub(super) fn is_violated(&self) -> bool {
        matches!(self.verdict, Verdict::Violated { .. })
    }
}

pub(super) fn role(row: &[RunRecord]) -> Role {
    row.first().map_or(Role::Control, |run| run.role)
}

/// A control that excludes nothing, so that the checks must catch it.
#[must_use]
pub fn must_be_caught(row: &[RunRecord]) -> bool {
    role(row) == Role::Control
        && row.iter().flat_map(|run| &run.verdicts).any(|answer| answer.expected == Expected::Violated)
}

/// The wait that a control promised; a promise of 0 cannot be met to a share and is not judged.
#[must_use]
pub fn programmed_ns(row: &[RunRecord]) -> Option<u64> {
    row.iter().find_map(|run| run.programmed_delay_ns).filter(|_| role(row) == Role::Control)
}

/// What the answers about a row say, leaving the controls of the batch aside.
pub(super) fn standing(row: &[RunRecord]) -> Standing {
    let answers = || row.iter().flat_map(|run| &run.verdicts);
    let broken = || answers().filter(|answer| answer.promise() == Promise::Broken);
    let control = role(row) == Role::Control;
    let deeds = deeds(row.iter());
    if broken().any(CheckVerdict::is_violated) {
        Standing::Violated(deeds)
    } else if must_be_caught(row) {
        let caught = |run: &&RunRecord| {
            run.verdicts.iter().any(|answer| answer.expected == Expected::Violated && answer.is_violated())
        };
        Standing::Caught(row.iter().filter(caught).count(), row.len())
    } else if programmed_ns(row).is_some_and(|ns| ns > 0) {
        Standing::Exact(row.iter().filter(|run| run.delay_is_exact() == Some(true)).count(), row.len())
    } else if answers().all(|answer| matches!(answer.verdict, Verdict::NotApplicable { .. })) {
        if control { Standing::NotJudged } else { Standing::NotProven }
    } else if broken().next().is_some() {
        Standing::Held(broken().count() as u64)
    } else if row.iter().any(|run| too_few_regressions(run).is_some()) {
        Standing::Held(row.iter().filter(|run| too_few_regressions(run).is_some()).count() as u64)
    } else if !control && !deeds.is_empty() {
        Standing::Foretold(deeds)
    } else if answers().any(|answer| answer.promise() == Promise::Untold) {
        Standing::Unknown
    } else if row.iter().any(|run| !run.invalid.is_empty()) {
        Standing::NotProven
    } else {
        Standing::Pass
    }
}

/// The same with its probes in it: what one of them broke, the row broke.
pub(super) fn with_probes(row: &[RunRecord], probes: &[RunRecord]) -> Standing {
    let own =
        || probes.iter().filter(|probe| row.first().is_some_and(|run| run.contender == probe.contender));
    let broke = |probe: &RunRecord| {
        probe.verdicts.iter().any(|answer| answer.is_violated() && answer.promise() == Promise::Broken)
    };
    match own().any(broke) {
        true => Standing::Violated(deeds(row.iter().chain(own()))),
        false => standing(row),
    }
}

/// What runs did, those deeds first that were not foretold, then the more frequent.
fn deeds<'a>(runs: impl Iterator<Item = &'a RunRecord>) -> Vec<Deed> {
    let mut deeds: Vec<Deed> = Vec::new();
    for answer in runs.flat_map(|run| &run.verdicts).filter(|answer| answer.is_violated()) {
        let (times, foretold) = (answer.violations.max(1), answer.expected != Expected::Holds);
        match deeds.iter_mut().find(|deed| deed.check == answer.check && deed.foretold == foretold) {
            Some(deed) => deed.times += times,
            None => deeds.push(Deed {
                check: answer.check.clone(),
                counted: answer.counted.clone(),
                times,
                foretold,
            }),
        }
    }
    deeds.sort_by_key(|deed| (deed.foretold, std::cmp::Reverse(deed.times)));
    deeds
}

/// The gravest of several standings.
pub(super) fn gravest<'a>(all: impl Iterator<Item = &'a Standing> + Clone) -> Standing {
    let together = |part: fn(&Standing) -> &[Deed]| -> Vec<Deed> {
        let mut sum: Vec<Deed> = Vec::new();
        for deed in all.clone().flat_map(part) {
            match sum.iter_mut().find(|other| other.check == deed.check && other.foretold == deed.foretold) {
                Some(other) => other.times += deed.times,
                None => sum.push(deed.clone()),
            }
        }
        sum.sort_by_key(|deed| (deed.foretold, std::cmp::Reverse(deed.times)));
        sum
    };
    let held: u64 = all.clone().map(|of| if let Standing::Held(n) = of { *n } else { 0 }).sum();
    let violated = together(|of| if let Standing::Violated(deeds) = of { deeds } else { &[] });
    let foretold = together(|of| if let Standing::Foretold(deeds) = of { deeds } else { &[] });
    let any = |standing: &Standing| all.clone().any(|of| of == standing);
    if !violated.is_empty() {
        Standing::Violated(violated)
    } else if held > 0 {
        Standing::Held(held)
    } else if any(&Standing::Unknown) {
        Standing::Unknown
    } else if all.clone().next().is_none() || any(&Standing::NotProven) {
        Standing::NotProven
    } else if !foretold.is_empty() {
        Standing::Foretold(foretold)
    } else {
        Standing::Pass
    }
}

/// Whether fewer hits than promised ended in a token regression.
pub(super) fn too_few_regressions(record: &RunRecord) -> Option<String> {
    let faults = &record.faults;
    let (hits, regressed) = (faults.hit_a_holder(), faults.regressed());
    let share = faults.least_share?;
    (hits > 0 && faults.too_few().is_none() && (regressed as f64) < share * hits as f64).then(|| {
        let share = share * 100.0;
        format!(
            "{regressed} of {hits} faults that hit a holder ended in a token regression, {share:.0} % were promised"
        )
    })
}
