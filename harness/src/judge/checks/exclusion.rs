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
mod tests;
