//! Tasks that did not enter where they were to, since that node was down.

use crate::model::{EntryPolicy, Event, Facts, What};
use crate::record::Elsewhere;

/// Counts them as the history goes by.
#[derive(Debug)]
pub(super) struct Diverted<'a> {
    facts: &'a Facts,
    seen: Elsewhere,
}

impl<'a> Diverted<'a> {
    pub(super) fn new(facts: &'a Facts) -> Self {
        Self { facts, seen: Elsewhere::default() }
    }

    pub(super) fn see(&mut self, event: &Event) {
        let begins_or_ends = matches!(event.what, What::Invoked | What::Returned { .. });
        if self.facts.plan.entry == EntryPolicy::Sticky || event.step.step > 0 || !begins_or_ends {
            return;
        }
        let entry = self.facts.plan.task(event.step.task).entry;
        if event.node.is_none_or(|node| node == entry) {
            return;
        }
        match event.what {
            What::Invoked => self.seen.came += 1,
            _ => self.seen.returned += 1,
        }
    }

    pub(super) fn finish(self) -> Elsewhere {
        self.seen
    }
}
