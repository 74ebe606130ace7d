//! Fencing: tokens rise with the grants of a slot and with its entries, and no stale write is accepted.

use std::collections::HashSet;

use super::check::{Check, Fold, MustCatch};
use super::findings::{Findings, Found};
use crate::judge::per::{LivePerStep, PerSlot};
use crate::judge::settled::Settles;
use crate::model::{Event, Facts, Mode, StepRef, Token, What};

/// Three rules per slot, which a resource that compares tokens relies on:
///
/// * no token is granted twice;
/// * whoever enters has a higher token than everybody who entered before, and than everybody who had been granted the
///   slot before it was asked for (two grants under way at once may be noted in either order); shared sections are not
///   compared with each other;
/// * whoever writes has the highest token that has entered.
///
/// An entry or a write that the agent rejected for its token is no violation: that is what tokens are for.
pub(super) const CHECK: Check = Check {
    name: "fencing",
    question: "Did tokens rise with every grant and entry of a slot, and was no stale write accepted?",
    counted: "stale tokens",
    must_catch_none: MustCatch::No,
    begin,
};

/// What a slot's tokens have been.
#[derive(Debug, Clone, Default)]
struct Slot {
    /// Grants with a token above all before: index of the event, token, step. Rises in both.
    risen: Vec<(u32, Token, StepRef)>,
    /// Tokens of grants that came below the highest.
    late: HashSet<Token>,
    /// Highest token that entered.
    used: Option<(Token, StepRef)>,
    /// The highest of an exclusive section.
    used_alone: Option<(Token, StepRef)>,
}

impl Slot {
    /// The highest grant of those noted before an event.
    fn highest_before(&self, at: u32) -> Option<(Token, StepRef)> {
        // It is nearly always the last, or not far from it: searched from the end in steps that double.
        let mut back = 1;
        while back < self.risen.len() && self.risen[self.risen.len() - back].0 >= at {
            back *= 2;
        }
        let from = self.risen.len().saturating_sub(back);
        let before = from + self.risen[from..].partition_point(|(granted, ..)| *granted < at);
        let (_, token, step) = self.risen.get(before.checked_sub(1)?)?;
        Some((*token, *step))
    }

    /// Notes a grant; whether its token is new.
    fn grant(&mut self, at: u32, token: Token, step: StepRef) -> bool {
        if self.risen.last().is_none_or(|(_, highest, _)| *highest < token) {
            self.risen.push((at, token, step));
            return true;
        }
        self.risen.binary_search_by_key(&token, |(_, risen, _)| *risen).is_err() && self.late.insert(token)
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Section {
    invoked_at: u32,
    /// A higher grant that was over before this one was asked for.
    below: Option<(Token, StepRef)>,
    inside: Option<(u32, Token)>,
}

impl Settles for Section {
    /// Where it was asked for.
    type Brief = u32;

    fn brief(&self) -> Option<u32> {
        (self.below.is_none() && self.inside.is_none()).then_some(self.invoked_at)
    }

    fn from_brief(invoked_at: u32) -> Self {
        Self { invoked_at, below: None, inside: None }
    }
}

struct Watch<'a> {
    facts: &'a Facts,
    slots: PerSlot<Slot>,
    sections: LivePerStep<'a, Section>,
    found: Findings,
    out_of_order: u64,
    twice: u64,
    rejected: u64,
    stale_entries: u64,
    stale_writes: u64,
}

fn begin(facts: &Facts) -> Box<dyn Fold + '_> {
    Box::new(Watch {
        facts,
        slots: PerSlot::new(&facts.plan),
        sections: LivePerStep::new(&facts.plan),
        found: Findings::default(),
        out_of_order: 0,
        twice: 0,
        rejected: 0,
        stale_entries: 0,
        stale_writes: 0,
    })
}

