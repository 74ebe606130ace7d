//! Exactly once: each submission has one outcome, and takes effect at most once.

use super::{Check, Findings, Judgement, MustCatch, PerStep};
use crate::event::{Event, What};
use crate::mechanism::Outcome;
use crate::run::Run;

/// No step returns twice, is inside twice, or enters after its caller was told that it will not run. That a step which
/// claims completion was inside at all is the question of `conservation`; that every submission gets an outcome is one
/// of `progress`.
pub(super) const CHECK: Check = Check {
    name: "exactly-once",
    question: "Did every step have one outcome, and did none run twice or after it was withdrawn?",
    must_catch_none: MustCatch::No,
    judge,
};

#[derive(Debug, Clone, Copy, Default)]
struct Life {
    entered: bool,
    effect: bool,
    outcome: Told,
}

/// What the caller has been told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Told {
    #[default]
    Nothing,
    Ended,
    /// That it will not run.
    Withdrawn,
}

fn judge(run: &Run) -> Judgement {
    let mut lives: PerStep<Life> = PerStep::new(&run.plan);
    let mut found = Findings::default();
    let mut effects_again = 0;
    for (at, event) in run.events.iter().enumerate() {
        let life = &mut lives[event.step];
        let wrong = match &event.what {
            What::Invoked => {
                found.examined += 1;
                None
            }
            What::Entered { .. } => {
                let wrong = match *life {
                    Life { entered: true, .. } => Some("it entered twice"),
                    Life { outcome: Told::Withdrawn, .. } => {
                        Some("it entered after it was refused or timed out")
                    }
                    _ => None,
                };
                life.entered = true;
                wrong
            }
            What::Left { wrote: Some(_) } => {
                effects_again += u64::from(life.effect);
                life.effect = true;
                None
            }
            What::Returned { outcome } => {
                let wrong = (life.outcome != Told::Nothing).then_some("it returned twice");
                life.outcome = match outcome {
                    Outcome::Refused(_) | Outcome::TimedOut => Told::Withdrawn,
                    _ => Told::Ended,
                };
                wrong
            }
            _ => None,
        };
        if let Some(wrong) = wrong {
            found.violated(at, || (vec![event.step], wrong.to_owned()));
        }
    }
    found.count("effects applied again", effects_again);
    found.answer(run, shown, "no step was asked for")
}

fn shown(event: &Event) -> bool {
    matches!(event.what, What::Invoked | What::Returned { .. }) || event.node.is_none()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{completed, entered, figure, held, left, run, witness};
    use super::*;
    use crate::record::{Amount, Verdict};

    #[test]
    fn accepts_one_outcome_after_one_section() {
        let table = [
            (1, 0, What::Invoked),
            (1, 0, entered(0, 0)),
            (2, 0, left(1)),
            (3, 0, completed()),
            (4, 1, What::Invoked),
        ];
        assert_eq!(held(&judge(&run(1, 2, &table))), (Verdict::Holds, 2, 0));
    }

    #[test]
    fn rejects_a_step_that_ran_twice() {
        let table = [
            (1, 0, What::Invoked),
            (1, 0, entered(0, 0)),
            (2, 0, left(1)),
            (3, 0, entered(0, 1)),
            (4, 0, left(2)),
            (5, 0, completed()),
        ];
        let judgement = judge(&run(1, 1, &table));
        assert_eq!(judgement.violations, 1);
        assert_eq!(figure(&judgement, "effects applied again"), Amount::Count(1));
        assert_eq!(witness(judgement).last().unwrap(), "it entered twice");
    }

    #[test]
    fn rejects_a_second_outcome() {
        let table = [(1, 0, What::Invoked), (2, 0, completed()), (3, 0, completed())];
        assert_eq!(witness(judge(&run(1, 1, &table))).last().unwrap(), "it returned twice");
    }

    #[test]
    fn rejects_a_step_that_runs_after_it_was_withdrawn() {
        let timed_out = What::Returned { outcome: Outcome::TimedOut };
        let table = [(1, 0, What::Invoked), (2, 0, timed_out), (3, 0, entered(0, 0))];
        assert_eq!(judge(&run(1, 1, &table)).violations, 1);
        // Of an unknown outcome nothing was said.
        let unknown = What::Returned { outcome: Outcome::Unknown("no answer".to_owned()) };
        let table = [(1, 0, What::Invoked), (2, 0, unknown), (3, 0, entered(0, 0))];
        assert_eq!(judge(&run(1, 1, &table)).verdict, Verdict::Holds);
    }
}
