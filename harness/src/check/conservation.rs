//! Conservation: what a task claims about its end is what the agent saw.

use std::collections::HashMap;

use super::{Check, Judgement, MustCatch, excerpt};
use crate::event::What;
use crate::mechanism::Outcome;
use crate::plan::{StepRef, TaskId};
use crate::run::Run;

/// Each task returns at most once; a completed one has had each of its steps inside exactly once, with effect; one
/// that was refused or timed out has had no effect at its root.
pub(super) const CHECK: Check = Check {
    name: "conservation",
    question: "Did every task that claims completion run each of its steps exactly once, and every refused one none?",
    must_catch_none: MustCatch::No,
    judge,
};

#[derive(Default)]
struct Seen {
    entered: u32,
    effects: u32,
    returned: Vec<Outcome>,
}

fn judge(run: &Run) -> Judgement {
    let mut seen: HashMap<StepRef, Seen> = HashMap::new();
    for event in &run.events {
        let seen = seen.entry(event.step).or_default();
        match &event.what {
            What::Entered { .. } => seen.entered += 1,
            What::Left { wrote } => {
                let level = run.plan.resource(event.step).level;
                seen.effects += u32::from(wrote.is_some() || level == 0);
            }
            What::Returned { outcome } => seen.returned.push(outcome.clone()),
            _ => {}
        }
    }
    let (mut examined, mut violations, mut witness) = (0, 0, Vec::new());
    for (number, task) in run.plan.tasks.iter().enumerate() {
        let step = |step: usize| StepRef { task: TaskId(number as u32), step: step as u16 };
        let Some(root) = seen.get(&step(0)) else { continue };
        examined += 1;
        let effects =
            |place: usize| seen.get(&step(place)).map_or((0, 0), |seen| (seen.entered, seen.effects));
        let fault = match root.returned.as_slice() {
            [] => None,
            [Outcome::Completed] => {
                (0..task.steps.len()).find(|place| effects(*place) != (1, 1)).map(|place| {
                    format!(
                        "completed, but step {place} was (inside, with effect) {:?} times",
                        effects(place)
                    )
                })
            }
            [Outcome::Refused(_) | Outcome::TimedOut] if effects(0).1 > 0 => {
                Some("refused or timed out, but it had an effect".to_owned())
            }
            [_] => None,
            many => Some(format!("returned {} times", many.len())),
        };
        if let Some(fault) = fault {
            violations += 1;
            if witness.is_empty() {
                let steps: Vec<_> = (0..task.steps.len()).map(step).collect();
                witness = excerpt(run, &steps, u64::MAX);
                witness.push(format!("task {number}: {fault}"));
            }
        }
    }
    Judgement::new(examined, violations, witness, "no task was offered")
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{completed, entered, left, run};
    use super::*;
    use crate::record::Verdict;

    #[test]
    fn accepts_a_completed_task_that_ran_once_and_one_that_timed_out_untouched() {
        let timed_out = What::Returned { outcome: Outcome::TimedOut };
        let table = [
            (1, 0, What::Invoked),
            (1, 0, entered(0, 0)),
            (2, 0, left(1)),
            (3, 0, completed()),
            (4, 1, timed_out),
        ];
        assert_eq!(
            judge(&run(1, 2, &table)),
            Judgement { verdict: Verdict::Holds, examined: 2, violations: 0 }
        );
    }

    #[test]
    fn rejects_a_completion_that_never_ran() {
        let judgement = judge(&run(1, 1, &[(1, 0, What::Invoked), (3, 0, completed())]));
        let Verdict::Violated { witness } = judgement.verdict else { panic!("not caught") };
        assert_eq!(witness, ["task 0: completed, but step 0 was (inside, with effect) (0, 0) times"]);
    }

    #[test]
    fn rejects_a_task_that_ran_twice_or_returned_twice() {
        let twice = [
            (1, 0, entered(0, 0)),
            (2, 0, left(1)),
            (3, 0, entered(0, 1)),
            (4, 0, left(2)),
            (5, 0, completed()),
        ];
        assert_eq!(judge(&run(1, 1, &twice)).violations, 1);
        let returned = [(1, 0, entered(0, 0)), (2, 0, left(1)), (3, 0, completed()), (5, 0, completed())];
        assert_eq!(judge(&run(1, 1, &returned)).violations, 1);
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
