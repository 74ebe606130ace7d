//! Exclusion: never more than `level` sections inside a resource.

use std::collections::HashMap;

use super::{Check, Judgement, MustCatch, excerpt};
use crate::event::What;
use crate::plan::StepRef;
use crate::run::Run;

/// Counts sections from Entered to Left as the agent saw them; superseded ones no longer count.
pub(super) const CHECK: Check = Check {
    name: "exclusion",
    question: "Were there ever more steps inside a resource than its level allows?",
    must_catch_none: MustCatch::Yes,
    judge,
};

fn judge(run: &Run) -> Judgement {
    let mut inside: HashMap<u32, Vec<StepRef>> = HashMap::new();
    let (mut entries, mut violations, mut witness) = (0, 0, Vec::new());
    for event in &run.events {
        let resource = run.plan.step(event.step).resource;
        let level = run.plan.resources[resource as usize].level as usize;
        if level == 0 {
            continue;
        }
        let inside = inside.entry(resource).or_default();
        match event.what {
            What::Entered { .. } => {
                entries += 1;
                inside.push(event.step);
                if inside.len() > level {
                    violations += 1;
                    if witness.is_empty() {
                        witness = excerpt(run, inside, event.at_ns);
                        witness.push(format!("{} inside, level {level}", inside.len()));
                    }
                }
            }
            What::Left { .. } | What::Superseded | What::Abandoned => {
                inside.retain(|step| *step != event.step)
            }
            _ => {}
        }
    }
    Judgement::new(entries, violations, witness, "no step of level ≥ 1 entered")
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{entered, left, run};
    use super::*;
    use crate::record::Verdict;

    #[test]
    fn accepts_sections_one_after_the_other() {
        let history =
            run(1, 2, &[(1, 0, entered(0, 0)), (2, 0, left(1)), (2, 1, entered(0, 1)), (3, 1, left(2))]);
        assert_eq!(judge(&history), Judgement { verdict: Verdict::Holds, examined: 2, violations: 0 });
    }

    #[test]
    fn rejects_an_overlap_and_shows_it() {
        let history =
            run(1, 2, &[(1, 0, entered(0, 0)), (2, 1, entered(0, 0)), (3, 0, left(1)), (4, 1, left(1))]);
        let Judgement { verdict: Verdict::Violated { witness }, violations: 1, .. } = judge(&history) else {
            panic!("not caught");
        };
        assert_eq!(witness.len(), 3);
        assert!(witness[0].contains("1.000 ms  vm-7  task 0"), "{witness:?}");
        assert_eq!(witness[2], "2 inside, level 1");
    }

    #[test]
    fn counts_up_to_the_level_and_not_beyond() {
        let two = [(1, 0, entered(0, 0)), (1, 1, entered(1, 0))];
        assert_eq!(judge(&run(2, 2, &two)).verdict, Verdict::Holds);
        let three = [(1, 0, entered(0, 0)), (1, 1, entered(1, 0)), (1, 2, entered(0, 0))];
        assert_eq!(judge(&run(2, 3, &three)).violations, 1);
    }

    #[test]
    fn superseded_sections_do_not_count() {
        let history = run(1, 2, &[(1, 0, entered(0, 0)), (2, 0, What::Superseded), (2, 1, entered(0, 0))]);
        assert_eq!(judge(&history).verdict, Verdict::Holds);
    }

    #[test]
    fn says_nothing_about_nothing() {
        assert!(matches!(judge(&run(1, 0, &[])).verdict, Verdict::NotApplicable { .. }));
        assert!(matches!(judge(&run(0, 1, &[(1, 0, entered(0, 0))])).verdict, Verdict::NotApplicable { .. }));
    }
}
