//! Nodes that say well-formed nonsense: the driver refuses it or takes it in, and what it makes of the run stands.

use std::sync::Arc;

use allocation_counter::measure;
use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::account::account;
use super::connection::Reception;
use super::elsewhere::Elsewhere;
use super::frame::ToDriver;
use super::seat::{Phase, Seats};
use crate::damage::{self, Damage};
use crate::engine::{AgentOptions, Clock, EnterRet, Fencing, PartRet, Spent, WhenBusy};
use crate::judge::{aftermath, checks};
use crate::model::{
    Arrival, Direction, Event, Events as _, Fault, FaultTarget, FaultVerb, Holder, Injected, LinkTo, Mode,
    NodeId, Operations, Outage, Outcome, Plan, PlanSettings, Promises, ReleaseRet, Resource, ResourceKind,
    Standstill, StepRef, StepTree, TaskId, Token, What,
};
use crate::placement::frames::decode;
use crate::placement::stage::{RunOptions, Stage, Told, Watched};
use crate::secret::{Sealed, Secret};

const MS: u64 = 1_000_000;

/// Two nodes; a resource of each kind of level; nested, shared and creating steps.
fn plan() -> Plan {
    let settings =
        PlanSettings { seed: 1, nodes: 2, window_ns: 300 * MS, deadline_ns: 50 * MS, holder: Holder::Checks };
    let step = |id, level, mode, children| StepTree {
        resource: Resource { kind: if id > 2 { ResourceKind::Volume } else { ResourceKind::Vm }, id, level },
        mode,
        hold_ns: MS,
        create_ns: (id == 2).then_some(MS),
        children,
    };
    let arrivals = (0..6_u64).map(|number| {
        let root = match number {
            0 | 3 => step(3, 1, Mode::Exclusive, vec![step(0, 2, Mode::Exclusive, vec![])]),
            1 => step(1, 0, Mode::Exclusive, vec![]),
            2 => step(2, 1, Mode::Exclusive, vec![]),
            _ => step(3, 1, Mode::Shared, vec![]),
        };
        Arrival { kind: 0, at_ns: number * 50 * MS, entry: NodeId(number as u16 % 2), root }
    });
    let verbs = [FaultVerb::Kill, FaultVerb::Pause, FaultVerb::Cut { way: Direction::Both }];
    let fault = |(verb, at_ms)| Fault {
        at_ns: at_ms * MS,
        for_ns: 20 * MS,
        verb,
        target: FaultTarget::Holder,
        link: LinkTo::Agent,
    };
    let faults = verbs.into_iter().zip([50, 100, 150]).map(fault).collect();
    Plan::new(settings, vec!["vm".into()], arrivals).unwrap().with_faults(faults)
}

/// What is said, and by whom; mostly sense, so that it gets far.
struct Nonsense<'a> {
    damage: &'a mut Damage,
    plan: &'a Plan,
    digest: &'a str,
    origin_ns: u64,
    now_ns: u64,
}

