//! What a user is told while a batch runs.

use std::sync::Arc;

use harness::engine::Progress;

/// Tells a user what goes on.
pub trait Show: Send + Sync {
    /// A line, for people who read a log.
    fn line(&self, text: &str);
    /// What came out: told whatever else the user does not want to see.
    fn conclude(&self, text: &str);
    /// A run begins.
    fn begin(&self, run: Begins);
    /// The run is over.
    fn end(&self, summary: &str);
}

/// A run that begins.
#[derive(Debug, Clone)]
pub struct Begins {
    /// Its block and contender.
    pub title: String,
    /// How many tasks it has.
    pub tasks: u64,
    /// From the first that is due to the last.
    pub window_s: f64,
    /// What comes after it in the batch takes so long, about; `None` where that is not known.
    pub then_s: Option<f64>,
    /// What its overlaps and lost updates say.
    pub wrong: Wrong,
    /// The counts that move.
    pub progress: Arc<Progress>,
}

/// What overlaps and lost updates of a run say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// The contender let two in.
    Violations,
    /// Nothing: the run is of a control that excludes nobody.
    OfAControl,
}
