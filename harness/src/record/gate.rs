//! Thresholds on the figures of a batch, and whether it keeps them: yes, no, or cannot tell.
//!
//! A measured figure keeps a limit where its whole 99 % interval over blocks does, and breaks it where the whole interval
//! lies beyond (Holm, over all thresholds of a gate). A limit beside another (a baseline, another contender) is kept only if so
//! many blocks would have found a change as large as its margin. A counted figure is judged by its worst block.

use serde::{Deserialize, Serialize};

use super::difference::{Ratio, Rule, Together, holm, ratio};
use super::metric::{Better, Kind, Metric, Reading};
use super::run::RunRecord;
use super::unit::Unit;

/// Confidence of the interval that must lie on one side of a limit.
const CONFIDENCE: f64 = 0.99;

/// What is asked of a figure of a contender.
#[derive(Debug, Clone)]
pub struct Threshold {
    /// The contender.
    pub contender: String,
    /// The figure.
    pub metric: &'static Metric,
    /// What it must keep to.
    pub limit: Limit,
}

/// What a figure must keep to.
#[derive(Debug, Clone, PartialEq)]
pub enum Limit {
    /// No more than so much, in the metric's unit.
    AtMost(f64),
    /// No less than so much, in the metric's unit.
    AtLeast(f64),
    /// No worse than that of another by more than this part; below zero, better by this part at least.
    Within {
        /// 0.1: a tenth.
        margin: f64,
        /// Whose, in words.
        of: String,
    },
}

/// A threshold with what it is about.
#[derive(Debug)]
pub struct Asked<'a> {
    /// What is asked.
    pub threshold: &'a Threshold,
    /// The valid runs of its contender.
    pub runs: Vec<&'a RunRecord>,
    /// The valid runs that it is compared with, where the limit is beside another.
    pub reference: Vec<&'a RunRecord>,
    /// How the two belong together.
    pub together: Together,
    /// How much the metric is known to stray on this machine: standard deviation of the logarithm of a block's ratio.
    pub known_sd: Option<f64>,
}

/// What a gate said of a batch: `gate.json` in its directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateRecord {
    /// [`SCHEMA_VERSION`](super::SCHEMA_VERSION).
    pub schema_version: u32,
    /// Where the thresholds came from.
    pub file: String,
    /// The thresholds, verbatim.
    pub thresholds_toml: String,
    /// What had to be said beforehand: why what was compared may not be comparable.
    pub banner: Vec<String>,
    /// One for each threshold and contender.
    pub answers: Vec<GateAnswer>,
}

/// Whether one threshold was kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateAnswer {
    /// The contender.
    pub contender: String,
    /// Name of the metric.
    pub metric: String,
    /// The threshold in words.
    pub rule: String,
    /// The answer.
    pub kept: Kept,
    /// Why, one sentence.
    pub why: String,
    /// What was observed, in words: the figure or the ratio, with its interval.
    pub observed: String,
    /// Blocks that it rests on.
    pub blocks: u32,
}

/// Three-valued answer of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kept {
    /// It keeps the limit.
    Yes,
    /// It breaks it.
    No,
    /// Neither is shown.
    CannotTell,
}

impl GateRecord {
    /// How many thresholds have this answer.
    #[must_use]
    pub fn count(&self, kept: Kept) -> usize {
        self.answers.iter().filter(|answer| answer.kept == kept).count()
    }
}

impl Threshold {
    /// In words.
    #[must_use]
    pub fn rule(&self) -> String {
        let Self { metric, limit, .. } = self;
        let of = match limit {
            Limit::AtMost(most) => format!("≤ {}", metric.unit.show(*most)),
            Limit::AtLeast(least) => format!("≥ {}", metric.unit.show(*least)),
            Limit::Within { margin, of } if *margin < 0.0 => {
                format!("better than {of} by {} at least", Unit::Share.show(-margin))
            }
            Limit::Within { margin, of } => {
                format!("no worse than {of} by more than {}", Unit::Share.show(*margin))
            }
        };
        format!("{} {of}", metric.name)
    }
}

