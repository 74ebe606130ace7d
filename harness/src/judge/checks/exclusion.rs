//! Exclusion: never more than `level` sections inside a resource.

use super::findings::{Findings, Judgement, by_agent};
use super::{Check, MustCatch};
use crate::judge::per::PerStep;
use crate::model::{Crowd, Event, Facts, StepRef, What};

/// Counts sections from Entered to Left as the agent saw them; shared ones count as one together. A superseded section may no longer write, so it no
/// longer counts; the physical overlap, in which it does, is reported beside.
///
/// ```text
///   A  ├────────────┄┄┄┄┄┄┄┄┤     superseded when B enters with a higher token
///   B               ├───────────┤
///   inside  1  │  1 (physically 2) │ 1
/// ```
pub(super) const CHECK: Check = Check {
    name: "exclusion",
    question: "Were there ever more steps inside a resource than its level allows?",
    must_catch_none: MustCatch::Yes,
    judge,
};

#[derive(Debug, Clone, Copy, Default)]
struct Inside {
    current: Crowd,
    superseded: Crowd,
}

impl Inside {
    /// Whether more than the level are inside physically.
    fn is_crowded(self, level: u32) -> bool {
        (self.current + self.superseded).slots() > level
    }
}

fn judge(facts: &Facts, events: &[Event]) -> Judgement {
    let mut resources = vec![Inside::default(); facts.plan.resources.len()];
    let mut crowded_since_ns = vec![None; facts.plan.resources.len()];
    // How often a step is inside: more than once only if it was run twice.
    let mut steps: PerStep<Inside> = PerStep::new(&facts.plan);
    let mut found = Findings::default();
    let (mut overlaps, mut overlap_ns) = (0, 0);
    for (at, event) in events.iter().enumerate().filter(|(_, event)| event.node.is_none()) {
        let resource = facts.plan.step(event.step).resource as usize;
        let level = facts.plan.resources[resource].level;
        if level == 0 {
            continue;
        }
        let mode = facts.plan.step(event.step).mode;
        let (inside, of_step) = (&mut resources[resource], &mut steps[event.step]);
        match event.what {
            What::Entered { .. } => {
                found.examined += 1;
                *inside.current.of(mode) += 1;
                *of_step.current.of(mode) += 1;
                overlaps += u64::from(inside.is_crowded(level));
                if inside.current.slots() > level {
                    let count = inside.current.count();
                    found.violated(at, || {
                        (inside_at(facts, events, resource, at), format!("{count} inside, level {level}"))
                    });
                }
            }
            What::Superseded if of_step.current.count() > 0 => {
                for inside in [inside, of_step] {
                    *inside.current.of(mode) -= 1;
                    *inside.superseded.of(mode) += 1;
                }
            }
            What::Left { .. } | What::Abandoned if of_step.superseded.count() > 0 => {
                *inside.superseded.of(mode) -= 1;
                *of_step.superseded.of(mode) -= 1;
            }
            What::Left { .. } | What::Abandoned if of_step.current.count() > 0 => {
                *inside.current.of(mode) -= 1;
                *of_step.current.of(mode) -= 1;
            }
            _ => continue,
        }
        match (resources[resource].is_crowded(level), crowded_since_ns[resource]) {
            (true, None) => crowded_since_ns[resource] = Some(event.at_ns),
            (false, Some(since_ns)) => {
                overlap_ns += event.at_ns - since_ns;
                crowded_since_ns[resource] = None;
            }
            _ => {}
        }
    }
    let open_ns = crowded_since_ns.iter().flatten().map(|since_ns| facts.end_ns.saturating_sub(*since_ns));
    overlap_ns += open_ns.sum::<u64>();
    found.count("physical overlaps", overlaps);
    found.time("overlapping in all", overlap_ns);
    found.answer(facts, events, by_agent, "no step of level ≥ 1 entered")
}

