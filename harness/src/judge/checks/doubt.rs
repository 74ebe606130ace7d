//! Sections whose end nobody saw: those of nodes that died and nobody had planned it.

use std::collections::HashMap;

use crate::judge::per::PerStep;
use crate::model::{Event, Facts, NodeId, Standstill, StepRef, What};

/// A node that is killed by plan stands still first, and the agent ends its sections before the kill. One that dies by
/// itself is noticed when its connections close, and who waited may have been let in by then: its sections end in the
/// history when that was noticed, in truth at some time after its last sign of life.
///
/// ```text
///   A   ├──────── last sign of life ┄┄┄┄ died ┄┄┄┄┄┄┄ abandoned
///   B                                          ├──────────────────┤   no overlap, as far as anybody knows
/// ```
pub(super) struct Doubt<'a> {
    deaths: Vec<Death>,
    places: PerStep<'a, Place>,
    /// Sections that were abandoned, and where they had been granted if that is known.
    abandoned: HashMap<Section, Option<NodeId>>,
}

struct Death {
    node: NodeId,
    noticed_ns: u64,
    last_sign_ns: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    node: Option<NodeId>,
    entered_at: usize,
}

/// One of a step's sections, by the place of its entry in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Section {
    pub(super) step: StepRef,
    entered_at: usize,
}

impl<'a> Doubt<'a> {
    /// `None` where no node died unplanned, and so nothing is in doubt.
    pub(super) fn begin(facts: &'a Facts) -> Option<Self> {
        let unplanned = facts.outages.iter().filter(|outage| outage.unplanned.is_some());
        let deaths: Vec<Death> = unplanned
            .filter(|outage| outage.state == Standstill::Down)
            .map(|outage| Death { node: outage.node, noticed_ns: outage.from_ns, last_sign_ns: 0 })
            .collect();
        (!deaths.is_empty()).then(|| Self {
            deaths,
            places: PerStep::new(&facts.plan),
            abandoned: HashMap::new(),
        })
    }

    pub(super) fn see(&mut self, at: usize, event: &Event) {
        self.hear(event);
        let place = &mut self.places[event.step];
        match event.what {
            What::Granted { .. } => place.node = event.node,
            What::Entered { .. } => place.entered_at = at,
            What::Abandoned => {
                let node = place.node;
                self.abandoned.insert(self.section(event.step), node);
            }
            _ => {}
        }
    }

    /// Only what a node says of itself is a sign of life: the agent may hear it after its death. That a task was asked for
    /// and how it ended is written for a dead node by the driver, too.
    fn hear(&mut self, event: &Event) {
        let its_own = matches!(
            event.what,
            What::Granted { .. }
                | What::Lost
                | What::ReleaseSent
                | What::Released { .. }
                | What::Returned { .. }
        );
        let death = self.deaths.iter_mut().find(|death| Some(death.node) == event.node);
        if let Some(death) = death.filter(|death| its_own && event.at_ns < death.noticed_ns) {
            death.last_sign_ns = death.last_sign_ns.max(event.at_ns);
        }
    }

    /// The section of a step that has entered last.
    pub(super) fn section(&self, step: StepRef) -> Section {
        Section { step, entered_at: self.places[step].entered_at }
    }

    /// Whether a section may have ended before a stamp at which it still seemed to be inside; known when the history is over.
    pub(super) fn may_have_ended(&self, section: Section, before_ns: u64) -> bool {
        self.abandoned.get(&section).is_some_and(|node| match node {
            Some(node) => {
                let mut deaths = self.deaths.iter().filter(|death| death.node == *node);
                deaths.any(|death| death.last_sign_ns < before_ns)
            }
            // The word that it was granted died with its node.
            None => true,
        })
    }
}
