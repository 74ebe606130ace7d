//! Created once: what steps find or create comes into being at most once, and before anybody claims to have found it.

use super::check::{Check, Fold, MustCatch};
use super::findings::{Findings, Found, by_agent};
use crate::judge::per::PerStep;
use crate::model::{Event, Facts, Outcome, StepRef, What};

/// A step that finds or creates its resource writes only when it has created it. So a second such write is a second
/// resource, and a step that completed without a write has found something only if there was a write before it entered. A
/// creation that was abandoned is none: the next one is the first. What was never created, because all who asked for it were
/// told that they got nothing, is counted beside.
pub(super) const CHECK: Check = Check {
    name: "created-once",
    question: "Was nothing that steps find or create created twice, or found before it existed?",
    counted: "creations too many or too early",
    must_catch_none: MustCatch::WhereItApplies,
    begin,
};

#[derive(Debug, Clone, Copy, Default)]
struct Visit {
    /// What had been written before it entered.
    existed: bool,
    created: bool,
}

struct Watch<'a> {
    facts: &'a Facts,
    found: Findings,
    visits: PerStep<'a, Visit>,
    /// By resource: who wrote first.
    creators: Vec<Option<StepRef>>,
    asked_for: Vec<bool>,
    again: u64,
}

fn begin(facts: &Facts) -> Box<dyn Fold + '_> {
    let resources = facts.plan.resources.len();
    Box::new(Watch {
        facts,
        found: Findings::default(),
        visits: PerStep::new(&facts.plan),
        creators: vec![None; resources],
        asked_for: vec![false; resources],
        again: 0,
    })
}

impl Fold for Watch<'_> {
    fn see(&mut self, at: usize, event: &Event) {
        let step = self.facts.plan.step(event.step);
        let resource = step.resource as usize;
        let named = &self.facts.plan.resources[resource];
        let looks = step.create_ns.is_some();
        let visit = &mut self.visits[event.step];
        match &event.what {
            What::Invoked if looks && !self.asked_for[resource] => {
                self.asked_for[resource] = true;
                self.found.examined += 1;
            }
            What::Entered { .. } => visit.existed = self.creators[resource].is_some(),
            What::Left { wrote: Some(_) } => {
                visit.created = true;
                if let Some(creator) = self.creators[resource].filter(|_| looks) {
                    self.again += 1;
                    let note = || format!("{named} was created a second time");
                    self.found.violated(at, || (vec![creator, event.step], note()));
                }
                self.creators[resource].get_or_insert(event.step);
            }
            What::Returned { outcome: Outcome::Completed } if looks && !visit.existed && !visit.created => {
                let note = || format!("completed without {named}, which did not exist when it entered");
                self.found.violated(at, || (vec![event.step], note()));
            }
            _ => {}
        }
    }

    fn finish(self: Box<Self>) -> Found {
        let Self { mut found, creators, asked_for, again, .. } = *self;
        let created = creators.iter().zip(&asked_for).filter(|(creator, asked)| **asked && creator.is_some());
        let created = created.count() as u64;
        found.count("created", created);
        found.count("never created", found.examined - created);
        found.count("created again", again);
        found.answer(by_agent, "no step finds or creates anything")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::checks::Judgement;
    use crate::judge::fixture::Told;
    use crate::judge::fixture::{completed, creating, entered, figure, held, left, witness};
    use crate::record::{Amount, Verdict};

    fn judge(told: &Told) -> Judgement {
        told.judged_by(&CHECK)
    }

    fn found() -> What {
        What::Left { wrote: None }
    }

    #[test]
    fn accepts_one_creation_and_finders_after_it() {
        let table = [
            (1, 0, What::Invoked),
            (1, 1, What::Invoked),
            (1, 0, entered(0, 0)),
            (5, 0, left(1)),
            (5, 1, entered(0, 1)),
            (6, 1, found()),
            (6, 1, completed()),
            (6, 0, completed()),
        ];
        let judgement = judge(&creating(2, &table));
        assert_eq!(held(&judgement), (Verdict::Holds, 1, 0));
        assert_eq!(figure(&judgement, "created"), Amount::Count(1));
        assert_eq!(figure(&judgement, "never created"), Amount::Count(0));
    }

    #[test]
    fn accepts_a_creation_after_one_that_was_abandoned() {
        let table = [
            (1, 0, What::Invoked),
            (1, 0, entered(0, 0)),
            (2, 0, What::Abandoned),
            (3, 0, entered(0, 0)),
            (5, 0, left(1)),
            (6, 0, completed()),
        ];
        assert_eq!(judge(&creating(1, &table)).verdict, Verdict::Holds);
    }

    #[test]
    fn rejects_a_second_creation() {
        let table = [
            (1, 0, What::Invoked),
            (1, 0, entered(0, 0)),
            (1, 1, entered(0, 0)),
            (5, 0, left(1)),
            (5, 1, left(1)),
        ];
        let judgement = judge(&creating(2, &table));
        assert_eq!(figure(&judgement, "created again"), Amount::Count(1));
        assert_eq!(witness(judgement).last().unwrap(), "vm-7 was created a second time");
    }

    #[test]
    fn rejects_who_claims_to_have_found_what_did_not_exist_yet() {
        let table = [
            (1, 0, What::Invoked),
            (1, 1, What::Invoked),
            (1, 0, entered(0, 0)),
            (2, 1, entered(0, 0)),
            (3, 1, found()),
            (3, 1, completed()),
            (5, 0, left(1)),
        ];
        let witness = witness(judge(&creating(2, &table)));
        assert_eq!(witness.last().unwrap(), "completed without vm-7, which did not exist when it entered");
        // Nobody was told that it exists.
        let table = [(1, 0, What::Invoked), (1, 0, entered(0, 0)), (3, 0, found())];
        let judgement = judge(&creating(1, &table));
        assert_eq!(judgement.verdict, Verdict::Holds);
        assert_eq!(figure(&judgement, "never created"), Amount::Count(1));
    }
}
