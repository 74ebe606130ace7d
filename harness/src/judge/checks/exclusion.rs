//! Exclusion: never more than `level` sections inside a resource, nor more than one in a slot.

use super::check::{Check, Fold, MustCatch};
use super::doubt::{Doubt, Section};
use super::findings::{Findings, Found, by_agent};
use crate::judge::per::{LivePerStep, PerSlot};
use crate::judge::settled::Settles;
use crate::model::{Crowd, Event, Facts, Mode, StepRef, What};

/// Counts sections from Entered to Left as the agent saw them, over the resource and in each of its slots; shared ones count as one together. A superseded section may no longer write, so it no
/// longer counts; the physical overlap, in which it does, is reported beside.
///
/// ```text
///   A  ├────────────┄┄┄┄┄┄┄┄┤     superseded when B enters with a higher token
///   B               ├───────────┤
///   inside  1  │  1 (physically 2) │ 1
/// ```
///
/// A section whose node died unplanned is no witness against whoever entered after that node's last sign of life.
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

/// What is known of a step.
#[derive(Debug, Clone, Copy, Default)]
struct Stay {
    /// How often it is inside: more than once only if it was run twice.
    inside: Inside,
    /// The slot in which it is current.
    slot: Option<u32>,
}

impl Settles for Stay {
    /// That it is not inside.
    type Brief = ();

    fn brief(&self) -> Option<()> {
        let count = (self.inside.current + self.inside.superseded).count();
        (count == 0 && self.slot.is_none()).then_some(())
    }

    fn from_brief((): ()) -> Self {
        Self::default()
    }
}

struct Watch<'a> {
    facts: &'a Facts,
    resources: Vec<Inside>,
    crowded_since_ns: Vec<Option<u64>>,
    stays: LivePerStep<'a, Stay>,
    /// Who is in each slot and current; of level 1 the resource says it.
    slots: PerSlot<Crowd>,
    /// By resource: who is inside and current, in the order of their entries; kept until a violation is found.
    sections: Vec<Vec<StepRef>>,
    found: Findings,
    overlaps: u64,
    overlap_ns: u64,
    /// Where a node died unplanned: what can be told only when the history is over.
    doubt: Option<Doubt<'a>>,
    suspicions: Vec<Suspicion>,
}

/// Too many inside, as it seems.
struct Suspicion {
    at: usize,
    at_ns: u64,
    inside: Vec<Section>,
    /// Counted in this slot, or in the whole resource.
    slot: Option<u32>,
    allowed: u32,
}

fn begin(facts: &Facts) -> Box<dyn Fold + '_> {
    let resources = facts.plan.resources.len();
    Box::new(Watch {
        facts,
        resources: vec![Inside::default(); resources],
        crowded_since_ns: vec![None; resources],
        stays: LivePerStep::new(&facts.plan),
        slots: PerSlot::new(&facts.plan),
        sections: vec![Vec::new(); resources],
        found: Findings::default(),
        overlaps: 0,
        overlap_ns: 0,
        doubt: Doubt::begin(facts),
        suspicions: Vec::new(),
    })
}

