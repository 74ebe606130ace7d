//! Exclusion: never more than `level` sections inside a resource, nor more than one in a slot.

use super::check::{Check, Fold, MustCatch};
use super::findings::{Findings, Found, by_agent};
use crate::judge::per::{PerSlot, PerStep};
use crate::model::{Crowd, Event, Facts, Mode, StepRef, What};

/// Counts sections from Entered to Left as the agent saw them, over the resource and in each of its slots; shared ones count as one together. A superseded section may no longer write, so it no
/// longer counts; the physical overlap, in which it does, is reported beside.
///
/// ```text
///   A  ├────────────┄┄┄┄┄┄┄┄┤     superseded when B enters with a higher token
///   B               ├───────────┤
///   inside  1  │  1 (physically 2) │ 1
/// ```
pub(super) const CHECK: Check = Check {
    name: "exclusion",
    question: "Were there ever more steps inside a resource than its level allows?",
    counted: "times too many inside",
    must_catch_none: MustCatch::Yes,
    begin,
};

#[derive(Debug, Clone, Copy, Default)]
struct Inside {
    current: Crowd,
    superseded: Crowd,
}

impl Inside {
    /// Whether more than the level are inside physically.
    fn is_crowded(self, level: u32) -> bool {
        (self.current + self.superseded).slots() > level
    }
}

struct Watch<'a> {
    facts: &'a Facts,
    resources: Vec<Inside>,
    crowded_since_ns: Vec<Option<u64>>,
    /// How often a step is inside: more than once only if it was run twice.
    steps: PerStep<Inside>,
    /// Who is in each slot and current; of level 1 the resource says it.
    slots: PerSlot<Crowd>,
    /// The slot in which a step is current.
    slot_of: PerStep<Option<u32>>,
    /// By resource: who is inside and current, in the order of their entries; kept until a violation is found.
    sections: Vec<Vec<StepRef>>,
    found: Findings,
    overlaps: u64,
    overlap_ns: u64,
}

fn begin(facts: &Facts) -> Box<dyn Fold + '_> {
    let resources = facts.plan.resources.len();
    Box::new(Watch {
        facts,
        resources: vec![Inside::default(); resources],
        crowded_since_ns: vec![None; resources],
        steps: PerStep::new(&facts.plan),
        slots: PerSlot::new(&facts.plan),
        slot_of: PerStep::new(&facts.plan),
        sections: vec![Vec::new(); resources],
        found: Findings::default(),
        overlaps: 0,
        overlap_ns: 0,
    })
}

impl Watch<'_> {
    /// Keeps the witness of the first violation: who is inside, superseded ones aside.
    fn note(&mut self, resource: usize, event: &Event) {
        if self.found.is_violated() {
            return;
        }
        let sections = &mut self.sections[resource];
        match event.what {
            What::Entered { .. } => sections.push(event.step),
            What::Left { .. } | What::Superseded | What::Abandoned => {
                sections.retain(|step| *step != event.step);
            }
            _ => {}
        }
    }
}

impl Watch<'_> {
    /// Two in one slot are one too many, also where the resource has room. Says how many there are then.
    fn crowded_slot(&mut self, resource: u32, mode: Mode, event: &Event) -> Option<(u32, u32)> {
        match event.what {
            What::Entered { slot: Some(slot), .. } => {
                let crowd = self.slots.get(resource, slot)?;
                *crowd.of(mode) += 1;
                self.slot_of[event.step] = Some(slot);
                (crowd.slots() > 1).then(|| (slot, crowd.count()))
            }
            What::Left { .. } | What::Abandoned | What::Superseded => {
                let slot = self.slot_of[event.step].take()?;
                *self.slots.get(resource, slot)?.of(mode) -= 1;
                None
            }
            _ => None,
        }
    }
}