impl Nonsense<'_> {
    fn stamp(&mut self) -> u64 {
        match self.damage.below(12) {
            0 => self.damage.number(),
            1 => self.origin_ns.saturating_sub(self.damage.number() % MS),
            2 => self.now_ns.saturating_add(self.damage.number()),
            _ => self.origin_ns + self.damage.below((self.now_ns - self.origin_ns) as usize) as u64,
        }
    }

    fn node(&mut self) -> NodeId {
        NodeId(self.damage.below(2) as u16)
    }

    fn step(&mut self) -> StepRef {
        let task = match self.damage.below(20) {
            0 => TaskId(self.damage.number() as u32),
            1 => TaskId::bystander(NodeId(self.damage.below(3) as u16), self.damage.number() as u32),
            _ => TaskId(self.damage.below(self.plan.tasks.len()) as u32),
        };
        let step =
            if self.damage.once_in(20) { self.damage.number() as u16 } else { self.damage.below(2) as u16 };
        StepRef { task, step }
    }

    fn maybe(&mut self) -> Option<u64> {
        match self.damage.below(4) {
            0 => None,
            1 => Some(self.damage.number()),
            _ => Some(self.damage.below(3) as u64),
        }
    }

    fn token(&mut self) -> Option<Token> {
        let (generation, sequence) = (self.maybe()?, self.maybe()?);
        Some(Token { generation, sequence })
    }

    fn event(&mut self, by: NodeId) -> Event {
        let why = || "why".to_owned();
        let what = match self.damage.below(14) {
            0..=2 => What::Invoked,
            3 | 4 => What::Granted {
                slot: self.maybe().map(|slot| slot as u32),
                token: self.token(),
                valid_until_ns: self.maybe().map(|_| self.stamp()),
            },
            5 => What::Lost,
            6 => What::ReleaseSent,
            7 => What::Released {
                ret: [ReleaseRet::Released, ReleaseRet::AlreadyLost, ReleaseRet::Unknown(why())]
                    [self.damage.below(3)]
                .clone(),
            },
            8..=12 => What::Returned {
                outcome: [
                    Outcome::Completed,
                    Outcome::Failed(why()),
                    Outcome::TimedOut,
                    Outcome::Unknown(why()),
                ][self.damage.below(4)]
                .clone(),
            },
            _ => What::Left { wrote: self.maybe() },
        };
        let node = if self.damage.once_in(20) { None } else { Some(by) };
        Event { at_ns: self.stamp(), node, step: self.step(), what }
    }

    fn frame(&mut self, by: NodeId) -> ToDriver {
        match self.damage.below(12) {
            0 | 1 => ToDriver::Ready {
                digest: if self.damage.once_in(10) { "another".into() } else { self.digest.to_owned() },
                introduction: "here".into(),
                detection: "none".into(),
                promises: Promises {
                    free_within_ns: self.maybe(),
                    led_within_ns: self.maybe(),
                    in_order_beyond_ns: self.maybe(),
                    runs_again: self.damage.once_in(2),
                    one_owner: self.damage.once_in(2),
                },
            },
            2 if self.damage.once_in(4) => ToDriver::Failed("it cannot".into()),
            3 => ToDriver::Returned { errands: self.damage.below(2) as u32 },
            6 if self.damage.once_in(4) => ToDriver::Halted,
            5 => ToDriver::StoodDown { back: by, left: TaskId(self.damage.number() as u32) },
            4 if self.damage.once_in(2) => {
                let mut ret = PartRet::default();
                (0..self.damage.below(3)).for_each(|_| ret.bystander.record_ns(self.damage.number()));
                ret.bystander_failed = self.damage.number();
                let mut number = || self.damage.number();
                let [process_cpu_ns, timer_cpu_ns, load, bystander, renewal] = [(); 5].map(|()| number());
                let operations = Some(Operations { load, bystander, renewal });
                ret.spent = Spent { process_cpu_ns, timer_cpu_ns, operations };
                ToDriver::Ended(Box::new(ret))
            }
            _ => ToDriver::Events((0..=self.damage.below(6)).map(|_| self.event(by)).collect()),
        }
    }

    fn outages(&mut self) -> Vec<Outage> {
        let mut outages = Vec::new();
        for node in [0, 1].map(NodeId) {
            if self.damage.once_in(3) {
                let from_ns = self.origin_ns + self.damage.below(300) as u64 * MS;
                let lasts = !self.damage.once_in(2);
                let until_ns = if lasts { u64::MAX } else { from_ns + 20 * MS };
                let state = if self.damage.once_in(2) { Standstill::Down } else { Standstill::Paused };
                let unplanned = (lasts && state == Standstill::Down).then(|| "it died".to_owned());
                outages.push(Outage { node, from_ns, until_ns, state, unplanned });
            }
        }
        outages
    }
}

fn reception(stage: &Stage, digest: &str, opened_ns: u64) -> Reception {
    Reception {
        plan: Arc::clone(&stage.plan),
        digest: digest.to_owned(),
        secret: Secret::from("s3cret".to_owned()),
        mechanism: Sealed(serde_json::Value::Null),
        drawing: None,
        clock: stage.clock.clone(),
        opened_ns,
        agent: Arc::clone(&stage.agent),
        recorder: Arc::clone(&stage.recorder),
        seats: Seats::new(2),
        elsewhere: Elsewhere::default(),
        tasks: TaskTracker::new(),
        closing: CancellationToken::new(),
    }
}