impl Watch<'_> {
    /// Keeps who is inside, superseded ones aside: the witness of the first violation, or of each where all are in doubt.
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
    /// More are inside the resource, or one slot of it, than are allowed.
    fn crowded(&mut self, at: usize, event: &Event, slot: Option<u32>, crowd: Crowd) {
        let planned = self.facts.plan.step(event.step);
        let sections = &self.sections[planned.resource as usize];
        let allowed = slot.map_or(self.facts.plan.resource(event.step).level, |_| 1);
        let Some(doubt) = &self.doubt else {
            return self.found.violated(at, || (sections.clone(), note(slot, crowd, allowed)));
        };
        let inside = sections.iter().filter(|step| slot.is_none() || self.stays.get(**step).slot == slot);
        let inside = inside.map(|step| doubt.section(*step)).collect();
        self.suspicions.push(Suspicion { at, at_ns: event.at_ns, inside, slot, allowed });
    }

    /// Finds the violations that remain without those sections which may have been over, and counts the others.
    fn resolve(&mut self, doubt: &Doubt<'_>) {
        let mut in_doubt = 0;
        for Suspicion { at, at_ns, mut inside, slot, allowed } in std::mem::take(&mut self.suspicions) {
            inside.retain(|section| !doubt.may_have_ended(*section, at_ns));
            let mut crowd = Crowd::default();
            inside.iter().for_each(|section| *crowd.of(self.facts.plan.step(section.step).mode) += 1);
            if crowd.slots() > allowed {
                let steps = || inside.iter().map(|section| section.step).collect();
                self.found.violated(at, || (steps(), note(slot, crowd, allowed)));
            } else {
                in_doubt += 1;
            }
        }
        self.found.count("seen only with a section whose node had died", in_doubt);
    }

    /// Two in one slot are one too many, also where the resource has room. Says how many there are then.
    fn crowded_slot(&mut self, resource: u32, mode: Mode, event: &Event) -> Option<(u32, Crowd)> {
        match event.what {
            What::Entered { slot: Some(slot), .. } => {
                let crowd = self.slots.get(resource, slot)?;
                *crowd.of(mode) += 1;
                self.stays.at(event.step).slot = Some(slot);
                (crowd.slots() > 1).then_some((slot, *crowd))
            }
            What::Left { .. } | What::Abandoned | What::Superseded => {
                let slot = self.stays.at(event.step).slot.take()?;
                *self.slots.get(resource, slot)?.of(mode) -= 1;
                None
            }
            _ => None,
        }
    }
}

