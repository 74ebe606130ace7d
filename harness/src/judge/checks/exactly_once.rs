//! Exactly once: each submission has one outcome, and runs at most once, or once more each time its node was lost where
//! that is promised.

use super::check::{Check, Fold, MustCatch};
use super::findings::{Findings, Found};
use crate::judge::breakage::{Breakage, breakages};
use crate::judge::per::LivePerStep;
use crate::judge::settled::Settles;
use crate::model::{EntryPolicy, Event, Facts, NodeId, Outage, Outcome, Standstill, StepRef, What};

/// No step returns twice, is inside twice, or enters after its caller was told that it will not run. Where the mechanism
/// promises at least once ([`Promises::runs_again`](crate::model::Promises::runs_again)), a step that finds or creates
/// may be inside once more after its section was abandoned, or told that its lease is lost, or a fault has hit its node, a
/// server or a link meanwhile; not after a section that nothing has disturbed. That a step which claims completion was
/// inside at all is the question of `conservation`; that every submission gets an outcome is one of `progress`.
///
/// Where users ask again whose node has died ([`EntryPolicy::Failover`]), a step may be inside again from then on, and must not
/// write again.
pub(super) const CHECK: Check = Check {
    name: "exactly-once",
    question: "Did every step have one outcome, and did none run twice or after it was withdrawn?",
    counted: "steps not done exactly once",
    must_catch_none: MustCatch::No,
    begin,
};

#[derive(Debug, Clone, Copy, Default)]
struct Life {
    /// Where it was let in last; a node that dies may take the word with it.
    node: Option<NodeId>,
    section: Entry,
    /// That section was abandoned, or told that its lease is lost.
    disturbed: bool,
    effect: bool,
    outcome: Told,
}

/// Its last section.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Entry {
    /// It never entered.
    #[default]
    None,
    /// It entered, and must not again.
    Once,
    /// It may be run again: when it entered, and where it was let in to that.
    Since(u64, Option<NodeId>),
}

impl Settles for Life {
    /// What there is but for nodes and stamps.
    type Brief = (bool, bool, bool, Told);

    fn brief(&self) -> Option<Self::Brief> {
        let Self { node, section, disturbed, effect, outcome } = *self;
        let brief = node.is_none() && !matches!(section, Entry::Since(..));
        brief.then_some((section == Entry::Once, disturbed, effect, outcome))
    }

    fn from_brief((entered, disturbed, effect, outcome): Self::Brief) -> Self {
        let section = if entered { Entry::Once } else { Entry::None };
        Self { node: None, section, disturbed, effect, outcome }
    }
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

struct Watch<'a> {
    facts: &'a Facts,
    breakages: Vec<Breakage>,
    lives: LivePerStep<'a, Life>,
    found: Findings,
    effects_again: u64,
    sections_again: u64,
}

fn begin(facts: &Facts) -> Box<dyn Fold + '_> {
    let (breakages, lives) = (breakages(facts), LivePerStep::new(&facts.plan));
    Box::new(Watch {
        facts,
        breakages,
        lives,
        found: Findings::default(),
        effects_again: 0,
        sections_again: 0,
    })
}

