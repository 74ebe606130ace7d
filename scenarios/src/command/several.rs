//! Batches that belong together, each in a folder of its own below one: the cells of a sweep, the rows of the matrix.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use harness::record::Conclusion;
use tokio_util::sync::CancellationToken;

use super::how::{Aim, HowArgs};
use super::measured::Begun;
use super::print::print;
use crate::batch::Show as _;
use crate::progress::Display;
use crate::spec::Scenario;

/// All of them, in the order in which they run.
pub(super) struct Several<'a> {
    /// What one is called.
    pub(super) noun: &'static str,
    /// The folder of all.
    pub(super) directory: &'a Path,
    pub(super) seed: u64,
    /// How long all may take, about, shared out among those that are left; `None`: each as its aim says.
    pub(super) budget: Option<Duration>,
    /// Where each has its own: how long all may take, so that one with a budget may have more, if those before it took less.
    pub(super) whole: Option<Duration>,
    pub(super) if_failed: IfFailed,
    pub(super) parts: Vec<Part>,
}

/// What becomes of the others where one cannot be run at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IfFailed {
    /// They would fail, too.
    Stop,
    /// They run, and what failed is told at the end.
    GoOn,
}

/// One of them.
pub(super) struct Part {
    /// What tells it from the others.
    pub(super) words: String,
    /// Its folder; below that of all.
    pub(super) folder: PathBuf,
    pub(super) scenario: Scenario,
    pub(super) aim: Aim,
}

/// What all together told, once they have run.
pub(super) struct Told {
    /// For a terminal.
    pub(super) text: String,
    pub(super) exit_code: u8,
}

impl Several<'_> {
    /// Each that is not done, with the report of all after each; then what all told. Returns its exit code, or, where it was stopped,
    /// that of the batch that was.
    pub(super) async fn run(
        self,
        how: &HowArgs,
        stop: &CancellationToken,
        display: &Display,
        told: impl Fn(&Path) -> anyhow::Result<Told>,
    ) -> anyhow::Result<u8> {
        let Self { noun, directory, seed, budget, whole, if_failed, parts } = self;
        let all = parts.len();
        let left: Vec<Part> = parts.into_iter().filter(|part| !is_done(&part.folder)).collect();
        let takes_s =
            |part: &Part| how.takes_s(&part.scenario, Aim { budget: part.aim.budget.or(budget), ..part.aim });
        // One that cannot run says so when its turn comes.
        let takes_s: Vec<Option<f64>> = left.iter().map(|part| takes_s(part).ok().flatten()).collect();
        let begun = jiff::Timestamp::now();
        let spent = || jiff::Timestamp::now().duration_since(begun).unsigned_abs();
        let count = left.len();
        let mut failed = Vec::new();
        for (place, part) in left.into_iter().enumerate() {
            let of_part = match budget {
                Some(all) => Aim { budget: Some(share(all, spent(), count - place)), ..part.aim },
                None => Aim { budget: part.aim.budget.map(|own| at_least(own, whole, spent())), ..part.aim },
            };
            display.then(match budget {
                Some(budget) => {
                    Some(budget.saturating_sub(spent()).as_secs_f64() * (1.0 - 1.0 / (count - place) as f64))
                }
                None => beyond(&takes_s, place, spent().as_secs_f64()),
            });
            display.line(&format!("{noun} {} of {all}: {}", all - count + place + 1, part.words));
            let (words, ran) = (part.words.clone(), one(part, of_part, seed, how, stop, display).await);
            let code = match ran {
                Ok(code) => code,
                Err(error) if if_failed == IfFailed::Stop => return Err(error),
                Err(error) => {
                    display.line(&format!("{noun} failed: {error:#}"));
                    failed.push(format!("{words}: {error:#}"));
                    CANNOT_RUN
                }
            };
            reports::write_all(directory)?;
            if stop.is_cancelled() {
                return Ok(code);
            }
        }
        let files = reports::write_all(directory)?;
        let Told { text, exit_code } = told(directory)?;
        print(text.trim_end());
        if let Some(page) = files.first() {
            print(&format!("report: {}", page.display()));
        }
        for failed in &failed {
            print(&format!("{noun} that could not be run: {failed}"));
        }
        Ok(if failed.is_empty() { exit_code } else { Conclusion::gravest_exit([exit_code, CANNOT_RUN]) })
    }
}

/// The exit code of what cannot be run.
const CANNOT_RUN: u8 = 2;

/// Runs one of them, or goes on with it. Returns its exit code.
async fn one(
    part: Part,
    aim: Aim,
    seed: u64,
    how: &HowArgs,
    stop: &CancellationToken,
    display: &Display,
) -> anyhow::Result<u8> {
    let Part { folder, scenario, .. } = part;
    let batch = match folder.join("manifest.json").is_file() {
        true => how.taken_up(&folder, aim, stop).await?,
        false => {
            std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
            let batch = how.asked(scenario, seed, aim, stop).await?;
            Begun::new(batch, folder, jiff::Timestamp::now(), display).await?
        }
    };
    batch.measured(display).await
}

/// What one of so many that are left may take.
fn share(budget: Duration, spent: Duration, left: usize) -> Duration {
    budget.saturating_sub(spent) / left.max(1) as u32
}

/// Its own time, or what is left of the whole, where that is more.
fn at_least(own: Duration, whole: Option<Duration>, spent: Duration) -> Duration {
    own.max(whole.unwrap_or_default().saturating_sub(spent))
}

/// How long those behind a place take, about: as much more or less than they should as those before it; and where nobody knows how
/// long they should, each as long as those.
fn beyond(takes_s: &[Option<f64>], place: usize, spent_s: f64) -> Option<f64> {
    let (before, behind) = (&takes_s[..place], &takes_s[place + 1..]);
    let sum = |of: &[Option<f64>]| of.iter().copied().sum::<Option<f64>>();
    match (sum(before), sum(behind)) {
        (Some(should_s), Some(behind_s)) if should_s > 0.0 => Some(behind_s * spent_s / should_s),
        (_, Some(behind_s)) => Some(behind_s),
        (_, None) => (place > 0).then(|| spent_s / place as f64 * behind.len() as f64),
    }
}

/// Whether a batch has run to its end, whatever that told.
fn is_done(folder: &Path) -> bool {
    let end = reports::load(folder).ok().and_then(|batch| batch.manifest.end);
    end.is_some_and(|end| !matches!(end.exit_code, 2 | 130))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_has_what_those_before_it_left_and_never_less_than_its_own() {
        let s = Duration::from_secs;
        assert_eq!(at_least(s(100), Some(s(1_000)), s(700)), s(300));
        assert_eq!(at_least(s(100), Some(s(1_000)), s(950)), s(100));
        assert_eq!(at_least(s(100), None, s(7)), s(100));
    }

    #[test]
    fn time_left_follows_what_those_before_took_beside_what_they_should() {
        let known = [Some(100.0), Some(200.0), Some(300.0)];
        assert_eq!(beyond(&known, 0, 0.0), Some(500.0));
        assert_eq!(beyond(&known, 1, 150.0), Some(450.0), "half as long again");
        assert_eq!(beyond(&known, 2, 450.0), Some(0.0));
        let unknown = [None, None, None];
        assert_eq!(beyond(&unknown, 0, 0.0), None);
        assert_eq!(beyond(&unknown, 1, 60.0), Some(60.0));
    }
}