impl Fold for Watch<'_> {
    fn see(&mut self, at: usize, event: &Event) {
        let Self {
            facts,
            slots,
            sections,
            found,
            out_of_order,
            twice,
            rejected,
            stale_entries,
            stale_writes,
        } = self;
        let step = event.step;
        let resource = facts.plan.step(step).resource;
        match event.what {
            What::Invoked => sections.at(step).invoked_at = at as u32,
            What::Granted { slot: Some(slot), token: Some(token), .. } => {
                let Some(slot) = slots.get(resource, slot) else { return };
                found.examined += 1;
                let section = sections.at(step);
                let before = slot.highest_before(section.invoked_at);
                section.below = before.filter(|(highest, _)| *highest >= token);
                *out_of_order += u64::from(section.below.is_some());
                if !slot.grant(at as u32, token, step) {
                    *twice += 1;
                    found.violated(at, || (vec![step], format!("{} was granted twice", text(token))));
                }
            }
            What::Entered { slot: Some(place), token: Some(token), .. } => {
                let Some(slot) = slots.get(resource, place) else { return };
                let section = sections.at(step);
                section.inside = Some((place, token));
                let shared = facts.plan.step(step).mode == Mode::Shared;
                let others = if shared { slot.used_alone } else { slot.used };
                let stale = others.filter(|(used, _)| *used >= token);
                if let Some((highest, other)) = stale.or(section.below) {
                    *stale_entries += 1;
                    let note = || format!("entered with {} after {}", text(token), text(highest));
                    found.violated(at, || (vec![other, step], note()));
                }
                slot.used = slot.used.max(Some((token, step)));
                if !shared {
                    slot.used_alone = slot.used_alone.max(Some((token, step)));
                }
            }
            What::Left { wrote: Some(_) } => {
                let Some((place, token)) = sections.at(step).inside.take() else { return };
                let used = slots.get(resource, place).and_then(|slot| slot.used);
                if let Some((used, other)) = used.filter(|(used, _)| *used > token) {
                    *stale_writes += 1;
                    let note = || format!("wrote with {} after {} had entered", text(token), text(used));
                    found.violated(at, || (vec![other, step], note()));
                }
            }
            What::Rejected { .. } => *rejected += 1,
            _ => {}
        }
    }

    fn finish(self: Box<Self>) -> Found {
        let mut found = self.found;
        found.count("grants out of order", self.out_of_order);
        found.count("tokens granted twice", self.twice);
        found.count("stale entries accepted", self.stale_entries);
        found.count("stale writes accepted", self.stale_writes);
        found.count("rejected by the agent", self.rejected);
        found.answer(shown, "no grant had a token")
    }
}

fn shown(event: &Event) -> bool {
    matches!(event.what, What::Invoked | What::Granted { .. }) || event.node.is_none()
}