impl Fold for Watch<'_> {
    fn see(&mut self, at: usize, event: &Event) {
        if let Some(doubt) = &mut self.doubt {
            doubt.see(at, event);
        }
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
        if let Some((slot, crowd)) = self.crowded_slot(planned.resource, mode, event).filter(|_| level > 1) {
            self.crowded(at, event, Some(slot), crowd);
        }
        let (inside, of_step) = (&mut self.resources[resource], &mut self.stays.at(event.step).inside);
        match event.what {
            What::Entered { .. } => {
                self.found.examined += 1;
                *inside.current.of(mode) += 1;
                *of_step.current.of(mode) += 1;
                self.overlaps += u64::from(inside.is_crowded(level));
                let crowd = inside.current;
                if crowd.slots() > level {
                    self.crowded(at, event, None, crowd);
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

    fn finish(mut self: Box<Self>) -> Found {
        if let Some(doubt) = self.doubt.take() {
            self.resolve(&doubt);
        }
        let Self { facts, crowded_since_ns, mut found, overlaps, overlap_ns, .. } = *self;
        let open_ns =
            crowded_since_ns.iter().flatten().map(|since_ns| facts.end_ns.saturating_sub(*since_ns));
        found.count("physical overlaps", overlaps);
        found.time("overlapping in all", overlap_ns + open_ns.sum::<u64>());
        found.answer(by_agent, "no step of level ≥ 1 entered")
    }
}

fn note(slot: Option<u32>, crowd: Crowd, allowed: u32) -> String {
    let count = crowd.count();
    match slot {
        Some(slot) => format!("{count} inside slot {slot}"),
        None => format!("{count} inside, level {allowed}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::checks::Judgement;
    use crate::judge::fixture::Told;
    use crate::judge::fixture::{completed, entered, figure, granted, held, left, run, run_of, witness};
    use crate::model::Mode::{Exclusive, Shared};
    use crate::model::{NodeId, Outage, Standstill};
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
    fn who_is_not_inside_is_neither_superseded_nor_leaves() {
        let table = [
            (1, 0, What::Superseded),
            (1, 0, What::Abandoned),
            (2, 0, entered(0, 0)),
            (3, 0, left(1)),
            (3, 0, left(1)),
            (4, 1, entered(0, 1)),
            (5, 1, What::Superseded),
            (6, 1, What::Left { wrote: None }),
            (6, 1, What::Abandoned),
            (7, 1, entered(0, 1)),
            (8, 1, left(2)),
            (9, 2, entered(0, 2)),
        ];
        let judgement = judge(&run(1, 3, &table));
        assert_eq!(held(&judgement), (Verdict::Holds, 4, 0));
        assert_eq!(figure(&judgement, "physical overlaps"), Amount::Count(0));
    }

    #[test]
    fn overlaps_that_last_to_the_end_of_the_run_are_added_to_those_before() {
        let table = [(1, 0, entered(0, 0)), (2, 1, entered(0, 0)), (3, 0, left(1)), (5, 2, entered(0, 1))];
        let mut told = run(1, 3, &table);
        told.facts.end_ns = 9_000_000;
        assert_eq!(figure(&judge(&told), "overlapping in all"), Amount::Ns(5_000_000));
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

    /// Task 0 is inside at node 0, which dies; that is noticed at 9 ms, after task 1 was let in.
    fn died(level: u32, also: &[(u64, u32, What)]) -> Told {
        let mut table = vec![
            (1, 0, granted(1)),
            (1, 0, entered(0, 0)),
            (5, 1, entered(0, 0)),
            (9, 0, What::Abandoned),
            (10, 1, left(1)),
        ];
        table.extend_from_slice(also);
        table.sort_by_key(|(ms, ..)| *ms);
        let mut told = run(level, 3, &table);
        let (node, from_ns, unplanned) = (NodeId(0), 9_000_000, Some("signal: 9".to_owned()));
        let state = Standstill::Down;
        told.facts.outages = vec![Outage { node, from_ns, until_ns: u64::MAX, state, unplanned }];
        told
    }

    const IN_DOUBT: &str = "seen only with a section whose node had died";

    #[test]
    fn a_section_whose_node_had_died_unplanned_is_no_witness() {
        for level in [1, 2] {
            let judgement = judge(&died(level, &[]));
            assert_eq!(held(&judgement), (Verdict::Holds, 2, 0));
            assert_eq!(figure(&judgement, IN_DOUBT), Amount::Count(1));
        }
        let mut unheard = died(1, &[]);
        unheard.events.remove(0);
        assert_eq!(judge(&unheard).verdict, Verdict::Holds, "its last events died with it");
    }

    #[test]
    fn a_section_whose_node_lived_on_is_a_witness() {
        let signs = [granted(2), What::Lost, What::ReleaseSent];
        for sign in signs {
            assert_eq!(judge(&died(1, &[(5, 2, sign)])).violations, 1);
        }
        // Before the entry, or written for the dead node by the driver, or at a node that lives.
        for also in [(4, 2, granted(2)), (5, 2, What::Invoked), (9, 0, completed())] {
            assert_eq!(judge(&died(1, &[also])).violations, 0);
        }
        let mut elsewhere = died(1, &[(5, 2, granted(2))]);
        elsewhere.events.iter_mut().filter(|event| event.at_ns == 5_000_000).for_each(|event| {
            event.node = event.node.map(|_| NodeId(1));
        });
        assert_eq!(judge(&elsewhere).violations, 0);
    }

    #[test]
    fn deaths_that_were_planned_and_connections_that_broke_leave_no_doubt() {
        let mut planned = died(1, &[]);
        planned.facts.outages[0].unplanned = None;
        assert_eq!(judge(&planned).violations, 1);
        let mut of_another = died(1, &[]);
        of_another.facts.outages[0].node = NodeId(1);
        assert_eq!(judge(&of_another).violations, 1);
        // Of three in two slots, those two who are in one.
        let mut slots = died(2, &[(4, 2, entered(1, 0))]);
        slots.facts.outages[0].node = NodeId(1);
        let judgement = judge(&slots);
        assert_eq!(judgement.violations, 2, "in the slot, and in all");
        assert_eq!(witness(judgement).last().unwrap(), "2 inside slot 0");
    }

    #[test]
    fn a_step_that_runs_again_after_its_node_died_is_a_witness() {
        let again = [(11, 0, entered(0, 1)), (12, 2, entered(0, 1))];
        let judgement = judge(&died(1, &again));
        assert_eq!((judgement.violations, figure(&judgement, IN_DOUBT)), (1, Amount::Count(1)));
    }

    #[test]
    fn two_who_live_are_too_many_whoever_else_has_died() {
        let judgement = judge(&died(1, &[(6, 2, entered(0, 0))]));
        assert_eq!((judgement.violations, figure(&judgement, IN_DOUBT)), (1, Amount::Count(1)));
        assert_eq!(witness(judgement).last().unwrap(), "2 inside, level 1");
    }

    #[test]
    fn says_nothing_about_nothing() {
        assert!(matches!(judge(&run(1, 0, &[])).verdict, Verdict::NotApplicable { .. }));
        assert!(matches!(judge(&run(0, 1, &[(1, 0, entered(0, 0))])).verdict, Verdict::NotApplicable { .. }));
    }
}
