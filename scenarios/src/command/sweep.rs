//! What the verbs that measure run: a batch, or, where fields of the scenario are lists, a batch for every cell of their grid.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use harness::model::splitmix;
use harness::record::{Conclusion, SCHEMA_VERSION, SweepCell, SweepRecord, write_json};
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use tokio_util::sync::CancellationToken;

use super::batch::BatchArgs;
use super::fetch;
use super::how::{Aim, HowArgs};
use super::measured::Begun;
use super::several::{IfFailed, Part, Several, Told};
use super::signals::watch_signals;
use crate::batch::{self, Show as _};
use crate::progress::Display;
use crate::spec::{Grid, named};

impl BatchArgs {
    /// Runs it, and writes the report. Returns the exit code, and where the batch is, or the sweep.
    pub(super) async fn run(self, aim: Aim) -> anyhow::Result<(u8, PathBuf)> {
        let stop = CancellationToken::new();
        // Before the first child of ours is started, if only to be asked for its version.
        let mut signals = tokio::task::JoinSet::new();
        signals.spawn(watch_signals(stop.clone())?);
        let display = self.how().display();
        // An address that cannot be had is told before anything runs.
        let keeper = self.keep().map(fetch::Keeper::at).transpose()?;
        let ended = self.ended(aim, &stop, &display).await;
        // Also after a failure or Ctrl-C.
        if let Some(remote) = self.how().remote() {
            remote.dismiss(&display).await;
        }
        let (code, directory) = ended?;
        if let Some(keeper) = keeper {
            keeper.keep(&directory, &stop, &display).await?;
        }
        if stop.is_cancelled() {
            display.line(&format!("the rest of it: --resume {}", directory.display()));
        }
        Ok((code, directory))
    }

    /// What it is asked for, to its end.
    async fn ended(
        &self,
        aim: Aim,
        stop: &CancellationToken,
        display: &Display,
    ) -> anyhow::Result<(u8, PathBuf)> {
        Ok(match self.resumes() {
            Some(folder) if folder.join(SweepRecord::FILE).is_file() => {
                let (folder, sweep) = (folder.to_owned(), reports::Sweep::load(folder)?.record);
                ensure!(
                    sweep.capacity == aim.capacity,
                    "{} was begun by `lockbench {}`: take it up with that",
                    folder.display(),
                    if aim.capacity { "run" } else { "capacity" }
                );
                let how = self.how().of_contenders(&sweep.contenders);
                (Self::cells(&how, &sweep, &folder, aim, stop, display).await?, folder)
            }
            Some(folder) => {
                (self.how().taken_up(folder, aim, stop).await?.measured(display).await?, folder.to_owned())
            }
            None => self.begun(aim, stop, display).await?,
        })
    }

    /// From its first run on.
    async fn begun(
        &self,
        aim: Aim,
        stop: &CancellationToken,
        display: &Display,
    ) -> anyhow::Result<(u8, PathBuf)> {
        let mut grid = self.grid(aim)?;
        let how = self.how();
        let seed = how.seed(&grid.cells[0]);
        let started = jiff::Timestamp::now();
        if grid.axes.is_empty() {
            let batch = how.asked(grid.cells.swap_remove(0), seed, aim, stop).await?;
            let directory = batch::new_directory(&batch.out, &batch.scenario.spec.name, started)?;
            let begun = Begun::new(batch, directory.clone(), started, display).await?;
            return Ok((begun.measured(display).await?, directory));
        }
        ensure!(!aim.twice, "calibrate takes one value a field: a noise floor is of one scenario");
        ensure!(
            !how.pins(),
            "--pin deals out the processors once, and cells may need other shares: run one cell after the other"
        );
        // All that can be refused is refused before anything runs.
        for cell in &grid.cells {
            how.asked(cell.clone(), seed, aim, stop)
                .await
                .with_context(|| format!("cell {}", named(&cell.cell)))?;
        }
        let directory =
            batch::new_directory(how.out(), &format!("{}-sweep", grid.cells[0].spec.name), started)?;
        let sweep = record(&grid, seed, started, aim, how.contenders());
        write_json(&directory.join(SweepRecord::FILE), &sweep)?;
        Ok((Self::cells(how, &sweep, &directory, aim, stop, display).await?, directory))
    }

    /// Every cell that is not done, and the report of all; the gravest exit code. Cells take their turns in an order that is
    /// drawn, so that a machine that grows slower is not taken for what the axis does.
    async fn cells(
        how: &HowArgs,
        sweep: &SweepRecord,
        directory: &Path,
        aim: Aim,
        stop: &CancellationToken,
        display: &Display,
    ) -> anyhow::Result<u8> {
        let origin = directory.join(SweepRecord::FILE).display().to_string();
        let grid = Grid::parse(&origin, &sweep.spec_toml, &[])?;
        ensure!(grid.cells.len() == sweep.cells.len(), "{origin}: its cells are not those of its scenario");
        let mut cells: Vec<_> = sweep.cells.iter().zip(grid.cells).collect();
        cells.shuffle(&mut ChaCha8Rng::seed_from_u64(splitmix(sweep.seed)));
        let parts = cells.into_iter().map(|(cell, scenario)| Part {
            words: named(&sweep.values_of(cell)),
            folder: directory.join(&cell.folder),
            scenario,
            aim,
        });
        let several = Several {
            noun: "cell",
            directory,
            seed: sweep.seed,
            budget: aim.budget,
            whole: None,
            if_failed: IfFailed::Stop,
            parts: parts.collect(),
        };
        let told = |directory: &Path| {
            let done = reports::Sweep::load(directory)?;
            Ok(Told { text: done.terminal(), exit_code: Conclusion::gravest_exit(done.exit_codes()) })
        };
        several.run(how, stop, display, told).await
    }
}

fn record(grid: &Grid, seed: u64, started: jiff::Timestamp, aim: Aim, contenders: &[String]) -> SweepRecord {
    let folder = |place: usize| format!("cell-{:02}", place + 1);
    let cells = grid.cells.iter().enumerate().map(|(place, cell)| SweepCell {
        values: cell.cell.iter().map(|(_, value)| value.clone()).collect(),
        folder: folder(place),
    });
    SweepRecord {
        schema_version: SCHEMA_VERSION,
        scenario: grid.cells[0].spec.name.clone(),
        spec_toml: grid.text.clone(),
        seed,
        started_utc: started.to_string(),
        capacity: aim.capacity,
        contenders: contenders.to_vec(),
        axes: grid.axes.clone(),
        cells: cells.collect(),
    }
}
