//! Arrivals that are not independent at one rate, as a scenario says them.

use serde::Deserialize;

/// `[arrivals]`: how tasks arrive where that is not independently at `rate_per_s`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArrivalsSpec {
    /// Which shape.
    pub shape: ShapeWord,
    /// Of `ramp`: the rate at the end of the window.
    pub to_per_s: Option<f64>,
    /// Of `sine`: how far the rate swings, as a part of it (0 to 1).
    pub swing: Option<f64>,
    /// Of `sine`: from one crest to the next.
    pub period_s: Option<f64>,
    /// Of `steps`: one rate after the other, each for an equal part of the window.
    pub rates_per_s: Option<Vec<f64>>,
    /// Of `recorded`: a file with a time in seconds at the beginning of each line, as of a log; a first line of words is passed over.
    pub file: Option<String>,
    /// Of `closed`: how many callers, dealt out to the nodes in turns. Each asks for its next task when its last one has returned.
    pub callers: Option<u32>,
    /// Of `closed`: how long each thinks between two tasks, the mean of an exponential distribution; 0 where nothing is said.
    pub think_ms: Option<f64>,
    /// Of `closed`: the tasks that there are, at most; where nothing is said, 200,000 for each second of the window, and no more than a million. A run ends when they are
    /// done or the window is over.
    pub tasks: Option<u32>,
}

/// A shape by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShapeWord {
    /// At equal distances.
    Constant,
    /// From one rate to another.
    Ramp,
    /// Up and down around the rate.
    Sine,
    /// One rate after the other.
    Steps,
    /// When they once arrived.
    Recorded,
    /// A fixed number of callers, each of whom asks again when it has been answered.
    Closed,
}
