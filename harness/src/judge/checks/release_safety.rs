//! Release safety: a release frees the releaser's own lock, and says so if that was lost before.

use super::check::{Check, Fold, MustCatch};
use super::findings::{Findings, Found};
use crate::judge::per::{LivePerStep, PerSlot};
use crate::judge::settled::Settles;
use crate::model::{Event, Facts, Mode, ReleaseRet, StepRef, What};

/// Two ways to be wrong:
///
/// * The slot has been granted to somebody else, then the release is sent, and it is answered as a success.
/// * The release of a lock that its holder knew to be lost is answered as a success, and what it freed was another's:
///   it was under way while the slot was granted to a second, and a third was granted it while the lease of the second
///   still stood.
///
/// Shared steps hold a slot together: none of them is another's somebody else.
///
/// ```text
///   A  granted ────── lost ─ release sent ───────┬─ "released"
///   B                           granted ─────────┼────── lease still stands ──────
///   C                                            └ granted: A freed B's lock
/// ```
pub(super) const CHECK: Check = Check {
    name: "release-safety",
    question: "Did every release free the releaser's own lock, or say that it was lost?",
    counted: "releases of what was not held",
    must_catch_none: MustCatch::No,
    begin,
};

#[derive(Debug, Clone, Default)]
struct Slot {
    holder: Option<Holder>,
    /// Releases of lost locks under way, or sent since the holder was granted the slot.
    late: Vec<StepRef>,
}

#[derive(Debug, Clone, Copy)]
struct Holder {
    step: StepRef,
    /// End of its lease as known when it was granted; renewals only move it on.
    valid_until_ns: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Section {
    slot: Option<u32>,
    lost: bool,
    ret: Answer,
    /// To whom the slot had gone when the release was sent, or whom it robbed of it, and who got it then.
    victims: Option<(StepRef, Option<StepRef>)>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Answer {
    #[default]
    Awaited,
    Success,
    Other,
}

impl Settles for Section {
    /// All of it, where it has no victims: one more than the slot, above what it was told and answered.
    type Brief = u32;

    fn brief(&self) -> Option<u32> {
        let Self { slot, lost, ret, victims } = *self;
        let above = slot.map_or(Some(0), |slot| slot.checked_add(1)).filter(|above| *above < 1 << 29);
        above.filter(|_| victims.is_none()).map(|above| above << 3 | u32::from(lost) << 2 | ret as u32)
    }

    fn from_brief(brief: u32) -> Self {
        let ret = match brief & 0b11 {
            0 => Answer::Awaited,
            1 => Answer::Success,
            _ => Answer::Other,
        };
        Self { slot: (brief >> 3).checked_sub(1), lost: brief & 0b100 != 0, ret, victims: None }
    }
}

struct Watch<'a> {
    facts: &'a Facts,
    slots: PerSlot<Slot>,
    sections: LivePerStep<'a, Section>,
    found: Findings,
    freed: u64,
}

fn begin(facts: &Facts) -> Box<dyn Fold + '_> {
    let (slots, sections) = (PerSlot::new(&facts.plan), LivePerStep::new(&facts.plan));
    Box::new(Watch { facts, slots, sections, found: Findings::default(), freed: 0 })
}

