//! The runs of a batch, one after the other: whose turn it is says the [`Order`].

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use harness::model::{Fault, Plan};
use harness::record::capacity::missed;
use harness::record::{Role, RunRecord, ServiceLevel, Skipped, Tally};
use harness::servers::{Server, default_root};

use super::asked::Asked;
use super::budget::Budget;
use super::decided::decided;
use super::disks::Disks;
use super::lateness::only_busy;
use super::one_run::Done;
use super::order::{At, Blocks, Order, Turn};
use super::place::Place;
use super::probing::Probing;
use super::show::Show;
use super::standing::Standing;
use super::store::store;
use super::twins;
use super::wanted::Batch;
use crate::contenders::{Contender, Proof};
use crate::spec::Scenario;
use crate::workload::{self, block_seed};

/// How many runs of a block, at most, are repeated because the machine was busy with others. Where more are late than that, the
/// batch says so.
const MOST_REPEATS_PER_BLOCK: u32 = 2;

/// What a batch leaves in memory: also what it has until it fails.
#[derive(Debug, Default)]
pub struct Ran {
    /// One of each run, in their order; each is on disk before the next begins.
    pub records: Vec<RunRecord>,
    /// Whoever could not be run (no server, no session, a panic), and was left out from then on.
    pub failed: Vec<Skipped>,
    /// The rate that was the same for all, where it is not the scenario's.
    pub rate_per_s: Option<f64>,
    /// After how many blocks everything was told, where that was before all were done.
    pub decided: Option<u32>,
    /// How many blocks there were where the budget was spent before all were done.
    pub blocks: Option<u32>,
}

impl Batch {
    /// The plan of a block, from 1, drawn anew each time: no block's is held while another runs.
    ///
    /// # Errors
    /// When the scenario cannot be run as it is.
    pub fn plan(&self, block: u32) -> anyhow::Result<Arc<Plan>> {
        self.plan_of(&self.scenario, block)
    }

    /// The same at another rate.
    ///
    /// # Errors
    /// When the scenario cannot be run as it is.
    pub fn plan_at(&self, rate_per_s: f64, block: u32) -> anyhow::Result<Arc<Plan>> {
        self.plan_of(&self.scenario.at_rate(rate_per_s), block)
    }

    fn plan_of(&self, scenario: &Scenario, block: u32) -> anyhow::Result<Arc<Plan>> {
        Ok(Arc::new(workload::draw(scenario, block_seed(self.seed, block))?))
    }

    /// The only step that may refuse: draws the plan of every block. Nothing is written before it has passed.
    ///
    /// # Errors
    /// When the scenario cannot be run as it is.
    pub fn can_be_drawn(&self) -> anyhow::Result<()> {
        let compared = || self.contenders.iter().filter(|one| one.role == Role::Contender);
        (1..=self.scenario.spec.blocks).try_for_each(|block| {
            let plan = self.plan(block)?;
            let is_hit = |fault: &Fault| compared().any(|contender| !contender.is_spared(fault));
            Ok(workload::enough_faults(&self.scenario, &plan, is_hit)?)
        })
    }

