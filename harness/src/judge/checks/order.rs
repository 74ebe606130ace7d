//! Order: were steps let in in the order in which they were asked for, and how far off?

use std::collections::VecDeque;

use super::check::{Check, Fold, MustCatch};
use super::findings::{Findings, Found};
use crate::judge::per::LivePerStep;
use crate::judge::settled::Settles;
use crate::model::{Event, Facts, StepRef, What};
use crate::record::Verdict;

/// Counts entries that overtook somebody who had waited longer at the same resource, and the most by which one did.
///
/// It is a figure, not a judgement, unless the mechanism promises an order: no history shows when a request reached the
/// queue that orders it. Where an order is promised, an overtaking counts only beyond the spread in which requests may
/// pass each other on their way ([`Promises::in_order_beyond_ns`](crate::model::Promises::in_order_beyond_ns)).
pub(super) const CHECK: Check = Check {
    name: "order",
    question: "Did steps enter in the order in which they were asked for?",
    counted: "entries out of order",
    must_catch_none: MustCatch::No,
    begin,
};

#[derive(Debug, Clone, Copy, Default)]
struct Waiter {
    invoked_ns: u64,
    /// Entered, or given up.
    gone: bool,
}

impl Settles for Waiter {
    /// Whether it is gone.
    type Brief = bool;

    fn brief(&self) -> Option<bool> {
        // Since when it had waited is asked no more.
        (self.gone || self.invoked_ns == 0).then_some(self.gone)
    }

    fn from_brief(gone: bool) -> Self {
        Self { invoked_ns: 0, gone }
    }
}

struct Watch<'a> {
    facts: &'a Facts,
    /// By resource: who waits, the longest first; those gone are dropped when they come to the front.
    queues: Vec<VecDeque<StepRef>>,
    waiters: LivePerStep<'a, Waiter>,
    found: Findings,
    overtakings: u64,
    most_ns: u64,
}

fn begin(facts: &Facts) -> Box<dyn Fold + '_> {
    let queues = vec![VecDeque::new(); facts.plan.resources.len()];
    let waiters = LivePerStep::new(&facts.plan);
    Box::new(Watch { facts, queues, waiters, found: Findings::default(), overtakings: 0, most_ns: 0 })
}

impl Fold for Watch<'_> {
    fn see(&mut self, at: usize, event: &Event) {
        let Self { facts, queues, waiters, found, overtakings, most_ns } = self;
        let step = event.step;
        let resource = facts.plan.step(step).resource as usize;
        if facts.plan.resources[resource].level == 0 {
            return;
        }
        let queue = &mut queues[resource];
        match event.what {
            What::Invoked => {
                *waiters.at(step) = Waiter { invoked_ns: event.at_ns, gone: false };
                queue.push_back(step);
            }
            What::Entered { .. } if !waiters.get(step).gone => {
                found.examined += 1;
                let waiter = waiters.at(step);
                waiter.gone = true;
                let invoked_ns = waiter.invoked_ns;
                while queue.front().is_some_and(|first| *first != step && waiters.get(*first).gone) {
                    queue.pop_front();
                }
                let Some(first) = queue.front().copied().filter(|first| *first != step) else {
                    queue.pop_front();
                    return;
                };
                *overtakings += 1;
                let by_ns = invoked_ns.saturating_sub(waiters.get(first).invoked_ns);
                *most_ns = (*most_ns).max(by_ns);
                if facts
                    .promises
                    .in_order_beyond_ns
                    .is_some_and(|spread_ns| by_ns > spread_ns + facts.earlier_ns)
                {
                    let note = || format!("overtook one who had waited {:.3} ms longer", by_ns as f64 / 1e6);
                    found.violated(at, || (vec![first, step], note()));
                }
            }
            What::Returned { .. } => waiters.at(step).gone = true,
            _ => {}
        }
    }

    fn finish(self: Box<Self>) -> Found {
        let Self { facts, mut found, overtakings, most_ns, .. } = *self;
        found.count("overtakings", overtakings);
        found.time("overtook by at most", most_ns);
        let mut answer = found.answer(shown, "no step of level ≥ 1 entered");
        if facts.promises.in_order_beyond_ns.is_none() && answer.judgement.examined > 0 {
            answer.judgement.verdict = Verdict::NotApplicable { reason: "no order is promised".to_owned() };
        }
        answer
    }
}

fn shown(event: &Event) -> bool {
    matches!(event.what, What::Invoked | What::Entered { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::checks::Judgement;
    use crate::judge::fixture::Told;
    use crate::judge::fixture::{completed, entered, figure, granted, held, run, witness};
    use crate::model::Promises;
    use crate::record::Amount;

    fn judge(told: &Told) -> Judgement {
        told.judged_by(&CHECK)
    }

    const MS: u64 = 1_000_000;

    fn promised(spread_ms: u64, tasks: u32, table: &[(u64, u32, What)]) -> Judgement {
        let mut run = run(1, tasks, table);
        run.facts.promises = Promises { in_order_beyond_ns: Some(spread_ms * MS), ..Promises::default() };
        judge(&run)
    }

    #[test]
    fn accepts_the_order_of_asking_and_those_who_gave_up() {
        let table = [
            (1, 0, What::Invoked),
            (2, 1, What::Invoked),
            (3, 2, What::Invoked),
            (4, 0, entered(0, 0)),
            (5, 1, completed()),
            (6, 2, entered(0, 0)),
        ];
        let judgement = promised(0, 3, &table);
        assert_eq!(held(&judgement), (Verdict::Holds, 2, 0));
        assert_eq!(figure(&judgement, "overtakings"), Amount::Count(0));
    }

    #[test]
    fn rejects_an_overtaking_beyond_the_spread_where_order_is_promised() {
        let table =
            [(1, 0, What::Invoked), (9, 1, What::Invoked), (10, 1, granted(1)), (10, 1, entered(0, 0))];
        assert_eq!(promised(8, 2, &table).verdict, Verdict::Holds);
        let witness = witness(promised(7, 2, &table));
        assert_eq!(witness.len(), 4, "a grant says nothing of order");
        assert_eq!(witness[3], "overtook one who had waited 8.000 ms longer");
    }

    #[test]
    fn a_step_that_is_run_again_overtakes_nobody() {
        let table = [
            (1, 0, What::Invoked),
            (2, 1, What::Invoked),
            (3, 0, entered(0, 0)),
            (4, 0, entered(0, 0)),
            (5, 1, entered(0, 0)),
        ];
        let judgement = promised(0, 2, &table);
        assert_eq!(held(&judgement), (Verdict::Holds, 2, 0));
        assert_eq!(figure(&judgement, "overtakings"), Amount::Count(0));
    }

    #[test]
    fn says_nothing_about_nothing() {
        let Verdict::NotApplicable { reason } = judge(&run(1, 1, &[])).verdict else { panic!("judged") };
        assert_eq!(reason, "no step of level ≥ 1 entered");
    }

    #[test]
    fn measures_without_judging_where_no_order_is_promised() {
        let table = [
            (1, 0, What::Invoked),
            (3, 1, What::Invoked),
            (9, 2, What::Invoked),
            (10, 2, entered(0, 0)),
            (11, 1, entered(0, 0)),
            (12, 0, entered(0, 0)),
        ];
        let judgement = judge(&run(1, 3, &table));
        assert!(matches!(judgement.verdict, Verdict::NotApplicable { .. }));
        assert_eq!(figure(&judgement, "overtakings"), Amount::Count(2));
        assert_eq!(figure(&judgement, "overtook by at most"), Amount::Ns(8 * MS));
    }
}
