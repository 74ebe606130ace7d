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
}

/// What a check has found so far.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) examined: u64,
    violations: u64,
    first: Option<Violation>,
    figures: Vec<CheckFigure>,
}

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

    /// The answer; `shown` picks the events that a witness needs, `nothing` says why there was nothing to look at.
    pub(super) fn answer(
        self,
        facts: &Facts,
        events: &[Event],
        shown: fn(&Event) -> bool,
        nothing: &str,
    ) -> Judgement {
        let Self { examined, violations, first, figures } = self;
        let verdict = match first {
            Some(violation) => Verdict::Violated { witness: excerpt(facts, events, &violation, shown) },
            None if examined == 0 => Verdict::NotApplicable { reason: nothing.to_owned() },
            None => Verdict::Holds,
        };
        Judgement { verdict, examined, violations, figures }
    }
}

/// The smallest excerpt that shows a violation: the events of those who take part, up to the one that shows it.
fn excerpt(facts: &Facts, events: &[Event], violation: &Violation, shown: fn(&Event) -> bool) -> Vec<String> {
    let events = events.iter().take(violation.at + 1);
    let lines = events
        .filter(|event| shown(event) && violation.steps.contains(&event.step))
        .map(|event| describe(event, &facts.plan, facts.origin_ns));
    lines.chain([violation.note.clone()]).collect()
}

/// What the agent says: who was inside.
pub(super) fn by_agent(event: &Event) -> bool {
    event.node.is_none()
}