impl Fold for Watch<'_> {
    fn see(&mut self, at: usize, event: &Event) {
        let Self { facts, slots, sections, found, freed } = self;
        let alone = |step| facts.plan.step(step).mode == Mode::Exclusive;
        let step = event.step;
        let excludes = |holder: &Holder| holder.step != step && (alone(holder.step) || alone(step));
        let resource = facts.plan.step(step).resource;
        let slot = sections.get(step).slot.and_then(|place| slots.get(resource, place));
        match (&event.what, slot) {
            (What::Granted { slot: Some(place), valid_until_ns, .. }, _) => {
                let Some(slot) = slots.get(resource, *place) else { return };
                let stands = |holder: &Holder| holder.valid_until_ns.is_some_and(|until| until > event.at_ns);
                if let Some(robbed) = slot.holder.filter(stands).filter(excludes) {
                    for late in &slot.late {
                        let section = sections.at(*late);
                        if matches!(section.victims, Some((_, Some(_)))) {
                            return;
                        }
                        let blamed = section.ret == Answer::Success && section.victims.is_some();
                        section.victims = Some((robbed.step, Some(step)));
                        if section.ret == Answer::Success {
                            *freed += 1;
                            if !blamed {
                                found.violated(at, || blame(*late, &sections.get(*late)));
                            }
                        }
                    }
                }
                slot.holder = Some(Holder { step, valid_until_ns: *valid_until_ns });
                slot.late.retain(|late| sections.get(*late).ret == Answer::Awaited);
                *sections.at(step) = Section { slot: Some(*place), ..Section::default() };
            }
            (What::Lost, _) => sections.at(step).lost = true,
            (What::ReleaseSent, Some(slot)) => match slot.holder {
                Some(holder) if excludes(&holder) => {
                    sections.at(step).victims = Some((holder.step, None));
                    slot.late.push(step);
                }
                holder => {
                    slot.holder = holder.filter(|holder| holder.step != step);
                    if sections.get(step).lost {
                        slot.late.push(step);
                    }
                }
            },
            (What::Released { ret }, slot) => {
                found.examined += 1;
                let section = sections.at(step);
                section.ret = if *ret == ReleaseRet::Released { Answer::Success } else { Answer::Other };
                if section.ret == Answer::Other {
                    slot.into_iter().for_each(|slot| slot.late.retain(|late| *late != step));
                } else if let Some((_, third)) = section.victims {
                    *freed += u64::from(third.is_some());
                    found.violated(at, || blame(step, &sections.get(step)));
                }
            }
            _ => {}
        }
    }

    fn finish(self: Box<Self>) -> Found {
        let Self { mut found, freed, .. } = *self;
        found.count("freed somebody else's lock", freed);
        found.answer(shown, "nothing was released")
    }
}

fn blame(releaser: StepRef, section: &Section) -> (Vec<StepRef>, String) {
    let (holder, third) = section.victims.expect("only those with victims are blamed");
    let what = match third {
        Some(_) => "freed the lock of somebody whose lease still stood",
        None => "released with success what had been granted to somebody else",
    };
    ([releaser, holder].into_iter().chain(third).collect(), format!("{releaser} {what}"))
}

