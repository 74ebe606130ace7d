//! What a check finds, and the witness of the first violation.

use crate::model::{Event, Facts, StepRef, describe};
use crate::record::{Amount, CheckFigure, Verdict};

/// Answer of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// How many things were looked at.
    pub examined: u64,
    /// How many of them violated it.
    pub violations: u64,
    /// What was measured beside the answer.
    pub figures: Vec<CheckFigure>,
    /// Place in the history of the event that shows the first violation, and a step that takes part; `None` also where it shows only at
    /// the end.
    pub shown_by: Option<(usize, StepRef)>,
}

/// What a check has found so far.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) examined: u64,
    violations: u64,
    first: Option<Violation>,
    figures: Vec<CheckFigure>,
}

/// Of what shows only when the history is over.
pub(super) const AT_THE_END: usize = usize::MAX;

/// The first violation: enough to cut its witness out of the history.
struct Violation {
    /// Index of the event that shows it.
    at: usize,
    /// Those who take part in it.
    steps: Vec<StepRef>,
    /// What is wrong.
    note: String,
}

impl Findings {
    /// Counts a violation; who takes part and what is wrong is only asked of the first.
    pub(super) fn violated(&mut self, at: usize, tell: impl FnOnce() -> (Vec<StepRef>, String)) {
        self.violations += 1;
        if self.first.is_none() {
            let (steps, note) = tell();
            self.first = Some(Violation { at, steps, note });
        }
    }

    pub(super) fn count(&mut self, name: &str, count: u64) {
        self.figures.push(CheckFigure { name: name.to_owned(), amount: Amount::Count(count) });
    }

    pub(super) fn time(&mut self, name: &str, ns: u64) {
        self.figures.push(CheckFigure { name: name.to_owned(), amount: Amount::Ns(ns) });
    }

    pub(super) fn is_violated(&self) -> bool {
        self.violations > 0
    }

    /// The answer; `shown` picks the events that a witness needs, `nothing` says why there was nothing to look at.
    pub(super) fn answer(self, shown: fn(&Event) -> bool, nothing: &str) -> Found {
        let Self { examined, violations, first, figures } = self;
        let verdict = match &first {
            Some(_) => Verdict::Violated { witness: Vec::new() },
            None if examined == 0 => Verdict::NotApplicable { reason: nothing.to_owned() },
            None => Verdict::Holds,
        };
        let shown_by = first.as_ref().filter(|first| first.at != AT_THE_END);
        let shown_by = shown_by.and_then(|first| Some((first.at, *first.steps.last()?)));
        let excerpt =
            first.map(|Violation { at, steps, note }| Excerpt { at, steps, note, shown, lines: Vec::new() });
        Found { judgement: Judgement { verdict, examined, violations, figures, shown_by }, excerpt }
    }
}

/// A check's answer after one pass. The witness of a violation is cut out of the history in a second pass, which honest
/// histories do not need: to keep all that it might show would be to keep the history.
#[derive(Debug)]
pub struct Found {
    pub(super) judgement: Judgement,
    pub(super) excerpt: Option<Excerpt>,
}

impl Found {
    pub(super) fn into_judgement(self) -> Judgement {
        let Self { mut judgement, excerpt } = self;
        if let Some(excerpt) = excerpt {
            judgement.verdict = Verdict::Violated { witness: excerpt.witness() };
        }
        judgement
    }
}

/// The smallest excerpt that shows a violation: the events of those who take part, up to the one that shows it.
#[derive(Debug)]
pub(super) struct Excerpt {
    at: usize,
    steps: Vec<StepRef>,
    note: String,
    shown: fn(&Event) -> bool,
    lines: Vec<String>,
}

impl Excerpt {
    pub(super) fn see(&mut self, facts: &Facts, at: usize, event: &Event) {
        if at <= self.at && (self.shown)(event) && self.steps.contains(&event.step) {
            self.lines.push(describe(event, &facts.plan, facts.origin_ns));
        }
    }

    pub(super) fn witness(self) -> Vec<String> {
        self.lines.into_iter().chain([self.note]).collect()
    }
}

/// What the agent says: who was inside.
pub(super) fn by_agent(event: &Event) -> bool {
    event.node.is_none()
}