impl Fold for Watch<'_> {
    fn see(&mut self, at: usize, event: &Event) {
        let Self { facts, breakages, lives, found, effects_again, sections_again } = self;
        let again = |step: StepRef| facts.promises.runs_again && facts.plan.step(step).create_ns.is_some();
        // A fault that began before the section may still last in it.
        let hit = |since_ns: u64, node: Option<NodeId>, now_ns: u64| {
            breakages.iter().any(|fault| {
                let meanwhile =
                    fault.from_ns <= now_ns && fault.until_ns.is_none_or(|until_ns| until_ns >= since_ns);
                meanwhile && (fault.node.is_none() || fault.node == node)
            })
        };
        // Any node may have been theirs: the entry, or one that stood in for it.
        let asked_again = |now_ns: u64| {
            let intended_ns = facts.origin_ns + facts.plan.task(event.step.task).arrival_ns;
            let died = |outage: &Outage| {
                outage.state == Standstill::Down && (intended_ns..=now_ns).contains(&outage.from_ns)
            };
            facts.plan.entry == EntryPolicy::Failover && facts.outages.iter().any(died)
        };
        let life = lives.at(event.step);
        let wrong = match &event.what {
            What::Invoked => {
                found.examined += 1;
                None
            }
            What::Granted { .. } => {
                life.node = event.node;
                None
            }
            What::Abandoned | What::Lost => {
                life.disturbed = true;
                None
            }
            What::Entered { .. } => {
                let wrong = match life.section {
                    Entry::Since(since_ns, node) => {
                        let may =
                            life.disturbed || hit(since_ns, node, event.at_ns) || asked_again(event.at_ns);
                        *sections_again += u64::from(may);
                        (!may).then_some("it entered twice")
                    }
                    Entry::Once if asked_again(event.at_ns) => {
                        *sections_again += 1;
                        None
                    }
                    Entry::Once => Some("it entered twice"),
                    Entry::None if life.outcome == Told::Withdrawn => {
                        Some("it entered after it was refused or timed out")
                    }
                    Entry::None => None,
                };
                let node = life.node.take();
                life.section = if again(event.step) { Entry::Since(event.at_ns, node) } else { Entry::Once };
                life.disturbed = false;
                wrong
            }
            What::Left { wrote: Some(_) } => {
                *effects_again += u64::from(life.effect);
                let wrong = facts.plan.entry == EntryPolicy::Failover && life.effect;
                life.effect = true;
                wrong.then_some("it was asked for again, and applied twice")
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

    fn finish(self: Box<Self>) -> Found {
        let Self { mut found, effects_again, sections_again, .. } = *self;
        found.count("effects applied again", effects_again);
        found.count("sections run again", sections_again);
        found.answer(shown, "no step was asked for")
    }
}

fn shown(event: &Event) -> bool {
    matches!(event.what, What::Invoked | What::Returned { .. }) || event.node.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::checks::Judgement;
    use crate::judge::fixture::Told;
    use crate::judge::fixture::{completed, creating, entered, figure, granted, held, left, run, witness};
    use crate::model::{Outage, Promises, Standstill};
    use crate::record::{Amount, Verdict};

    fn judge(told: &Told) -> Judgement {
        told.judged_by(&CHECK)
    }

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
            (1, 0, granted(1)),
            (1, 0, entered(0, 0)),
            (2, 0, left(1)),
            (3, 0, entered(0, 1)),
            (4, 0, left(2)),
            (5, 0, completed()),
        ];
        let judgement = judge(&run(1, 1, &table));
        assert_eq!(judgement.violations, 1);
        assert_eq!(figure(&judgement, "effects applied again"), Amount::Count(1));
        let witness = witness(judgement);
        assert_eq!(witness.last().unwrap(), "it entered twice");
        assert_eq!(witness.len(), 5, "asked for, in, out, in again, and what is wrong: {witness:?}");
    }

    #[test]
    fn rejects_a_second_outcome() {
        let table = [(1, 0, What::Invoked), (2, 0, completed()), (3, 0, completed())];
        let witness = witness(judge(&run(1, 1, &table)));
        assert_eq!(witness.last().unwrap(), "it returned twice");
        assert_eq!(witness.len(), 4, "{witness:?}");
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

    /// Let in at node 0, abandoned at 3 ms, and let in again at 5.
    fn restarted() -> Told {
        let table = [
            (1, 0, What::Invoked),
            (1, 0, granted(1)),
            (1, 0, entered(0, 0)),
            (3, 0, What::Abandoned),
            (5, 0, granted(2)),
            (5, 0, entered(0, 0)),
            (6, 0, left(1)),
            (7, 0, completed()),
        ];
        let mut run = creating(1, &table);
        run.facts.promises = Promises { runs_again: true, ..Promises::default() };
        run.facts.outages = vec![kill(0, 3)];
        run
    }

    fn kill(node: u16, ms: u64) -> Outage {
        let (node, state) = (NodeId(node), Standstill::Down);
        Outage { node, from_ns: ms * 1_000_000, until_ns: u64::MAX, state, unplanned: None }
    }

    #[test]
    fn accepts_that_a_step_runs_again_whose_node_was_lost_where_that_is_promised() {
        let judgement = judge(&restarted());
        assert_eq!(judgement.verdict, Verdict::Holds);
        assert_eq!(figure(&judgement, "sections run again"), Amount::Count(1));
        let mut run = restarted();
        run.facts.promises = Promises::default();
        assert_eq!(witness(judge(&run)).last().unwrap(), "it entered twice");
    }

    #[test]
    fn accepts_it_after_the_loss_of_its_lease_or_of_its_node_alone() {
        let mut run = restarted();
        run.facts.outages.clear();
        assert_eq!(judge(&run).verdict, Verdict::Holds, "the agent saw the end of its node");
        (run.events[3].what, run.events[3].node) = (What::Lost, Some(NodeId(0)));
        assert_eq!(judge(&run).verdict, Verdict::Holds, "its holder was told");
        run.events.remove(3);
        run.facts.outages = vec![kill(0, 3)];
        assert_eq!(judge(&run).verdict, Verdict::Holds, "its node was hit");
    }

    #[test]
    fn rejects_that_a_step_runs_again_though_nothing_has_disturbed_it() {
        for outages in [vec![], vec![kill(1, 3)], vec![kill(0, 9)]] {
            let mut run = restarted();
            run.events.remove(3);
            run.facts.outages = outages;
            assert_eq!(judge(&run).violations, 1, "{:?}", run.facts.outages);
        }
        // What was over before it entered has not disturbed it; what ended in it has.
        for (until_ns, violations) in [(999_999, 1), (1_000_000, 0)] {
            let mut run = restarted();
            run.events.remove(3);
            run.facts.outages = vec![Outage { until_ns, state: Standstill::Paused, ..kill(0, 0) }];
            assert_eq!(judge(&run).violations, violations, "until {until_ns}");
        }
        // One loss excuses one more section.
        let mut run = restarted();
        let again = run.events[4..6].to_vec();
        run.events.splice(6..6, again);
        run.facts.outages.clear();
        assert_eq!(judge(&run).violations, 1);
    }

    #[test]
    fn rejects_that_a_step_runs_again_which_writes_each_time() {
        let mut run = restarted();
        let plan = std::sync::Arc::make_mut(&mut run.facts.plan);
        plan.tasks.change(|task| task.steps[0].create_ns = None);
        assert_eq!(judge(&run).violations, 1);
    }

    /// A user whose node is killed while his step is inside, at 3 ms, and who asks elsewhere.
    fn asked_again() -> Told {
        let mut run = restarted();
        let plan = std::sync::Arc::make_mut(&mut run.facts.plan);
        plan.tasks.change(|task| task.steps[0].create_ns = None);
        plan.entry = EntryPolicy::Failover;
        run.facts.promises = Promises::default();
        run
    }

    #[test]
    fn accepts_that_a_step_is_inside_again_whose_user_has_lost_his_node_and_asked_elsewhere() {
        let judgement = judge(&asked_again());
        assert_eq!(judgement.verdict, Verdict::Holds);
        assert_eq!(figure(&judgement, "sections run again"), Amount::Count(1));
        let mut nobody_died = asked_again();
        nobody_died.facts.outages.clear();
        assert_eq!(witness(judge(&nobody_died)).last().unwrap(), "it entered twice");
    }

    #[test]
    fn rejects_that_what_was_asked_for_again_is_applied_twice() {
        let mut run = asked_again();
        // It was done when its node died, and nobody looked whether it was.
        (run.events[3].what, run.events[3].at_ns) = (left(1), 2_000_000);
        let judgement = judge(&run);
        assert_eq!(figure(&judgement, "effects applied again"), Amount::Count(1));
        assert_eq!(witness(judgement).last().unwrap(), "it was asked for again, and applied twice");
    }

    #[test]
    fn a_life_without_nodes_and_stamps_is_the_same_in_brief() {
        let node = Some(NodeId(3));
        for section in [Entry::None, Entry::Once, Entry::Since(7, node), Entry::Since(7, None)] {
            for outcome in [super::Told::Nothing, super::Told::Ended, super::Told::Withdrawn] {
                for (disturbed, effect) in [(false, false), (false, true), (true, false)] {
                    let life = Life { node: None, section, disturbed, effect, outcome };
                    let brief = life.brief();
                    assert_eq!(brief.is_some(), matches!(section, Entry::None | Entry::Once));
                    assert!(Life { node, ..life }.brief().is_none(), "where it was let in would be lost");
                    let Some(brief) = brief else { continue };
                    let same = Life::from_brief(brief);
                    assert_eq!((same.node, same.section, same.outcome), (None, section, outcome));
                    assert_eq!((same.disturbed, same.effect), (disturbed, effect));
                }
            }
        }
    }
}
