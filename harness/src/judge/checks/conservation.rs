//! Conservation: what a task claims about its end is what the agent saw.

use super::check::{Check, Fold, MustCatch};
use super::findings::{AT_THE_END, Findings, Found, by_agent};
use crate::judge::per::PerStep;
use crate::model::{Event, Facts, Mode, Outcome, StepRef, TaskId, What};

/// A completed task has had each of its steps inside, with effect; one that was refused or timed out has had no effect
/// at its root. Whether anything happened more than once is the question of `exactly-once`.
pub(super) const CHECK: Check = Check {
    name: "conservation",
    question: "Did every task that claims completion run all of its steps, and every refused one none?",
    counted: "tasks unaccounted for",
    must_catch_none: MustCatch::No,
    begin,
};

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    asked: bool,
    left: bool,
    effect: bool,
    claim: Claim,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Claim {
    #[default]
    None,
    Completed,
    Untouched,
}

struct Watch<'a> {
    facts: &'a Facts,
    seen: PerStep<Seen>,
}

fn begin(facts: &Facts) -> Box<dyn Fold + '_> {
    Box::new(Watch { facts, seen: PerStep::new(&facts.plan) })
}

impl Fold for Watch<'_> {
    fn see(&mut self, _at: usize, event: &Event) {
        let seen = &mut self.seen[event.step];
        match &event.what {
            What::Left { wrote } => {
                seen.left = true;
                seen.effect |= wrote.is_some();
            }
            What::Returned { outcome: Outcome::Completed } => seen.claim = Claim::Completed,
            What::Returned { outcome: Outcome::Refused(_) | Outcome::TimedOut } => {
                seen.claim = Claim::Untouched;
            }
            _ => {}
        }
        seen.asked = true;
    }

    fn finish(self: Box<Self>) -> Found {
        let Self { facts, seen } = *self;
        let mut found = Findings::default();
        for (number, steps) in seen.tasks().enumerate() {
            let Some(root) = steps.first().filter(|root| root.asked) else { continue };
            found.examined += 1;
            let step = |place| StepRef { task: TaskId(number as u32), step: place as u16 };
            // A shared step writes nothing, nor does one that has found what it looked for, and at level 0 there is no value.
            let writes = |step| {
                let planned = facts.plan.step(step);
                let always = planned.mode == Mode::Exclusive && planned.create_ns.is_none();
                always && facts.plan.resource(step).level > 0
            };
            let done = |place, seen: &Seen| if writes(step(place)) { seen.effect } else { seen.left };
            let wrong = match root.claim {
                Claim::Completed => (0..steps.len())
                    .find(|place| !done(*place, &steps[*place]))
                    .map(|step| format!("task {number}: completed, but step {step} had no effect")),
                Claim::Untouched if root.effect => {
                    Some(format!("task {number}: refused or timed out, but it had an effect"))
                }
                _ => None,
            };
            if let Some(wrong) = wrong {
                found.violated(AT_THE_END, || ((0..steps.len()).map(step).collect(), wrong));
            }
        }
        found.answer(by_agent, "no task was offered")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::checks::Judgement;
    use crate::judge::fixture::Told;
    use crate::judge::fixture::{completed, entered, held, left, run, run_of, witness};
    use crate::record::Verdict;

    fn judge(told: &Told) -> Judgement {
        told.judged_by(&CHECK)
    }

    #[test]
    fn a_shared_step_has_to_run_but_not_to_write() {
        let mut table = vec![(1, 0, completed())];
        assert_eq!(judge(&run_of(1, &[Mode::Shared], &table)).violations, 1);
        table.splice(0..0, [(1, 0, entered(0, 0)), (1, 0, What::Left { wrote: None })]);
        assert_eq!(judge(&run_of(1, &[Mode::Shared], &table)).verdict, Verdict::Holds);
    }

    #[test]
    fn accepts_a_completed_task_that_ran_and_one_that_timed_out_untouched() {
        let timed_out = What::Returned { outcome: Outcome::TimedOut };
        let table = [
            (1, 0, What::Invoked),
            (1, 0, entered(0, 0)),
            (2, 0, left(1)),
            (3, 0, completed()),
            (4, 1, timed_out),
        ];
        assert_eq!(held(&judge(&run(1, 2, &table))), (Verdict::Holds, 2, 0));
    }

    #[test]
    fn rejects_a_completion_that_never_ran() {
        let judgement = judge(&run(1, 1, &[(1, 0, What::Invoked), (3, 0, completed())]));
        assert_eq!(witness(judgement), ["task 0: completed, but step 0 had no effect"]);
    }

    #[test]
    fn rejects_a_completion_without_effect() {
        let table = [(1, 0, entered(0, 0)), (2, 0, What::Left { wrote: None }), (3, 0, completed())];
        assert_eq!(witness(judge(&run(1, 1, &table))).len(), 3);
    }

    #[test]
    fn rejects_a_time_out_with_an_effect() {
        let timed_out = What::Returned { outcome: Outcome::TimedOut };
        assert_eq!(
            judge(&run(1, 1, &[(1, 0, entered(0, 0)), (2, 0, left(1)), (3, 0, timed_out)])).violations,
            1
        );
    }
}
