//! What those who wait and those who hold were told, and how late.

use std::collections::HashMap;

use super::per::PerSlot;
use crate::model::{Event, Mode, Outcome, Plan, ReleaseRet, StepRef, What};
use crate::record::Awareness;

/// A step that holds a slot, until its end is known.
#[derive(Default)]
struct Section {
    /// When the slot was granted to somebody else, before this one had left it.
    taken_ns: Option<u64>,
    left: bool,
}

/// One pass over a history. It keeps what is open, and nothing of what is over.
pub(super) struct Watching<'a> {
    plan: &'a Plan,
    /// When steps that wait were asked for.
    waiting: HashMap<StepRef, u64>,
    /// By resource, the last grant.
    granted_ns: HashMap<u32, u64>,
    sections: HashMap<StepRef, Section>,
    /// Who was granted a slot last.
    holders: PerSlot<Option<StepRef>>,
    told: Awareness,
}

impl<'a> Watching<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        Self {
            plan,
            waiting: HashMap::new(),
            granted_ns: HashMap::new(),
            sections: HashMap::new(),
            holders: PerSlot::new(plan),
            told: Awareness::default(),
        }
    }

    /// In the order of time, the events of steps that count.
    pub(super) fn see(&mut self, event: &Event) {
        let (step, at_ns) = (event.step, event.at_ns);
        match &event.what {
            What::Invoked => {
                self.told.asked += 1;
                self.waiting.insert(step, at_ns);
                self.told.most_waiting = self.told.most_waiting.max(self.waiting.len() as u64);
            }
            What::Granted { slot, valid_until_ns, .. } => {
                self.waiting.remove(&step);
                self.granted_ns.insert(self.plan.step(step).resource, at_ns);
                if let Some(until_ns) = valid_until_ns {
                    self.told.expired += u64::from(*until_ns <= at_ns);
                    self.told.validity.record_ns(until_ns.saturating_sub(at_ns));
                }
                self.grant(step, *slot, at_ns);
            }
            // Told that it is not the holder.
            What::Lost | What::Rejected { .. } | What::Released { ret: ReleaseRet::AlreadyLost } => {
                self.knows(step, at_ns);
            }
            What::Left { .. } | What::ReleaseSent => {
                if let Some(section) = self.sections.get_mut(&step) {
                    section.left = true;
                }
            }
            // Nobody is there who could know.
            What::Abandoned => drop(self.sections.remove(&step)),
            What::Returned { outcome } => self.returned(step, outcome, at_ns),
            What::Entered { .. } | What::Superseded | What::Released { .. } => {}
        }
    }

    fn grant(&mut self, step: StepRef, slot: Option<u32>, at_ns: u64) {
        let planned = self.plan.step(step);
        let Some(slot) = slot.filter(|_| planned.mode == Mode::Exclusive) else { return };
        let Some(holder) = self.holders.get(planned.resource, slot) else { return };
        let former = holder.replace(step).filter(|former| *former != step);
        if let Some(section) = former.and_then(|former| self.sections.get_mut(&former))
            && !section.left
        {
            section.taken_ns.get_or_insert(at_ns);
        }
        self.sections.insert(step, Section::default());
    }

    fn knows(&mut self, step: StepRef, at_ns: u64) {
        if let Some(Section { taken_ns: Some(taken_ns), .. }) = self.sections.remove(&step) {
            self.told.knew.record_ns(at_ns.saturating_sub(taken_ns));
        }
    }

    fn returned(&mut self, step: StepRef, outcome: &Outcome, at_ns: u64) {
        let since_ns = self.waiting.remove(&step);
        let quiet = since_ns.is_some_and(|since_ns| self.is_quiet(step, since_ns));
        self.told.silent += u64::from(quiet && *outcome == Outcome::TimedOut);
        match outcome {
            Outcome::Completed => self.never_knew(step, at_ns),
            _ => self.knows(step, at_ns),
        }
    }

    fn never_knew(&mut self, step: StepRef, at_ns: u64) {
        if let Some(Section { taken_ns: Some(taken_ns), .. }) = self.sections.remove(&step) {
            self.told.knew.censor_ns(at_ns.saturating_sub(taken_ns));
        }
    }

    /// Whether nobody was granted the step's resource since.
    fn is_quiet(&self, step: StepRef, since_ns: u64) -> bool {
        let granted_ns = self.granted_ns.get(&self.plan.step(step).resource);
        granted_ns.is_none_or(|granted_ns| *granted_ns < since_ns)
    }

    /// What is open at the end of the run was told nothing either.
    pub(super) fn finish(mut self, end_ns: u64) -> Awareness {
        let quiet = self.waiting.iter().filter(|(step, since_ns)| self.is_quiet(**step, **since_ns)).count();
        self.told.silent += quiet as u64;
        let open: Vec<_> = self.sections.keys().copied().collect();
        open.into_iter().for_each(|step| self.never_knew(step, end_ns));
        self.told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::fixture::{completed, entered_with, granted, left, run, token};

    const MS: u64 = 1_000_000;

    fn told(tasks: u32, table: &[(u64, u32, What)]) -> Awareness {
        let told = run(1, tasks, table);
        let mut watching = Watching::new(&told.facts.plan);
        told.events.iter().for_each(|event| watching.see(event));
        watching.finish(1_000 * MS)
    }

    fn timed_out() -> What {
        What::Returned { outcome: Outcome::TimedOut }
    }

    #[test]
    fn who_times_out_beside_others_that_are_served_did_not_wait_in_silence() {
        let served = [
            (1, 0, What::Invoked),
            (2, 1, What::Invoked),
            (3, 0, granted(1)),
            (5, 0, completed()),
            (6, 2, What::Invoked),
            (100, 1, timed_out()),
            (100, 2, timed_out()),
        ];
        let told = told(3, &served);
        assert_eq!((told.asked, told.silent), (3, 1), "the last one saw nobody served");
    }

    #[test]
    fn a_grant_at_the_stamp_of_asking_is_no_silence() {
        let silent = |granted_ms, asked_ms| {
            let mut table = vec![(granted_ms, 0, granted(1)), (asked_ms, 1, What::Invoked)];
            table.sort_by_key(|(at, ..)| *at);
            table.push((100, 1, timed_out()));
            told(2, &table).silent
        };
        assert_eq!((silent(5, 6), silent(5, 5), silent(6, 5)), (1, 0, 0));
    }

    #[test]
    fn an_error_is_no_silence_and_no_answer_at_all_is() {
        let refused = What::Returned { outcome: Outcome::Refused("down".into()) };
        let told = told(2, &[(1, 0, What::Invoked), (1, 1, What::Invoked), (9, 0, refused)]);
        assert_eq!((told.asked, told.silent), (2, 1));
    }

    #[test]
    fn a_lease_that_had_ended_when_it_was_granted_is_counted() {
        let until = |ms: u64| What::Granted { slot: None, token: None, valid_until_ns: Some(ms * MS) };
        let told = told(3, &[(10, 0, until(110)), (20, 1, until(20)), (30, 2, until(40))]);
        assert_eq!((told.validity.count(), told.expired), (3, 1));
        assert!(told.validity.quantile_ns(0.5).is_some_and(|ns| ns <= 100 * MS));
    }

    #[test]
    fn a_holder_knows_when_it_is_told_and_not_when_another_was_granted() {
        let other = [(1, 0, granted(1)), (2, 0, entered_with(1)), (50, 1, granted(2))];
        let with = |end: &[(u64, u32, What)]| told(2, &[&other[..], end].concat()).knew;
        let lost = with(&[(80, 0, What::Lost), (90, 0, left(1)), (91, 0, completed())]);
        assert_eq!((lost.count(), lost.censored()), (1, 0));
        assert!(lost.max_ns().is_some_and(|ns| ns.abs_diff(30 * MS) < MS), "{lost:?}");
        let release = What::Released { ret: ReleaseRet::AlreadyLost };
        let at_release = with(&[(90, 0, left(1)), (91, 0, What::ReleaseSent), (92, 0, release)]);
        assert_eq!((at_release.count(), at_release.censored()), (1, 0));
        let never = with(&[(90, 0, left(1)), (91, 0, completed())]);
        assert_eq!((never.count(), never.censored()), (1, 1));
    }

    #[test]
    fn who_gave_the_slot_back_before_lost_nothing() {
        let handed_over = [
            (1, 0, granted(1)),
            (5, 0, left(1)),
            (5, 0, What::ReleaseSent),
            (6, 1, What::Granted { slot: Some(0), token: token(2), valid_until_ns: None }),
            (7, 0, What::Released { ret: ReleaseRet::Released }),
            (7, 0, completed()),
        ];
        assert_eq!(told(2, &handed_over).knew.count(), 0);
    }
}