impl Fold for Watch<'_> {
    fn see(&mut self, at: usize, event: &Event) {
        if event.node.is_some() {
            return;
        }
        let planned = self.facts.plan.step(event.step);
        let (resource, mode) = (planned.resource as usize, planned.mode);
        let level = self.facts.plan.resources[resource].level;
        if level == 0 {
            return;
        }
        self.note(resource, event);
        if let Some((slot, count)) = self.crowded_slot(planned.resource, mode, event).filter(|_| level > 1) {
            let sections = &self.sections[resource];
            self.found.violated(at, || (sections.clone(), format!("{count} inside slot {slot}")));
        }
        let (inside, of_step) = (&mut self.resources[resource], &mut self.steps[event.step]);
        match event.what {
            What::Entered { .. } => {
                self.found.examined += 1;
                *inside.current.of(mode) += 1;
                *of_step.current.of(mode) += 1;
                self.overlaps += u64::from(inside.is_crowded(level));
                if inside.current.slots() > level {
                    let (count, sections) = (inside.current.count(), &self.sections[resource]);
                    let note = || format!("{count} inside, level {level}");
                    self.found.violated(at, || (sections.clone(), note()));
                }
            }
            What::Superseded if of_step.current.count() > 0 => {
                for inside in [inside, of_step] {
                    *inside.current.of(mode) -= 1;
                    *inside.superseded.of(mode) += 1;
                }
            }
            What::Left { .. } | What::Abandoned if of_step.superseded.count() > 0 => {
                *inside.superseded.of(mode) -= 1;
                *of_step.superseded.of(mode) -= 1;
            }
            What::Left { .. } | What::Abandoned if of_step.current.count() > 0 => {
                *inside.current.of(mode) -= 1;
                *of_step.current.of(mode) -= 1;
            }
            _ => return,
        }
        let crowded_since_ns = &mut self.crowded_since_ns[resource];
        match (self.resources[resource].is_crowded(level), *crowded_since_ns) {
            (true, None) => *crowded_since_ns = Some(event.at_ns),
            (false, Some(since_ns)) => {
                self.overlap_ns += event.at_ns - since_ns;
                *crowded_since_ns = None;
            }
            _ => {}
        }
    }

    fn finish(self: Box<Self>) -> Found {
        let Self { facts, crowded_since_ns, mut found, overlaps, overlap_ns, .. } = *self;
        let open_ns =
            crowded_since_ns.iter().flatten().map(|since_ns| facts.end_ns.saturating_sub(*since_ns));
        found.count("physical overlaps", overlaps);
        found.time("overlapping in all", overlap_ns + open_ns.sum::<u64>());
        found.answer(by_agent, "no step of level ≥ 1 entered")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::checks::Judgement;
    use crate::judge::fixture::Told;
    use crate::judge::fixture::{entered, figure, held, left, run, run_of, witness};
    use crate::model::Mode::{Exclusive, Shared};
    use crate::record::{Amount, Verdict};

    fn judge(told: &Told) -> Judgement {
        told.judged_by(&CHECK)
    }

    #[test]
    fn accepts_sections_one_after_the_other() {
        let history =
            run(1, 2, &[(1, 0, entered(0, 0)), (2, 0, left(1)), (2, 1, entered(0, 1)), (3, 1, left(2))]);
        let judgement = judge(&history);
        assert_eq!(held(&judgement), (Verdict::Holds, 2, 0));
        assert_eq!(figure(&judgement, "physical overlaps"), Amount::Count(0));
    }

    #[test]
    fn rejects_an_overlap_and_shows_it() {
        let history =
            run(1, 2, &[(1, 0, entered(0, 0)), (2, 1, entered(0, 0)), (3, 0, left(1)), (4, 1, left(1))]);
        let judgement = judge(&history);
        assert_eq!(judgement.violations, 1);
        assert_eq!(figure(&judgement, "overlapping in all"), Amount::Ns(1_000_000));
        let witness = witness(judgement);
        assert_eq!(witness.len(), 3);
        assert!(witness[0].contains("1.000 ms  vm-7  task 0"), "{witness:?}");
        assert_eq!(witness[2], "2 inside, level 1");
    }

    #[test]
    fn the_witness_leaves_out_those_who_have_left() {
        let history = run(
            1,
            3,
            &[(1, 0, entered(0, 0)), (2, 0, left(1)), (3, 1, entered(0, 1)), (4, 2, entered(0, 1))],
        );
        assert_eq!(witness(judge(&history)).len(), 3);
    }

    #[test]
    fn counts_up_to_the_level_and_not_beyond() {
        let two = [(1, 0, entered(0, 0)), (1, 1, entered(1, 0))];
        assert_eq!(judge(&run(2, 2, &two)).verdict, Verdict::Holds);
        let three = [(1, 0, entered(0, 0)), (1, 1, entered(1, 0)), (1, 2, entered(2, 0))];
        assert_eq!(judge(&run(2, 3, &three)).violations, 1);
    }

    #[test]
    fn two_in_one_slot_are_too_many_also_where_another_is_free() {
        let table = [(1, 0, entered(0, 0)), (2, 1, entered(0, 0)), (3, 0, left(1)), (4, 1, left(1))];
        let judgement = judge(&run(2, 2, &table));
        assert_eq!(judgement.violations, 1);
        assert_eq!(witness(judgement).last().unwrap(), "2 inside slot 0");
        let after = [(1, 0, entered(0, 0)), (2, 0, left(1)), (3, 1, entered(0, 1)), (3, 2, entered(1, 0))];
        assert_eq!(judge(&run(2, 3, &after)).verdict, Verdict::Holds);
    }

    #[test]
    fn shared_sections_exclude_others_and_not_each_other() {
        let modes = [Shared, Shared, Exclusive];
        let mut table = vec![(1, 0, entered(0, 0)), (2, 1, entered(0, 0)), (3, 0, left(0)), (4, 1, left(0))];
        assert_eq!(judge(&run_of(1, &modes, &table)).verdict, Verdict::Holds);
        table.insert(3, (3, 2, entered(0, 0)));
        let judgement = judge(&run_of(1, &modes, &table));
        assert_eq!(
            (judgement.violations, figure(&judgement, "overlapping in all")),
            (1, Amount::Ns(1_000_000))
        );
    }

    #[test]
    fn a_step_that_is_inside_twice_counts_twice() {
        let history = run(1, 1, &[(1, 0, entered(0, 0)), (2, 0, entered(0, 0))]);
        assert_eq!(judge(&history).violations, 1);
    }

    #[test]
    fn superseded_sections_do_not_count_but_overlap_physically() {
        let history = run(
            1,
            2,
            &[
                (1, 0, entered(0, 0)),
                (2, 0, What::Superseded),
                (2, 1, entered(0, 0)),
                (5, 0, What::Left { wrote: None }),
                (9, 1, left(1)),
            ],
        );
        let judgement = judge(&history);
        assert_eq!(held(&judgement), (Verdict::Holds, 2, 0));
        assert_eq!(figure(&judgement, "physical overlaps"), Amount::Count(1));
        assert_eq!(figure(&judgement, "overlapping in all"), Amount::Ns(3_000_000));
    }

    #[test]
    fn says_nothing_about_nothing() {
        assert!(matches!(judge(&run(1, 0, &[])).verdict, Verdict::NotApplicable { .. }));
        assert!(matches!(judge(&run(0, 1, &[(1, 0, entered(0, 0))])).verdict, Verdict::NotApplicable { .. }));
    }
}
