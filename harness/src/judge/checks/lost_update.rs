//! Lost update: every applied write was based on the value before it.

use super::check::{Check, Fold, MustCatch};
use super::findings::{Findings, Found, by_agent};
use crate::judge::per::{PerSlot, PerStep};
use crate::model::{Event, Facts, StepRef, What};

/// A section reads its slot's value at entry and writes that plus one when it leaves; needs no clock. A write that
/// does not follow on the value it replaces has lost whatever came between: the updates lost are the writes that were
/// acknowledged minus the value at the end.
pub(super) const CHECK: Check = Check {
    name: "lost-update",
    question: "Did every write build on the value that it replaced?",
    counted: "updates lost",
    must_catch_none: MustCatch::Yes,
    begin,
};

#[derive(Debug, Clone, Default)]
struct Slot {
    value: u64,
    writes: u64,
    writer: Option<StepRef>,
}

struct Watch<'a> {
    facts: &'a Facts,
    slots: PerSlot<Slot>,
    entered: PerStep<'a, Option<u32>>,
    found: Findings,
}

fn begin(facts: &Facts) -> Box<dyn Fold + '_> {
    let (slots, entered) = (PerSlot::new(&facts.plan), PerStep::new(&facts.plan));
    Box::new(Watch { facts, slots, entered, found: Findings::default() })
}

impl Fold for Watch<'_> {
    fn see(&mut self, at: usize, event: &Event) {
        match event.what {
            What::Entered { slot: Some(slot), .. } => self.entered[event.step] = Some(slot),
            What::Left { wrote: Some(wrote) } => {
                let resource = self.facts.plan.step(event.step).resource;
                let slot = self.entered[event.step].and_then(|slot| self.slots.get(resource, slot));
                let Some(slot) = slot else { return };
                self.found.examined += 1;
                let next = slot.value.wrapping_add(1);
                if wrote != next {
                    self.found.violated(at, || {
                        let steps = slot.writer.iter().copied().chain([event.step]).collect();
                        (steps, format!("value {} was replaced by {wrote}, not {next}", slot.value))
                    });
                }
                *slot = Slot { value: wrote, writes: slot.writes + 1, writer: Some(event.step) };
            }
            _ => {}
        }
    }

    fn finish(self: Box<Self>) -> Found {
        let Self { slots, mut found, .. } = *self;
        found.count("updates lost", slots.iter().map(|slot| slot.writes.saturating_sub(slot.value)).sum());
        found.answer(by_agent, "nothing was written to a slot")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::checks::Judgement;
    use crate::judge::fixture::Told;
    use crate::judge::fixture::{entered, figure, held, left, run, witness};
    use crate::record::{Amount, Verdict};

    fn judge(told: &Told) -> Judgement {
        told.judged_by(&CHECK)
    }

    #[test]
    fn accepts_writes_that_build_on_each_other() {
        let history =
            run(1, 2, &[(1, 0, entered(0, 0)), (2, 0, left(1)), (3, 1, entered(0, 1)), (4, 1, left(2))]);
        let judgement = judge(&history);
        assert_eq!(held(&judgement), (Verdict::Holds, 2, 0));
        assert_eq!(figure(&judgement, "updates lost"), Amount::Count(0));
    }

    #[test]
    fn rejects_a_write_over_an_unseen_value_and_shows_both_sections() {
        let history =
            run(1, 2, &[(1, 0, entered(0, 0)), (2, 1, entered(0, 0)), (3, 0, left(1)), (4, 1, left(1))]);
        let judgement = judge(&history);
        assert_eq!(judgement.violations, 1);
        let witness = witness(judgement);
        assert_eq!(witness.len(), 5);
        assert_eq!(witness[4], "value 1 was replaced by 1, not 2");
    }

    #[test]
    fn one_stale_write_loses_all_that_came_between() {
        let history = run(
            1,
            3,
            &[
                (1, 0, entered(0, 0)),
                (2, 1, entered(0, 0)),
                (3, 1, left(1)),
                (4, 2, entered(0, 1)),
                (5, 2, left(2)),
                (6, 0, left(1)),
            ],
        );
        let judgement = judge(&history);
        assert_eq!((judgement.violations, figure(&judgement, "updates lost")), (1, Amount::Count(2)));
    }

    #[test]
    fn a_section_without_effect_loses_nothing() {
        let history =
            run(1, 2, &[(1, 0, entered(0, 0)), (2, 0, What::Left { wrote: None }), (3, 1, entered(0, 0))]);
        assert!(matches!(judge(&history).verdict, Verdict::NotApplicable { .. }));
    }

    #[test]
    fn slots_have_values_of_their_own() {
        let history =
            run(2, 2, &[(1, 0, entered(0, 0)), (1, 1, entered(1, 0)), (2, 0, left(1)), (2, 1, left(1))]);
        assert_eq!(judge(&history).verdict, Verdict::Holds);
    }
}
