//! What was around the first violation of a run, for people who want to see it with their own eyes.

use std::collections::{BTreeMap, VecDeque};

use crate::model::{Event, Events, Facts, StepRef, Token, What, describe};
use crate::record::{Moment, Stay, StayEnd, Timeline};

/// What was around the event at a place in the history, on the resource of its step: it shows that this check was violated.
///
/// # Errors
/// Those of the history.
pub fn timeline<E: Events + ?Sized>(
    check: &str,
    (at, step): (usize, StepRef),
    facts: &Facts,
    events: &E,
) -> Result<Option<Timeline>, E::Error> {
    let mut around = Around::new(facts, at, facts.plan.step(step).resource);
    events.pass(&mut |place, event| around.see(place, event))?;
    Ok(around.finish(check))
}

/// The events of one resource, as many as are needed.
struct Around<'a> {
    facts: &'a Facts,
    at: usize,
    resource: u32,
    /// The last before the violation.
    before: VecDeque<Event>,
    shows: Option<Event>,
    after: Vec<Event>,
    /// Where each step was granted, and until when, while it is under way.
    granted: BTreeMap<StepRef, (u16, Option<u64>)>,
    inside: BTreeMap<StepRef, Stay>,
    /// The last that ended before the violation, and those that ended or began after it.
    over: VecDeque<Stay>,
    /// Who was inside when it showed.
    witnesses: Vec<StepRef>,
    /// Of the last event that was looked at.
    last_ns: u64,
}

impl<'a> Around<'a> {
    fn new(facts: &'a Facts, at: usize, resource: u32) -> Self {
        Self {
            facts,
            at,
            resource,
            before: VecDeque::new(),
            shows: None,
            after: Vec::new(),
            granted: BTreeMap::new(),
            inside: BTreeMap::new(),
            over: VecDeque::new(),
            witnesses: Vec::new(),
            last_ns: 0,
        }
    }

    fn see(&mut self, place: usize, event: &Event) {
        if event.step.task.is_bystander() || self.facts.plan.step(event.step).resource != self.resource {
            return;
        }
        let showed = self.shows.is_some();
        // Whoever is inside is followed to his end; nobody else is looked at.
        let closing = showed && self.after.len() == Timeline::BESIDE && self.witnesses.is_empty();
        if closing && !self.inside.contains_key(&event.step) {
            return;
        }
        self.last_ns = event.at_ns;
        self.stay(event);
        if place == self.at {
            self.witnesses = self.inside.keys().copied().collect();
            self.shows = Some(event.clone());
        } else if is_told(&event.what) {
            self.tell(event, showed);
        }
        if matches!(event.what, What::Left { .. } | What::Abandoned) {
            self.witnesses.retain(|step| *step != event.step);
        }
    }

    /// Keeps what happened just before and just after.
    fn tell(&mut self, event: &Event, showed: bool) {
        if showed {
            if self.after.len() < Timeline::BESIDE {
                self.after.push(event.clone());
            }
            return;
        }
        self.before.push_back(event.clone());
        if self.before.len() > Timeline::BESIDE {
            self.before.pop_front();
        }
    }

    /// Follows who is inside.
    fn stay(&mut self, event: &Event) {
        let step = event.step;
        match &event.what {
            What::Granted { valid_until_ns, .. } => {
                if let Some(node) = event.node {
                    self.granted.insert(step, (node.0, *valid_until_ns));
                }
            }
            What::Returned { .. } => drop(self.granted.remove(&step)),
            What::Entered { slot, token, .. } => {
                let granted = self.granted.get(&step);
                let stay = Stay {
                    node: granted.map(|(node, _)| *node),
                    step: step.to_string(),
                    slot: *slot,
                    token: token.map(words),
                    from_ns: self.since(event.at_ns),
                    until_ns: None,
                    lease_until_ns: granted.and_then(|(_, until_ns)| until_ns.map(|ns| self.since(ns))),
                    end: StayEnd::Open,
                };
                self.inside.insert(step, stay);
            }
            What::Rejected { .. } => {
                if let Some(stay) = self.inside.get_mut(&step) {
                    stay.end = StayEnd::Refused;
                }
            }
            What::Left { wrote } => {
                self.ended(event, if wrote.is_some() { StayEnd::Wrote } else { StayEnd::NoEffect })
            }
            What::Abandoned => self.ended(event, StayEnd::Abandoned),
            What::Invoked | What::Lost | What::ReleaseSent | What::Released { .. } | What::Superseded => {}
        }
    }

    fn ended(&mut self, event: &Event, end: StayEnd) {
        let Some(stay) = self.inside.remove(&event.step) else { return };
        let end = if stay.end == StayEnd::Refused { StayEnd::Refused } else { end };
        self.over.push_back(Stay { until_ns: Some(self.since(event.at_ns)), end, ..stay });
        // Before the violation the last are enough; after it, what began then is left out at the end.
        if self.shows.is_none() && self.over.len() > Timeline::MOST_STAYS {
            self.over.pop_front();
        }
    }

    fn since(&self, at_ns: u64) -> u64 {
        at_ns.saturating_sub(self.facts.origin_ns)
    }