fn text(token: Token) -> String {
    format!("token {}.{}", token.generation, token.sequence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::checks::Judgement;
    use crate::judge::fixture::Told;
    use crate::judge::fixture::{entered, entered_with, figure, granted, held, left, run, run_of, witness};
    use crate::model::Mode::{Exclusive, Shared};
    use crate::record::{Amount, Verdict};

    fn judge(told: &Told) -> Judgement {
        told.judged_by(&CHECK)
    }

    #[test]
    fn accepts_tokens_that_rise() {
        let table = [
            (1, 0, What::Invoked),
            (2, 0, granted(4)),
            (2, 0, entered_with(4)),
            (3, 0, left(1)),
            (4, 1, What::Invoked),
            (5, 1, granted(9)),
            (5, 1, entered_with(9)),
            (6, 1, left(2)),
        ];
        assert_eq!(held(&judge(&run(1, 2, &table))), (Verdict::Holds, 2, 0));
    }

    #[test]
    fn grants_under_way_at_once_may_be_noted_in_either_order() {
        let table = [(1, 0, What::Invoked), (1, 1, What::Invoked), (2, 0, granted(2)), (3, 1, granted(1))];
        assert_eq!(judge(&run(1, 2, &table)).verdict, Verdict::Holds);
    }

    #[test]
    fn rejects_an_entry_below_a_grant_that_was_over_before_it_was_asked_for() {
        let mut table =
            vec![(1, 0, What::Invoked), (2, 0, granted(7)), (3, 1, What::Invoked), (4, 1, granted(5))];
        let judgement = judge(&run(1, 2, &table));
        assert_eq!(judgement.verdict, Verdict::Holds, "the agent may yet keep it out");
        assert_eq!(figure(&judgement, "grants out of order"), Amount::Count(1));
        table.push((5, 1, entered_with(5)));
        assert_eq!(
            witness(judge(&run(1, 2, &table))).last().unwrap(),
            "entered with token 0.5 after token 0.7"
        );
    }

    #[test]
    fn rejects_a_token_that_was_granted_twice_in_whatever_order() {
        let asked = |task| (1, task, What::Invoked);
        let table = [
            asked(0),
            asked(1),
            asked(2),
            asked(3),
            (2, 0, granted(5)),
            (3, 1, granted(3)),
            (4, 2, granted(3)),
            (5, 3, granted(5)),
        ];
        let judgement = judge(&run(1, 4, &table));
        assert_eq!((judgement.violations, figure(&judgement, "tokens granted twice")), (2, Amount::Count(2)));
    }

    #[test]
    fn rejects_a_stale_entry_and_a_stale_write_and_shows_both_sections() {
        let entry = [(1, 0, entered_with(5)), (1, 0, What::ReleaseSent), (2, 1, entered_with(3))];
        let judgement = judge(&run(1, 2, &entry));
        assert_eq!(figure(&judgement, "stale entries accepted"), Amount::Count(1));
        assert_eq!(witness(judgement).len(), 3, "a release says nothing of tokens");
        let write = [(1, 0, entered_with(1)), (2, 1, entered_with(2)), (3, 1, left(1)), (4, 0, left(1))];
        let judgement = judge(&run(1, 2, &write));
        assert_eq!(figure(&judgement, "stale writes accepted"), Amount::Count(1));
        assert_eq!(witness(judgement)[4], "wrote with token 0.1 after token 0.2 had entered");
    }

    #[test]
    fn shared_sections_enter_in_any_order_but_not_behind_an_exclusive_one() {
        let modes = [Shared, Shared, Exclusive, Shared];
        let mut table = vec![
            (1, 0, granted(2)),
            (1, 0, entered_with(2)),
            (2, 1, entered_with(1)),
            (3, 2, entered_with(4)),
        ];
        assert_eq!(judge(&run_of(1, &modes, &table)).verdict, Verdict::Holds);
        table.push((4, 3, entered_with(3)));
        assert_eq!(judge(&run_of(1, &modes, &table)).violations, 1);
    }

    #[test]
    fn a_write_that_the_agent_rejected_is_no_violation() {
        let table = [
            (1, 0, granted(1)),
            (1, 0, entered_with(1)),
            (2, 0, What::Superseded),
            (2, 1, entered_with(2)),
            (3, 0, What::Rejected { reason: "superseded".to_owned() }),
            (3, 0, What::Left { wrote: None }),
        ];
        let judgement = judge(&run(1, 2, &table));
        assert_eq!(judgement.verdict, Verdict::Holds);
        assert_eq!(figure(&judgement, "rejected by the agent"), Amount::Count(1));
    }

    #[test]
    fn the_highest_grant_before_an_event_is_found_wherever_it_is() {
        let mut slot = Slot::default();
        let step = StepRef { task: crate::model::TaskId(0), step: 0 };
        for grant in 0..100 {
            assert!(slot.grant(10 * grant, Token { generation: 0, sequence: u64::from(grant) }, step));
        }
        for at in 0..1000 {
            let expected = u64::from(at).checked_sub(1).map(|before| before / 10);
            assert_eq!(slot.highest_before(at).map(|(token, _)| token.sequence), expected, "before {at}");
        }
    }

    #[test]
    fn says_nothing_without_tokens() {
        assert!(matches!(judge(&run(1, 1, &[(1, 0, entered(0, 0))])).verdict, Verdict::NotApplicable { .. }));
    }
}