/// One run of which the nodes tell nonsense, from the barrier to the figures, the verdicts and what became of the faults.
fn run(damage: &mut Damage, plan: &Arc<Plan>, digest: &str, clock: &Clock) {
    let agent = AgentOptions {
        fencing: if damage.once_in(2) { Fencing::On } else { Fencing::Off },
        when_busy: [WhenBusy::Admit, WhenBusy::Refuse][damage.below(2)],
    };
    let options = RunOptions { agent, ..RunOptions::default() };
    let stage = Stage::new(Arc::clone(plan), clock.clone(), options);
    // The window is over when the last word is said.
    let now_ns = clock.now_ns();
    let origin_ns = now_ns - 400 * MS;
    let opened_ns = origin_ns - 100 * MS;
    let reception = reception(&stage, digest, opened_ns);
    let mut nonsense = Nonsense { damage, plan, digest, origin_ns, now_ns };
    for _ in 0..nonsense.damage.below(30) {
        let by = nonsense.node();
        match nonsense.damage.below(4) {
            // As the driver does at the barrier.
            0 => drop(reception.seats.change(by, |seat| {
                if seat.phase == Phase::Ready {
                    seat.phase = Phase::Running;
                }
            })),
            1 => {
                let (step, slot) = (nonsense.step(), nonsense.maybe().map(|slot| slot as u32));
                if !plan.contains(step) {
                    continue;
                }
                let token = nonsense.token();
                let entered = stage.agent.enter_in_turn(by, step, slot, token).now_or_never();
                if matches!(entered, Some(EnterRet::Entered(_))) && !nonsense.damage.once_in(4) {
                    let write = nonsense.maybe();
                    stage.agent.leave(by, step, slot, write);
                }
            }
            _ => {
                let mut frame = nonsense.frame(by);
                if nonsense.damage.once_in(2) {
                    let mut document = serde_json::to_value(&frame).unwrap();
                    nonsense.damage.document(&mut document);
                    let Ok(damaged) = decode(&serde_json::to_vec(&document).unwrap()) else { continue };
                    frame = damaged;
                }
                if let Err(reason) = reception.hear(by, frame) {
                    reception.dead(by, reason);
                }
            }
        }
    }
    let hit = stage.agent.inside();
    [0, 1].map(NodeId).iter().for_each(|node| stage.agent.abandon(*node));
    let mut ret = PartRet::default();
    let (detection, promises) = reception.seats.look(|seats| {
        for seat in seats {
            if let Phase::Ended(part) = &seat.phase {
                ret.merge(part);
            }
        }
        (seats[0].detection.clone(), seats[0].promises)
    });
    let outages = nonsense.outages();
    account(&stage, &reception.elsewhere, origin_ns, &outages);
    let injected = plan.faults.iter().map(|fault| Injected {
        fault: *fault,
        lasted_ns: Some((origin_ns + fault.at_ns, origin_ns + fault.at_ns + fault.for_ns)),
        node: Some(nonsense.node()),
        member: nonsense.damage.once_in(3).then_some(0),
        hit: hit.clone(),
        misses: 0,
        failure: None,
    });
    let injected = injected.collect();
    let (end_ns, watched) = (clock.now_ns(), Watched::default());
    let told =
        Told { origin_ns, end_ns, ret, watched, detection, promises, outages, injected, hosts: Vec::new() };
    let run = stage.run(told);
    let figures = run.measure().unwrap();
    let tasks = figures.tasks;
    assert_eq!(tasks.planned, plan.tasks.len() as u64);
    let ended =
        tasks.completed + tasks.partial + tasks.rejected + tasks.refused + tasks.failed + tasks.timed_out;
    let open = tasks.unknown + tasks.unfinished + tasks.not_offered;
    assert_eq!(ended + open, tasks.planned, "{tasks:?}");
    let mut returned = vec![0; plan.tasks.len()];
    let see = &mut |_, event: &Event| {
        if matches!(event.what, What::Returned { .. }) && event.step.step == 0 {
            returned[event.step.task.0 as usize] += 1;
            assert_eq!(
                event.node,
                plan.tasks.get(event.step.task.0 as usize).map(|task| task.entry),
                "{event:?}"
            );
        }
        let in_time = (opened_ns..=end_ns).contains(&event.at_ns);
        assert!(in_time, "{event:?} between {opened_ns} and {end_ns}");
    };
    run.history.pass(see).unwrap();
    assert!(returned.iter().all(|times| *times <= 1), "{returned:?}");
    checks::judge(checks::ALL, &run.facts, &run.history).unwrap();
    aftermath(&run.facts, &run.history).unwrap();
}

#[test]
fn no_sequence_of_well_formed_nonsense_makes_the_driver_panic_take_much_memory_or_count_what_was_not() {
    let (plan, clock) = (Arc::new(plan()), Clock::real().unwrap());
    let digest = plan.digest();
    damage::inputs("nonsense of nodes", 2_000, |damage| {
        let used = measure(|| run(damage, &plan, &digest, &clock));
        assert!(used.bytes_max <= 32 << 20, "{} bytes", used.bytes_max);
    });
}