    fn finish(self, check: &str) -> Option<Timeline> {
        let shows = self.shows.as_ref()?;
        let at_ns = self.since(shows.at_ns);
        let name = shows.step.to_string();
        let mut stays: Vec<Stay> = self.over.iter().chain(self.inside.values()).cloned().collect();
        stays.sort_by_key(|stay| (stay.from_ns, stay.until_ns));
        let was_inside =
            |stay: &&Stay| stay.from_ns <= at_ns && stay.until_ns.is_none_or(|until_ns| until_ns >= at_ns);
        let ends =
            |stay: &Stay| stay.until_ns.unwrap_or_else(|| self.since(self.facts.end_ns.max(self.last_ns)));
        let moments = self.before.iter().chain([shows]).chain(&self.after);
        let stamps = || moments.clone().map(|event| self.since(event.at_ns));
        let inside = || stays.iter().filter(was_inside);
        let from_ns = stamps().chain(inside().map(|stay| stay.from_ns)).min().unwrap_or(at_ns);
        let until_ns = stamps().chain(inside().map(ends)).max().unwrap_or(at_ns);
        let node = stays.iter().find(|stay| stay.step == name).and_then(|stay| stay.node);
        let moments = moments
            .clone()
            .enumerate()
            .map(|(place, event)| Moment {
                at_ns: self.since(event.at_ns),
                node: event.node.map(|node| node.0),
                what: what(event, self.facts),
                shows: place == self.before.len(),
            })
            .collect();
        stays.retain(|stay| stay.from_ns <= until_ns && ends(stay) >= from_ns);
        // Those nearest to the violation stay, and whoever was inside then before all others.
        let all = stays.len();
        stays.sort_by_key(|stay| (!was_inside(&stay), stay.from_ns.abs_diff(at_ns)));
        stays.truncate(Timeline::MOST_STAYS);
        stays.sort_by_key(|stay| (stay.from_ns, stay.until_ns));
        Some(Timeline {
            check: check.to_owned(),
            resource: self.facts.plan.resource(shows.step).to_string(),
            at_ns,
            node,
            from_ns,
            until_ns,
            more_stays: (all - stays.len()) as u64,
            stays,
            moments,
        })
    }
}

/// Whoever only waits is none of what happened.
fn is_told(what: &What) -> bool {
    !matches!(what, What::Invoked | What::Returned { .. } | What::ReleaseSent)
}

fn words(token: Token) -> String {
    format!("{}.{}", token.generation, token.sequence)
}

/// Without the time and the resource, which stand apart.
fn what(event: &Event, facts: &Facts) -> String {
    let line = describe(event, &facts.plan, facts.origin_ns);
    line.splitn(3, "  ").nth(2).unwrap_or(&line).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::checks;
    use crate::judge::fixture::{entered, left, run};

    /// The timeline of the first violation that any check finds.
    fn of(table: &[(u64, u32, What)], tasks: u32) -> Option<Timeline> {
        let told = run(1, tasks, table);
        let Ok(judgements) = checks::judge(checks::ALL, &told.facts, &told.events[..]);
        let (check, at) = checks::ALL
            .iter()
            .zip(&judgements)
            .find_map(|(check, judgement)| Some((check.name, judgement.shown_by?)))?;
        let Ok(timeline) = timeline(check, at, &told.facts, &told.events[..]);
        timeline
    }

    #[test]
    fn both_who_were_inside_are_on_it_with_five_events_on_each_side() {
        let mut table = Vec::new();
        // Eight that behave, two that overlap, eight more.
        for task in 0..8 {
            let at = 10 * u64::from(task);
            table
                .extend([(at, task, entered(0, u64::from(task))), (at + 5, task, left(u64::from(task) + 1))]);
        }
        table.extend([
            (100, 8, entered(0, 8)),
            (110, 9, entered(0, 8)),
            (120, 8, left(9)),
            (130, 9, left(9)),
        ]);
        for task in 10..18 {
            let at = 100 + 10 * u64::from(task);
            let value = u64::from(task) - 1;
            table.extend([(at, task, entered(0, value)), (at + 5, task, left(value + 1))]);
        }
        let timeline = of(&table, 18).unwrap();
        assert_eq!(timeline.check, "exclusion");
        let shows: Vec<usize> =
            (0..timeline.moments.len()).filter(|at| timeline.moments[*at].shows).collect();
        assert_eq!((timeline.moments.len(), shows), (11, vec![5]));
        assert!(
            timeline.moments[5].what.contains("task 9 step 0")
                && timeline.moments[5].what.contains("entered")
        );
        let inside: Vec<&str> = timeline
            .stays
            .iter()
            .filter(|stay| {
                stay.from_ns <= timeline.at_ns && stay.until_ns.is_some_and(|ns| ns >= timeline.at_ns)
            })
            .map(|stay| stay.step.as_str())
            .collect();
        assert_eq!(inside, ["task 8 step 0", "task 9 step 0"]);
        assert_eq!(timeline.more_stays, 0);
        assert!(timeline.stays.iter().all(|stay| stay.end == StayEnd::Wrote));
        assert!(timeline.from_ns < timeline.at_ns && timeline.at_ns < timeline.until_ns);
    }

    #[test]
    fn who_never_left_is_on_it_until_the_end() {
        let timeline = of(&[(1, 0, entered(0, 0)), (2, 1, entered(0, 0)), (3, 1, left(1))], 2).unwrap();
        let open: Vec<_> = timeline.stays.iter().filter(|stay| stay.end == StayEnd::Open).collect();
        assert_eq!(open.len(), 1);
        assert_eq!((open[0].step.as_str(), open[0].until_ns), ("task 0 step 0", None));
    }

    #[test]
    fn of_many_those_nearest_to_the_violation_are_kept_and_the_others_counted() {
        let crowd: Vec<_> = (0..60).map(|task| (1 + u64::from(task), task, entered(0, 0))).collect();
        let timeline = of(&crowd, 60).unwrap();
        assert_eq!(timeline.stays.len(), Timeline::MOST_STAYS);
        assert!(timeline.more_stays > 0);
        assert!(timeline.stays.iter().any(|stay| stay.step == "task 0 step 0"), "it was inside");
    }

    #[test]
    fn a_run_without_a_violation_has_none() {
        assert_eq!(of(&[(1, 0, entered(0, 0)), (2, 0, left(1))], 1), None);
    }
}
