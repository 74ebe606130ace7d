//! What each contender carries, over the blocks, and what stood in its way.

use crate::record::difference::Ratio;
use crate::record::probe::{Probe, ServiceLevel};
use crate::record::run::{Role, RunRecord};

use super::crossing::crossing;
use super::met::{MAY_BE_LATE, late, missed};

/// The part of a ceiling above which a capacity is the ceiling's rather than the contender's.
const NEAR: f64 = 0.8;

/// What a contender cannot get beyond, however good it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ceiling {
    /// The plan: the level ÷ the holds of its hottest resource, or what a lock that costs nothing carries of it.
    Workload,
    /// The bench: what a control that keeps nobody waiting carries on this machine.
    Bench,
}

/// The part of the machine that each party had, 1 = all of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    /// The contender's server; `None` where there is none, or not one of ours.
    pub server: Option<f64>,
    /// Nodes and driver.
    pub nodes: f64,
    /// The thread that starts tasks and ends holds.
    pub timer: f64,
}

/// What one contender or control carries.
#[derive(Debug, Clone, PartialEq)]
pub struct Carried {
    /// Its name.
    pub contender: String,
    /// Compared, or a ceiling.
    pub role: Role,
    /// Tasks per second, of each block in which the probes lie on both sides of the limit.
    pub blocks: Vec<(u32, f64)>,
    /// The highest rate that was carried, where none beyond it was tried: of a ceiling that is far above everybody.
    pub at_least: Option<f64>,
    /// The ceiling that it is near to; its capacity is not its own then, and is not ranked.
    pub limited: Option<Ceiling>,
    /// The rate at which the hottest resource of its plan would be busy all the time; `None`: nothing is ever held.
    pub workload_per_s: Option<f64>,
    /// Who had the processors at the highest rate that it carried.
    pub processors: Option<Share>,
}

impl Carried {
    /// The geometric mean of the blocks, with its interval; `None` of none, or of one.
    #[must_use]
    pub fn estimate(&self) -> Option<Ratio> {
        Ratio::paired(self.blocks.iter().map(|(_, rate)| (*rate, 1.0)))
    }

    /// The geometric mean of the blocks; `None` of none.
    #[must_use]
    pub fn per_s(&self) -> Option<f64> {
        let n = self.blocks.len() as f64;
        (n > 0.0).then(|| (self.blocks.iter().map(|(_, rate)| rate.ln()).sum::<f64>() / n).exp())
    }

    /// What it carries, or more.
    fn carries(&self) -> Option<f64> {
        self.per_s().or(self.at_least)
    }
}

/// What each carries whose runs of a batch are given; those without a probe are left out. Probes that are invalid do not count.
#[must_use]
pub fn carried(level: &ServiceLevel, cores: u32, rows: &[&[RunRecord]]) -> Vec<Carried> {
    let mut all: Vec<Carried> = rows.iter().filter_map(|row| one(level, cores, row)).collect();
    // Whose programmed delay is measured lets everybody in; any other control keeps apart what belongs apart.
    let lets_in = |name: &str| {
        let runs = || rows.iter().flat_map(|row| row.iter()).filter(|run| run.contender == name);
        runs().any(|run| run.programmed_delay_ns.is_some())
    };
    let best = |bench: bool| {
        let controls = all.iter().filter(|one| one.role == Role::Control);
        controls.filter(|one| lets_in(&one.contender) == bench).filter_map(Carried::carries).reduce(f64::max)
    };
    let (bench, free) = (best(true), best(false));
    for one in &mut all {
        let near = |ceiling: Option<f64>| {
            one.per_s().zip(ceiling).is_some_and(|(rate, ceiling)| rate > NEAR * ceiling)
        };
        let compared = one.role == Role::Contender;
        one.limited = if near(one.workload_per_s) && !lets_in(&one.contender) || compared && near(free) {
            Some(Ceiling::Workload)
        } else if compared && near(bench) {
            Some(Ceiling::Bench)
        } else {
            None
        };
    }
    all
}

fn one(level: &ServiceLevel, cores: u32, row: &[RunRecord]) -> Option<Carried> {
    let probes: Vec<(&RunRecord, Probe)> = row.iter().filter_map(|run| Some((run, run.probe?))).collect();
    let first = probes.first()?.0;
    let valid = || probes.iter().filter(|(run, _)| run.invalid.is_empty());
    let mut numbers: Vec<u32> = valid().map(|(run, _)| run.block).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let of_block = |block: u32| {
        let of = valid().filter(|(run, _)| run.block == block).map(|(run, probe)| point(level, run, probe));
        crossing(&of.collect::<Vec<_>>(), MAY_BE_LATE).map(|rate| (block, rate))
    };
    let met = valid().filter(|(run, probe)| missed(level, run, probe).is_none());
    let highest = met.max_by(|(_, a), (_, b)| a.rate_per_s.total_cmp(&b.rate_per_s));
    let highest_missed = || {
        valid().filter(|(run, probe)| missed(level, run, probe).is_some()).map(|(_, probe)| probe.rate_per_s)
    };
    let at_least = highest.map(|(_, probe)| probe.rate_per_s);
    Some(Carried {
        contender: first.contender.clone(),
        role: first.role,
        blocks: numbers.into_iter().filter_map(of_block).collect(),
        at_least: at_least.filter(|rate| highest_missed().all(|missed| missed < *rate)),
        limited: None,
        workload_per_s: highest
            .filter(|(_, probe)| probe.busiest > 0.0)
            .map(|(_, probe)| probe.rate_per_s / probe.busiest),
        processors: highest.map(|(run, _)| share(run, cores)),
    })
}

/// Rate and late part of a probe. One that missed the service level otherwise lies beyond the limit all the same.
fn point(level: &ServiceLevel, run: &RunRecord, probe: &Probe) -> (f64, f64) {
    /// Just beyond: how far, those that were in time do not tell.
    const BEYOND: f64 = 1.05;
    let least = if missed(level, run, probe).is_some() { BEYOND * MAY_BE_LATE } else { 0.0 };
    (probe.rate_per_s, late(run, probe).max(least))
}

fn share(run: &RunRecord, cores: u32) -> Share {
    let of = |ns: u64| ns as f64 / run.window_ns.max(1) as f64 / f64::from(cores.max(1));
    Share { server: run.server_cpu_ns.map(of), nodes: of(run.process_cpu_ns), timer: of(run.timer_cpu_ns) }
}
