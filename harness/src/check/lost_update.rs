//! Lost update: every applied write was based on the value before it.

use std::collections::HashMap;

use super::{Check, Judgement, MustCatch, excerpt};
use crate::event::What;
use crate::plan::StepRef;
use crate::run::Run;

/// A section reads its slot's value at entry and writes that plus one when it leaves; needs no clock. A write that
/// does not follow on the value it replaces has lost whatever came between.
pub(super) const CHECK: Check = Check {
    name: "lost-update",
    question: "Did every write build on the value that it replaced?",
    must_catch_none: MustCatch::Yes,
    judge,
};

fn judge(run: &Run) -> Judgement {
    let mut slots: HashMap<(u32, u32), (u64, Option<StepRef>)> = HashMap::new();
    let mut entered: HashMap<StepRef, u32> = HashMap::new();
    let (mut writes, mut violations, mut witness) = (0, 0, Vec::new());
    for event in &run.events {
        match event.what {
            What::Entered { slot: Some(slot), .. } => {
                entered.insert(event.step, slot);
            }
            What::Left { wrote } => {
                let (Some(slot), Some(wrote)) = (entered.remove(&event.step), wrote) else { continue };
                let resource = run.plan.step(event.step).resource;
                let (value, writer) = slots.entry((resource, slot)).or_default();
                writes += 1;
                if wrote != *value + 1 {
                    violations += 1;
                    if witness.is_empty() {
                        let steps: Vec<_> = writer.iter().copied().chain([event.step]).collect();
                        witness = excerpt(run, &steps, event.at_ns);
                        witness.push(format!("value {value} was replaced by {wrote}, not {}", *value + 1));
                    }
                }
                (*value, *writer) = (wrote, Some(event.step));
            }
            _ => {}
        }
    }
    Judgement::new(writes, violations, witness, "nothing was written to a slot")
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{entered, left, run};
    use super::*;
    use crate::record::Verdict;

    #[test]
    fn accepts_writes_that_build_on_each_other() {
        let history =
            run(1, 2, &[(1, 0, entered(0, 0)), (2, 0, left(1)), (3, 1, entered(0, 1)), (4, 1, left(2))]);
        assert_eq!(judge(&history), Judgement { verdict: Verdict::Holds, examined: 2, violations: 0 });
    }

    #[test]
    fn rejects_a_write_over_an_unseen_value_and_shows_both_sections() {
        let history =
            run(1, 2, &[(1, 0, entered(0, 0)), (2, 1, entered(0, 0)), (3, 0, left(1)), (4, 1, left(1))]);
        let Judgement { verdict: Verdict::Violated { witness }, violations: 1, .. } = judge(&history) else {
            panic!("not caught");
        };
        assert_eq!(witness.len(), 5);
        assert_eq!(witness[4], "value 1 was replaced by 1, not 2");
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
