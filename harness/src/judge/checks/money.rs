//! Money: what is moved from one account to another is neither lost nor made.

use super::check::{Check, Fold, MustCatch};
use super::findings::{AT_THE_END, Findings, Found, by_agent};
use crate::model::{Event, Facts};

/// The accounts are looked at when all nodes have gone and what was in doubt has been settled as the design settles it: by
/// a decision that was written down, by undoing what was begun, or not at all. How many transfers were in doubt until then is
/// counted beside; that they end in time is the question of `progress`.
pub(super) const CHECK: Check = Check {
    name: "money",
    question: "Is as much money in all accounts together as at the beginning?",
    counted: "units of money lost or made",
    must_catch_none: MustCatch::No,
    begin,
};

struct Watch<'a>(&'a Facts);

fn begin(facts: &Facts) -> Box<dyn Fold + '_> {
    Box::new(Watch(facts))
}

impl Fold for Watch<'_> {
    fn see(&mut self, _: usize, _: &Event) {}

    fn finish(self: Box<Self>) -> Found {
        let mut found = Findings::default();
        if let Some(audit) = self.0.audit {
            found.examined = audit.accounts;
            let (lost, made) =
                (audit.expected.saturating_sub(audit.found), audit.found.saturating_sub(audit.expected));
            found.count("lost", lost.max(0).unsigned_abs());
            found.count("made", made.max(0).unsigned_abs());
            found.count("transfers in doubt at the end", audit.stuck);
            let note =
                || format!("there were {} in all accounts, and there are {}", audit.expected, audit.found);
            for _ in 0..lost.unsigned_abs() {
                found.violated(AT_THE_END, || (Vec::new(), note()));
            }
        }
        found.answer(by_agent, "no money is moved")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::fixture::{figure, held, run, witness};
    use crate::model::Audit;
    use crate::record::{Amount, Verdict};

    fn audited(found: i64, stuck: u64) -> crate::judge::checks::Judgement {
        let mut run = run(1, 1, &[]);
        run.facts.audit = Some(Audit { expected: 2_000, found, accounts: 20, stuck });
        run.judged_by(&CHECK)
    }

    #[test]
    fn accepts_accounts_that_add_up_and_counts_what_was_in_doubt() {
        let judgement = audited(2_000, 3);
        assert_eq!(held(&judgement), (Verdict::Holds, 20, 0));
        assert_eq!(figure(&judgement, "transfers in doubt at the end"), Amount::Count(3));
    }

    #[test]
    fn rejects_money_that_is_lost_and_money_that_is_made() {
        for (found, name) in [(1_997, "lost"), (2_003, "made")] {
            let judgement = audited(found, 0);
            assert_eq!((judgement.violations, figure(&judgement, name)), (3, Amount::Count(3)));
            let note = format!("there were 2000 in all accounts, and there are {found}");
            assert_eq!(witness(judgement), [note]);
        }
    }

    #[test]
    fn has_nothing_to_say_where_none_is_moved() {
        let judgement = run(1, 1, &[]).judged_by(&CHECK);
        assert!(matches!(judgement.verdict, Verdict::NotApplicable { .. }));
    }
}