    /// Runs everything into the directory, and takes up what has already run. Each run's record is on disk, and in `ran`, before the
    /// next run begins.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub async fn run(&self, directory: &Path, show: &dyn Show, ran: &mut Ran) -> anyhow::Result<()> {
        let mut standing = Standing::default();
        let result = self.turns(directory, show, ran, &mut standing).await;
        // Also when it was stopped: nothing may be left behind.
        let ended = standing.end().await;
        result.and(ended)
    }

    async fn turns(
        &self,
        directory: &Path,
        show: &dyn Show,
        ran: &mut Ran,
        standing: &mut Standing,
    ) -> anyhow::Result<()> {
        let disks = Disks::below(vec![directory.to_owned(), default_root(self.scenario.spec.durability)]);
        let (order, probing) = self.order();
        let budget = self.budget_of(probing.as_ref());
        if let Some(budget) = budget.filter(|_| ran.records.is_empty()) {
            let spec = &self.scenario.spec;
            show.line(&budget.foreseen(spec.duration_s.unwrap_or(0.0), spec.warm_up_s));
        }
        let begun = jiff::Timestamp::now();
        let (mut block, mut repeats_left, mut turns) = (0, 0, 0_u32);
        while let Some(turn) = order.next(&ran.records, &ran.failed) {
            if turn.block != block {
                if let (Some(looks), Some(reference)) = (&self.looks, self.reference())
                    && decided(&ran.records, reference, looks, block)
                {
                    let blocks = self.scenario.spec.blocks;
                    show.line(&format!("after block {block} of {blocks} everything is told: the batch ends"));
                    ran.decided = Some(block);
                    break;
                }
                let spent_s = jiff::Timestamp::now().duration_since(begun).as_secs_f64();
                if let (Some(budget), 1.., 1..) = (budget, block, turns) {
                    match budget.allows_another(block, turns, spent_s) {
                        Ok(left) => show.line(&left),
                        Err(over) => {
                            show.line(&over);
                            ran.blocks = Some(block);
                            break;
                        }
                    }
                }
                (block, repeats_left) = (turn.block, MOST_REPEATS_PER_BLOCK);
                standing.begin(block).await?;
            }
            turns += 1;
            if let At::Rate(rate) = turn.at {
                ran.rate_per_s = Some(rate);
            }
            let place = Place { block, order: ran.records.len() as u32 };
            let spent_s = jiff::Timestamp::now().duration_since(begun).as_secs_f64();
            let then_s = self.then_s(turn, probing.as_ref(), ran.records.len(), (turns - 1, spent_s));
            let asked = Asked { then_s, ..self.asked(turn)? };
            let context = (directory, &disks, show);
            match self.until_in_time(turn, &asked, place, context, standing, &mut repeats_left).await? {
                Ended::Measured(record) => ran.records.push(*record),
                Ended::Failed(reason) => {
                    show.end(&reason);
                    let contender = self.contenders[turn.contender].name.to_owned();
                    ran.failed.push(Skipped { contender, reason });
                }
                Ended::Stopped => return Ok(()),
            }
        }
        Ok(())
    }

    /// How long the search for capacities may take, where that is bounded.
    fn budget_of(&self, probing: Option<&Probing>) -> Option<Budget> {
        Some(probing?.within(self.budget?))
    }

    /// Seconds that so many blocks of a search for capacities alone take where time is short, with windows as long as these and so
    /// many tasks at least in each, about.
    #[must_use]
    pub fn search_takes_s(&self, blocks: u32, window_s: f64, warm_up_s: f64, least_tasks: u64) -> f64 {
        let level = ServiceLevel { least_tasks, ..ServiceLevel::default() };
        let probing = Probing { hurried: true, alone: true, ..self.probing(level) };
        probing.within(Duration::ZERO).blocks_s(blocks, window_s, warm_up_s)
    }

    /// Who runs when; where capacities are looked for, what looks for them too.
    fn order(&self) -> (Box<dyn Order>, Option<Probing>) {
        let names = self.contenders.iter().map(|contender| contender.name).collect();
        let Some(level) = self.level else {
            let blocks = self.scenario.spec.blocks;
            return (Box::new(Blocks { names, blocks, seed: self.seed }), None);
        };
        let probing = self.probing(level);
        (Box::new(probing.clone()), Some(probing))
    }

    fn probing(&self, level: ServiceLevel) -> Probing {
        // Who must be caught has nothing to carry; all other controls are ceilings.
        let probed = self.contenders.iter().map(|contender| contender.proves() != Some(Proof::Checks));
        Probing {
            names: self.contenders.iter().map(|contender| contender.name).collect(),
            probed: probed.collect(),
            compared: self.contenders.iter().map(|contender| contender.role == Role::Contender).collect(),
            proves: self.contenders.iter().map(|contender| contender.proves().is_some()).collect(),
            hurried: self.budget.is_some(),
            alone: self.latencies_elsewhere,
            level,
            start_per_s: self.scenario.spec.rate_per_s.unwrap_or(100.0),
            blocks: self.scenario.spec.blocks,
            seed: self.seed,
        }
    }

    /// Runs a contender, and again where the machine was too busy with others and there are repeats left; stores each run.
    async fn until_in_time(
        &self,
        turn: Turn,
        asked: &Asked,
        place: Place,
        (directory, disks, show): (&Path, &Disks, &dyn Show),
        standing: &mut Standing,
        repeats_left: &mut u32,
    ) -> anyhow::Result<Ended> {
        let contender = &self.contenders[turn.contender];
        let mut repeated = Vec::new();
        loop {
            if self.stop.is_cancelled() {
                return Ok(Ended::Stopped);
            }
            if let Some(low) = disks.low() {
                return Ok(Ended::Failed(format!("could not be run in {place}: {low}")));
            }
            let mut neighbours = twins::warnings();
            let cut = self.stop.child_token();
            let stood = standing.take(contender.name)?;
            let (server, restless) = stood.map_or((None, None), |(server, words)| (Some(server), words));
            let running = self.one(contender, place, asked, server, directory, show, cut.clone());
            let mut running = std::pin::pin!(AssertUnwindSafe(running).catch_unwind());
            let (done, low) = tokio::select! {
                biased;
                done = &mut running => (done, None),
                low = disks.run_low() => {
                    cut.cancel();
                    (running.await, Some(low))
                }
            };
            let Done { run, mut record, server } = match done {
                Ok(Ok(done)) => done,
                Ok(Err(_)) | Err(_) if self.stop.is_cancelled() => return Ok(Ended::Stopped),
                Ok(Err(error)) => {
                    return Ok(Ended::Failed(format!("could not be run in {place}: {error:#}")));
                }
                Err(panic) => return Ok(Ended::Failed(format!("panicked in {place}: {}", words(&*panic)))),
            };
            self.part_with(contender, server, &record, standing).await?;
            if self.stop.is_cancelled() {
                // Cut short: its figures would be wrong.
                show.end("interrupted");
                return Ok(Ended::Stopped);
            }
            record.invalid.extend(low.map(|low| format!("cut short: {low}")));
            record.invalid.extend(restless);
            neighbours.extend(twins::warnings());
            neighbours.sort_unstable();
            neighbours.dedup();
            record.warnings.append(&mut neighbours);
            let repeat = *repeats_left > 0 && only_busy(&record);
            let record = RunRecord { repeated: repeated.clone(), ..record };
            let of = match record.probe {
                Some(_) => format!("{}-{}-probe-{}", place.block, contender.name, place.order),
                None => format!("{}-{}", place.block, contender.name),
            };
            let folder = match repeat {
                true => format!("late/{of}-{}", repeated.len() + 1),
                false => of,
            };
            store(&directory.join(&folder), &run, &record)?;
            show.end(&self.end_line(&record, repeat));
            if !repeat {
                return Ok(Ended::Measured(Box::new(record)));
            }
            *repeats_left -= 1;
            repeated.push(format!("{}; kept in {folder}", record.invalid.join("; ")));
        }
    }

    /// Keeps a server for the contender's next turn of the block, once it has nothing to do any more, or ends it.
    async fn part_with(
        &self,
        contender: &Contender,
        server: Option<Server>,
        record: &RunRecord,
        standing: &mut Standing,
    ) -> anyhow::Result<()> {
        let Some(server) = server else { return Ok(()) };
        match record.probe.is_some() && !self.stop.is_cancelled() {
            true => standing.keep(contender.name, server).await,
            false => Ok(server.stop().await?),
        }
    }

    /// What a turn runs.
    fn asked(&self, turn: Turn) -> anyhow::Result<Asked> {
        let (scenario, probe) = match turn.at {
            At::Scenario => (self.scenario.clone(), None),
            At::Rate(rate) => (self.scenario.at_rate(rate), None),
            At::Probe { rate, brief } => {
                let mut scenario = self.scenario.clone();
                if brief {
                    scenario.spec.duration_s = scenario.spec.duration_s.map(|whole_s| whole_s / 2.0);
                }
                (scenario.at_rate(rate), self.level.map(|level| (rate, level)))
            }
        };
        let rate_per_s = match turn.at {
            At::Scenario => None,
            At::Rate(rate) | At::Probe { rate, .. } => Some(rate),
        };
        let plan = self.plan_of(&scenario, turn.block)?;
        Ok(Asked { scenario, plan, rate_per_s, probe, then_s: None })
    }

    /// How long what comes after a turn takes, about: from so many turns in so many seconds, and where there were none from what they
    /// should take.
    fn then_s(
        &self,
        turn: Turn,
        probing: Option<&Probing>,
        done: usize,
        (turns, spent_s): (u32, f64),
    ) -> Option<f64> {
        let each_s = if turns > 0 { spent_s / f64::from(turns) } else { self.scenario.spec.takes_s() };
        let all = self.contenders.len() * self.scenario.spec.blocks as usize;
        match (self.budget, probing) {
            (Some(budget), _) => Some((budget.as_secs_f64() - spent_s - each_s).max(0.0)),
            (None, None) => Some(each_s * all.saturating_sub(done + 1) as f64),
            // In the first block nobody knows how many.
            (None, Some(_)) if turn.block == 1 => None,
            (None, Some(probing)) => {
                let blocks = f64::from(probing.blocks - turn.block) + 0.5;
                Some(each_s * probing.turns_of_a_block() * blocks)
            }
        }
    }

    fn end_line(&self, record: &RunRecord, repeat: bool) -> String {
        let end = match (record.invalid.is_empty(), repeat) {
            (true, _) => "",
            (false, true) => ", the machine was too busy: once more",
            (false, false) => ", INVALID",
        };
        if let (Some(probe), Some(level)) = (&record.probe, &self.level) {
            let met = match missed(level, record, probe) {
                None => "met".to_owned(),
                Some(missed) => format!("missed: {missed}"),
            };
            return format!("{:>8.0}/s {met}{end}", probe.rate_per_s);
        }
        let Tally { completed, planned, .. } = record.tasks;
        format!("{:>6.1} tasks/s, {completed} of {planned} completed{end}", record.goodput_per_s)
    }
}

/// How a contender's turn in a block ended.
enum Ended {
    Measured(Box<RunRecord>),
    /// It could not be run, and why.
    Failed(String),
    /// The batch was stopped.
    Stopped,
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without words")
}
