//! What is known of a step and of a task while a history is measured, whole and in brief.

use super::settled::Settles;
use super::stamp::Stamp;
use crate::model::Outcome;

/// What is known of a step.
#[derive(Default, Clone, Copy)]
pub(super) struct Life {
    /// When it was asked for, from the intended start of its task.
    pub(super) asked_after: Stamp,
    pub(super) entered: bool,
    /// Sections that go on.
    pub(super) inside: u32,
    pub(super) left: Stamp,
    pub(super) slot: Option<u32>,
    pub(super) wrote: bool,
    pub(super) returned: bool,
}

impl Life {
    /// When a step that has left and returned, in whichever order, did so is asked no more. It may be run again.
    pub(super) fn end(&mut self) {
        if self.returned && self.inside == 0 && self.left.ns().is_some() {
            (self.left, self.slot) = (Stamp::default(), None);
        }
    }
}

impl Settles for Life {
    /// Of one that is over: when it was asked for, if that was within a second, and whether it wrote; 0 of others.
    type Brief = u32;

    fn brief(&self) -> Option<u32> {
        let Self { entered, inside, returned, left, slot, .. } = *self;
        let over = entered && inside == 0 && returned && left.ns().is_none() && slot.is_none();
        let after_ns = self.asked_after.ns().filter(|after_ns| over && *after_ns < 1 << 30)?;
        Some((after_ns as u32) << 2 | u32::from(self.wrote) << 1 | 1)
    }

    fn from_brief(brief: u32) -> Self {
        if brief == 0 {
            return Self::default();
        }
        let asked_after = Stamp::at(u64::from(brief >> 2));
        Self { asked_after, entered: true, wrote: brief & 0b10 != 0, returned: true, ..Self::default() }
    }
}

/// How a task went.
#[derive(Default, Clone, Copy)]
pub(super) struct End {
    pub(super) asked: Stamp,
    /// When it returned, and how.
    pub(super) returned: Option<(u64, Ended)>,
}

impl Settles for End {
    /// When and how it returned in one number, 0 where it was not asked for. When it was asked for is known by then to
    /// whom it concerns.
    type Brief = u64;

    fn brief(&self) -> Option<u64> {
        match (self.asked.ns(), self.returned) {
            (None, None) => Some(0),
            (Some(_), Some((at_ns, ended))) => {
                Some(at_ns << 3 | ended as u64).filter(|brief| brief >> 3 == at_ns)
            }
            _ => None,
        }
    }

    fn from_brief(brief: u64) -> Self {
        let ended = ENDED.into_iter().find(|ended| *ended as u64 == brief & 0b111);
        ended.map_or(Self::default(), |ended| Self {
            asked: Stamp::at(brief >> 3),
            returned: Some((brief >> 3, ended)),
        })
    }
}

/// An outcome without its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Completed = 1,
    Rejected,
    Refused,
    Failed,
    TimedOut,
    Unknown,
}

const ENDED: [Ended; 6] =
    [Ended::Completed, Ended::Rejected, Ended::Refused, Ended::Failed, Ended::TimedOut, Ended::Unknown];

impl From<&Outcome> for Ended {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Completed => Self::Completed,
            Outcome::Rejected(_) => Self::Rejected,
            Outcome::Refused(_) => Self::Refused,
            Outcome::Failed(_) => Self::Failed,
            Outcome::TimedOut => Self::TimedOut,
            Outcome::Unknown(_) => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_has_not_begun_is_not_held_whole() {
        assert_eq!(End::default().brief(), Some(0));
    }

    fn stamp() -> impl Strategy<Value = Stamp> {
        let edge =
            prop::sample::select(vec![0, 1, (1 << 30) - 1, 1 << 30, (1 << 61) - 1, 1 << 61, u64::MAX - 1]);
        prop_oneof![Just(Stamp::default()), edge.prop_map(Stamp::at), (0_u64..1 << 40).prop_map(Stamp::at)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_096))]

        #[test]
        fn a_step_is_the_same_in_brief(
            asked_after in stamp(), left in stamp(), flags in any::<[bool; 3]>(), inside in 0_u32..2, slot in prop::option::of(0_u32..2),
        ) {
            let [entered, wrote, returned] = flags;
            let life = Life { asked_after, entered, inside, left, slot, wrote, returned };
            let told = |life: Life| {
                let Life { asked_after, entered, inside, left, slot, wrote, returned } = life;
                (asked_after.ns(), (entered, wrote, returned), inside, left.ns(), slot)
            };
            if let Some(brief) = life.brief() {
                prop_assert_eq!(told(Life::from_brief(brief)), told(life));
            }
        }

        #[test]
        fn an_end_is_the_same_in_brief(asked in stamp(), at in stamp(), ended in prop::sample::select(ENDED.to_vec())) {
            let end = End { asked, returned: at.ns().map(|at_ns| (at_ns, ended)) };
            if let Some(brief) = end.brief() {
                let same = End::from_brief(brief);
                prop_assert_eq!(same.returned, end.returned);
                // What is returned again took from the first time on: that is all that is asked of it.
                prop_assert_eq!(same.asked.ns(), asked.ns().and(at.ns()));
            }
        }
    }
}