/// Who is inside, superseded ones aside, once an event has happened.
fn inside_at(facts: &Facts, events: &[Event], resource: usize, at: usize) -> Vec<StepRef> {
    let mut inside = Vec::new();
    for event in &events[..=at] {
        if facts.plan.step(event.step).resource as usize != resource {
            continue;
        }
        match event.what {
            What::Entered { .. } => inside.push(event.step),
            What::Left { .. } | What::Superseded | What::Abandoned => {
                inside.retain(|step| *step != event.step);
            }
            _ => {}
        }
    }
    inside
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::fixture::Told;
    use crate::judge::fixture::{entered, figure, held, left, run, run_of, witness};
    use crate::model::Mode::{Exclusive, Shared};
    use crate::record::{Amount, Verdict};

    fn judge(told: &Told) -> Judgement {
        told.judged_by(&CHECK)
    }

    #[test]
    fn accepts_sections_one_after_the_other() {
        let history =
            run(1, 2, &[(1, 0, entered(0, 0)), (2, 0, left(1)), (2, 1, entered(0, 1)), (3, 1, left(2))]);
        let judgement = judge(&history);
        assert_eq!(held(&judgement), (Verdict::Holds, 2, 0));
        assert_eq!(figure(&judgement, "physical overlaps"), Amount::Count(0));
    }

    #[test]
    fn rejects_an_overlap_and_shows_it() {
        let history =
            run(1, 2, &[(1, 0, entered(0, 0)), (2, 1, entered(0, 0)), (3, 0, left(1)), (4, 1, left(1))]);
        let judgement = judge(&history);
        assert_eq!(judgement.violations, 1);
        assert_eq!(figure(&judgement, "overlapping in all"), Amount::Ns(1_000_000));
        let witness = witness(judgement);
        assert_eq!(witness.len(), 3);
        assert!(witness[0].contains("1.000 ms  vm-7  task 0"), "{witness:?}");
        assert_eq!(witness[2], "2 inside, level 1");
    }

    #[test]
    fn the_witness_leaves_out_those_who_have_left() {
        let history = run(
            1,
            3,
            &[(1, 0, entered(0, 0)), (2, 0, left(1)), (3, 1, entered(0, 1)), (4, 2, entered(0, 1))],
        );
        assert_eq!(witness(judge(&history)).len(), 3);
    }

    #[test]
    fn counts_up_to_the_level_and_not_beyond() {
        let two = [(1, 0, entered(0, 0)), (1, 1, entered(1, 0))];
        assert_eq!(judge(&run(2, 2, &two)).verdict, Verdict::Holds);
        let three = [(1, 0, entered(0, 0)), (1, 1, entered(1, 0)), (1, 2, entered(0, 0))];
        assert_eq!(judge(&run(2, 3, &three)).violations, 1);
    }

    #[test]
    fn shared_sections_exclude_others_and_not_each_other() {
        let modes = [Shared, Shared, Exclusive];
        let mut table = vec![(1, 0, entered(0, 0)), (2, 1, entered(0, 0)), (3, 0, left(0)), (4, 1, left(0))];
        assert_eq!(judge(&run_of(1, &modes, &table)).verdict, Verdict::Holds);
        table.insert(3, (3, 2, entered(0, 0)));
        let judgement = judge(&run_of(1, &modes, &table));
        assert_eq!(
            (judgement.violations, figure(&judgement, "overlapping in all")),
            (1, Amount::Ns(1_000_000))
        );
    }

    #[test]
    fn a_step_that_is_inside_twice_counts_twice() {
        let history = run(1, 1, &[(1, 0, entered(0, 0)), (2, 0, entered(0, 0))]);
        assert_eq!(judge(&history).violations, 1);
    }

    #[test]
    fn superseded_sections_do_not_count_but_overlap_physically() {
        let history = run(
            1,
            2,
            &[
                (1, 0, entered(0, 0)),
                (2, 0, What::Superseded),
                (2, 1, entered(0, 0)),
                (5, 0, What::Left { wrote: None }),
                (9, 1, left(1)),
            ],
        );
        let judgement = judge(&history);
        assert_eq!(held(&judgement), (Verdict::Holds, 2, 0));
        assert_eq!(figure(&judgement, "physical overlaps"), Amount::Count(1));
        assert_eq!(figure(&judgement, "overlapping in all"), Amount::Ns(3_000_000));
    }

    #[test]
    fn says_nothing_about_nothing() {
        assert!(matches!(judge(&run(1, 0, &[])).verdict, Verdict::NotApplicable { .. }));
        assert!(matches!(judge(&run(0, 1, &[(1, 0, entered(0, 0))])).verdict, Verdict::NotApplicable { .. }));
    }
}