fn shown(event: &Event) -> bool {
    matches!(event.what, What::Granted { .. } | What::Lost | What::ReleaseSent | What::Released { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::checks::Judgement;
    use crate::judge::fixture::Told;
    use crate::judge::fixture::{entered, figure, granted, held, run, run_of, witness};
    use crate::model::Mode::{Exclusive, Shared};
    use crate::record::{Amount, Verdict};

    fn judge(told: &Told) -> Judgement {
        told.judged_by(&CHECK)
    }

    fn released(ret: ReleaseRet) -> What {
        What::Released { ret }
    }

    fn leased(until_ms: u64) -> What {
        What::Granted { slot: Some(0), token: None, valid_until_ns: Some(until_ms * 1_000_000) }
    }

    #[test]
    fn accepts_a_release_before_the_next_grant() {
        let table = [
            (1, 0, granted(1)),
            (2, 0, What::ReleaseSent),
            // The next one is in before the answer is back.
            (3, 1, granted(2)),
            (4, 0, released(ReleaseRet::Released)),
        ];
        assert_eq!(held(&judge(&run(1, 2, &table))), (Verdict::Holds, 1, 0));
    }

    #[test]
    fn accepts_a_late_release_that_admits_it() {
        for ret in [ReleaseRet::AlreadyLost, ReleaseRet::Unknown("no answer".to_owned())] {
            let table =
                [(1, 0, granted(1)), (2, 1, granted(2)), (3, 0, What::ReleaseSent), (4, 0, released(ret))];
            assert_eq!(judge(&run(1, 2, &table)).verdict, Verdict::Holds);
        }
    }

    #[test]
    fn rejects_a_late_release_that_is_called_a_success_unless_both_are_shared() {
        let table = [
            (1, 0, granted(1)),
            (1, 0, entered(0, 0)),
            (2, 1, granted(2)),
            (3, 0, What::ReleaseSent),
            (4, 0, released(ReleaseRet::Released)),
        ];
        for (modes, violations) in [([Shared, Shared], 0), ([Shared, Exclusive], 1), ([Exclusive, Shared], 1)]
        {
            assert_eq!(judge(&run_of(1, &modes, &table)).violations, violations);
        }
        let judgement = judge(&run(1, 2, &table));
        assert_eq!(figure(&judgement, "freed somebody else's lock"), Amount::Count(0));
        assert_eq!(witness(judgement).len(), 5, "all but the entry, and what is wrong");
    }

    /// Task 0 loses its lease and releases at 4 ms, which is answered later; task 1 is granted the slot at
    /// `second_ms`, task 2 at 6 ms.
    fn robbery(second_ms: u64, until_ms: u64, answered_ms: u64, ret: ReleaseRet) -> Judgement {
        let mut table = vec![
            (1, 0, leased(2)),
            (2, 0, What::Lost),
            (second_ms, 1, leased(until_ms)),
            (4, 0, What::ReleaseSent),
            (answered_ms, 0, released(ret)),
            (6, 2, leased(100)),
        ];
        table.sort_by_key(|(ms, ..)| *ms);
        judge(&run(1, 3, &table))
    }

    #[test]
    fn rejects_a_release_that_freed_the_lock_of_somebody_whose_lease_stood() {
        // Granted before the release was sent, or while it was under way; answered before the third grant, or after.
        for (second_ms, answered_ms) in [(3, 5), (3, 7), (5, 7), (5, 5)] {
            let judgement = robbery(second_ms, 50, answered_ms, ReleaseRet::Released);
            assert_eq!(figure(&judgement, "freed somebody else's lock"), Amount::Count(1));
            assert_eq!(judgement.violations, 1, "{second_ms}, {answered_ms}");
            assert!(witness(judgement).len() >= 5);
        }
    }

    #[test]
    fn a_release_that_says_that_it_was_lost_clears_itself_alone() {
        let table = [
            (1, 0, leased(2)),
            (2, 0, What::Lost),
            (3, 1, leased(4)),
            (4, 1, What::Lost),
            (5, 0, What::ReleaseSent),
            (5, 1, What::ReleaseSent),
            (6, 0, released(ReleaseRet::AlreadyLost)),
            (7, 2, leased(100)),
            (8, 3, leased(100)),
            (9, 1, released(ReleaseRet::Released)),
        ];
        let judgement = judge(&run(1, 4, &table));
        assert_eq!(
            (judgement.violations, figure(&judgement, "freed somebody else's lock")),
            (1, Amount::Count(1))
        );
    }

    #[test]
    fn accepts_a_release_of_what_was_feared_lost_and_was_not() {
        let table = [
            (1, 0, leased(100)),
            (2, 0, What::Lost),
            (4, 0, What::ReleaseSent),
            (5, 1, leased(100)),
            (6, 0, released(ReleaseRet::Released)),
        ];
        assert_eq!(held(&judge(&run(1, 2, &table))), (Verdict::Holds, 1, 0));
    }

    #[test]
    fn blames_nobody_where_the_lease_was_over_or_the_release_did_nothing() {
        for (until_ms, ret) in [(6, ReleaseRet::Released), (50, ReleaseRet::AlreadyLost)] {
            assert_eq!(held(&robbery(5, until_ms, 7, ret)), (Verdict::Holds, 1, 0));
        }
    }

    #[test]
    fn a_section_without_victims_is_the_same_in_brief() {
        const HIGHEST: u32 = (1 << 29) - 2;
        for slot in [None, Some(0), Some(1), Some(6), Some(HIGHEST), Some(HIGHEST + 1), Some(u32::MAX)] {
            for (lost, ret) in [false, true]
                .into_iter()
                .flat_map(|lost| [Answer::Awaited, Answer::Success, Answer::Other].map(|ret| (lost, ret)))
            {
                let brief = Section { slot, lost, ret, victims: None }.brief();
                assert_eq!(brief.is_some(), slot.is_none_or(|slot| slot <= HIGHEST), "{slot:?}");
                if let Some(brief) = brief {
                    let same = Section::from_brief(brief);
                    assert_eq!((same.slot, same.lost, same.ret), (slot, lost, ret));
                    assert!(same.victims.is_none());
                }
            }
        }
        let step = StepRef { task: crate::model::TaskId(0), step: 0 };
        assert!(Section { victims: Some((step, None)), ..Section::default() }.brief().is_none());
    }
}