/// Judges all thresholds of a gate together.
#[must_use]
pub fn judge_thresholds(all: &[Asked<'_>]) -> Vec<GateAnswer> {
    let found: Vec<Found> = all.iter().map(Asked::find).collect();
    let adjusted = holm(&found.iter().map(|found| found.p_kept_if_so()).collect::<Vec<_>>());
    all.iter().zip(found).zip(adjusted).map(|((asked, found), p)| asked.answer(&found, p)).collect()
}

/// What the runs say about a threshold.
enum Found {
    /// The worst of so many blocks.
    Worst { value: f64, blocks: u32 },
    /// A ratio to a limit that must be at most, or at least, `bound`; where some readings are bounds themselves, it can only be more.
    Of { ratio: Ratio, bound: Bound, open: bool },
    /// Nothing, and why.
    Nothing(String),
}

#[derive(Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Found {
    /// How likely this is of a contender that keeps its limit.
    fn p_kept_if_so(&self) -> f64 {
        match self {
            Self::Of { ratio, bound: Bound::AtMost(bound), .. } => ratio.p_of_at_most(*bound),
            Self::Of { ratio, bound: Bound::AtLeast(bound), .. } => ratio.p_of_at_least(*bound),
            Self::Worst { .. } | Self::Nothing(_) => 1.0,
        }
    }

    fn p_broken_if_so(&self) -> f64 {
        match self {
            Self::Of { ratio, bound: Bound::AtMost(bound), .. } => ratio.p_of_at_least(*bound),
            Self::Of { ratio, bound: Bound::AtLeast(bound), .. } => ratio.p_of_at_most(*bound),
            Self::Worst { .. } | Self::Nothing(_) => 1.0,
        }
    }
}

