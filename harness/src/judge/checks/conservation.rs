//! Conservation: what a task claims about its end is what the agent saw.

use super::check::{Check, Fold, MustCatch};
use super::findings::{AT_THE_END, Findings, Found, by_agent};
use crate::judge::per::PerStep;
use crate::model::{Event, Facts, Mode, Outcome, StepRef, TaskId, What};

/// A completed task has had each of its steps inside, with effect; a step that was refused, rejected or timed out, or that
/// failed, has had none of its own. Whether anything happened more than once is the question of `exactly-once`.
pub(super) const CHECK: Check = Check {
    name: "conservation",
    question: "Did every task that claims completion run all of its steps, and has no step an effect that says it has none?",
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
    seen: PerStep<'a, Seen>,
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
            What::Returned {
                outcome: Outcome::Refused(_) | Outcome::TimedOut | Outcome::Failed(_) | Outcome::Rejected(_),
            } => seen.claim = Claim::Untouched,
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
            let undone = (0..steps.len())
                .find(|place| root.claim == Claim::Completed && !done(*place, &steps[*place]))
                .map(|step| format!("task {number}: completed, but step {step} had no effect"));
            let touched = (0..steps.len())
                .find(|place| steps[*place].claim == Claim::Untouched && steps[*place].effect)
                .map(|step| {
                    format!("task {number}: step {step} says that nothing was done, but it had an effect")
                });
            let wrong = undone.or(touched);
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
    use crate::model::{Plan, Step};
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
    fn a_step_of_level_0_has_to_run_but_has_nothing_to_write() {
        let into = What::Entered { slot: None, token: None, value: 0 };
        let table = [(1, 0, into), (2, 0, What::Left { wrote: None }), (3, 0, completed())];
        assert_eq!(judge(&run(0, 1, &table)).verdict, Verdict::Holds);
        assert_eq!(judge(&run(0, 1, &table[2..])).violations, 1);
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
    fn rejects_every_end_that_denies_an_effect() {
        let words = || "it".to_owned();
        let all = [
            Outcome::TimedOut,
            Outcome::Refused(words()),
            Outcome::Failed(words()),
            Outcome::Rejected(words()),
        ];
        for outcome in all {
            let returned = What::Returned { outcome };
            let table = [(1, 0, entered(0, 0)), (2, 0, left(1)), (3, 0, returned)];
            assert_eq!(judge(&run(1, 1, &table)).violations, 1, "{table:?}");
        }
        let unknown = What::Returned { outcome: Outcome::Unknown(words()) };
        let table = [(1, 0, entered(0, 0)), (2, 0, left(1)), (3, 0, unknown)];
        assert_eq!(judge(&run(1, 1, &table)).verdict, Verdict::Holds, "it denies nothing");
    }

    #[test]
    fn looks_at_every_step() {
        // The root waits for its child, which has written and says that it timed out.
        let mut told = run_of(1, &[Mode::Exclusive], &[(1, 0, What::Invoked)]);
        let mut plan = Plan::clone(&told.facts.plan);
        plan.tasks.change(|task| {
            let step = Step { end: 2, ..task.steps[0] };
            task.steps = [step, step].into();
        });
        told.facts.plan = plan.into();
        let child =
            |at_ns, what| Event { at_ns, node: None, step: StepRef { task: TaskId(0), step: 1 }, what };
        told.events.push(child(2, entered(0, 0)));
        told.events.push(child(3, left(1)));
        assert_eq!(judge(&told).verdict, Verdict::Holds);
        told.events.push(child(4, What::Returned { outcome: Outcome::TimedOut }));
        assert_eq!(
            witness(judge(&told)).last().unwrap(),
            "task 0: step 1 says that nothing was done, but it had an effect"
        );
    }
}