impl Asked<'_> {
    fn find(&self) -> Found {
        let metric = self.threshold.metric;
        if self.runs.is_empty() {
            return Found::Nothing("it has no valid run".to_owned());
        }
        let readings: Vec<Reading> = self.runs.iter().filter_map(|run| (metric.of)(run)).collect();
        if readings.is_empty() {
            return Found::Nothing(
                "no run has this figure: it does not apply, or there are too few samples".to_owned(),
            );
        }
        let blocks = readings.len() as u32;
        let least = readings.iter().map(|reading| reading.least());
        let open = readings.iter().any(|reading| reading.known().is_none());
        if metric.kind == Kind::Counted {
            let worst = match metric.better {
                Better::Less => least.fold(f64::MIN, f64::max),
                Better::More => least.fold(f64::MAX, f64::min),
            };
            return Found::Worst { value: worst, blocks };
        }
        let beside = |limit: f64, bound| match Ratio::paired(least.map(|value| (value, limit))) {
            Some(ratio) => Found::Of { ratio, bound, open },
            None if blocks < 2 => Found::Nothing("one block has no interval: run 6 or more".to_owned()),
            None => Found::Nothing("a figure of 0 has no interval".to_owned()),
        };
        match &self.threshold.limit {
            Limit::AtMost(limit) => beside(*limit, Bound::AtMost(1.0)),
            Limit::AtLeast(limit) => beside(*limit, Bound::AtLeast(1.0)),
            Limit::Within { margin, of } => {
                let bounds = || self.reference.iter().chain(&self.runs).filter_map(|run| (metric.of)(run));
                if self.reference.is_empty() {
                    return Found::Nothing(format!("{of} has no valid run"));
                }
                if bounds().any(|reading| reading.known().is_none()) {
                    return Found::Nothing("what it is a quantile of has no known end".to_owned());
                }
                let bound = match metric.better {
                    Better::Less => Bound::AtMost(1.0 + margin),
                    Better::More => Bound::AtLeast(1.0 / (1.0 + margin)),
                };
                match ratio(&self.runs, &self.reference, metric, self.together) {
                    Some(ratio) => Found::Of { ratio, bound, open: false },
                    None => Found::Nothing("fewer than two blocks can be compared: run 6 or more".to_owned()),
                }
            }
        }
    }

    fn answer(&self, found: &Found, p: f64) -> GateAnswer {
        let threshold = self.threshold;
        let (kept, observed, why, blocks) = match found {
            Found::Nothing(why) => (Kept::CannotTell, String::new(), why.clone(), 0),
            Found::Worst { value, blocks } => {
                let kept = match threshold.limit {
                    Limit::AtMost(most) => *value <= most,
                    Limit::AtLeast(least) => *value >= least,
                    // Whoever reads thresholds refuses counts beside counts.
                    Limit::Within { .. } => false,
                };
                let why = format!("the worst of {blocks} blocks");
                (if kept { Kept::Yes } else { Kept::No }, threshold.metric.unit.show(*value), why, *blocks)
            }
            Found::Of { ratio, bound, open } => {
                let (kept, why) = self.told(found, (ratio, *bound, *open), p);
                (kept, self.observed(ratio, *open), why, ratio.blocks())
            }
        };
        GateAnswer {
            contender: threshold.contender.clone(),
            metric: threshold.metric.name.to_owned(),
            rule: threshold.rule(),
            kept,
            why,
            observed,
            blocks,
        }
    }

    fn told(&self, found: &Found, (ratio, bound, open): (&Ratio, Bound, bool), p: f64) -> (Kept, String) {
        let side = (1.0 - CONFIDENCE) / 2.0;
        let rule = Rule::default();
        // More is as good as what is wanted at least.
        let more_is_well = matches!(bound, Bound::AtLeast(_));
        let unknown = |why: &str| (Kept::CannotTell, why.to_owned());
        if p < side {
            return match open && more_is_well {
                true => unknown("it is known to be so much at least, and may be more"),
                false => (Kept::No, "the whole interval lies beyond the limit".to_owned()),
            };
        }
        let (Bound::AtMost(at) | Bound::AtLeast(at)) = bound;
        if found.p_broken_if_so() >= side {
            let blocks =
                ratio.blocks_to_tell_from(at, side, rule.power).filter(|blocks| *blocks > ratio.blocks());
            let more = blocks.map_or_else(
                || "no number of blocks that anybody would run tells".to_owned(),
                |blocks| format!("{blocks} blocks might tell"),
            );
            return (Kept::CannotTell, format!("the limit lies within the interval: {more}"));
        }
        if open && !more_is_well {
            return unknown("part of what it is a quantile of has no known end");
        }
        if let Limit::Within { margin, .. } = &self.threshold.limit {
            let detectable = ratio.least_detectable(rule.alpha, rule.power, self.known_sd);
            if detectable > margin.abs() {
                let whose = if self.known_sd.is_some() {
                    "the noise of this machine"
                } else {
                    "the noise of these blocks"
                };
                return (
                    Kept::CannotTell,
                    format!(
                        "{} blocks find a change of {} at least in {whose}, which is more than the margin of {}: run more blocks",
                        ratio.blocks(),
                        Unit::Share.show(detectable),
                        Unit::Share.show(margin.abs())
                    ),
                );
            }
        }
        (Kept::Yes, "the whole interval keeps the limit".to_owned())
    }

    fn observed(&self, ratio: &Ratio, open: bool) -> String {
        let (low, high) = ratio.interval(CONFIDENCE);
        let at_least = if open { "≥ " } else { "" };
        match self.threshold.limit {
            Limit::AtMost(limit) | Limit::AtLeast(limit) => {
                let unit = self.threshold.metric.unit;
                let [mid, shown_low, shown_high] = [ratio.ratio(), low, high].map(|of| unit.show(of * limit));
                // Two blocks that are far apart have an interval that is no figure any more.
                match high < 10.0 * ratio.ratio() {
                    true => format!("{at_least}{mid} ({shown_low} to {shown_high})"),
                    false => format!("{at_least}{mid} ({} blocks)", ratio.blocks()),
                }
            }
            Limit::Within { .. } => {
                let [mid, low, high] = [ratio.ratio(), low, high].map(|of| Unit::Count.show(of));
                format!("{mid} times ({low} to {high})")
            }
        }
    }
}
