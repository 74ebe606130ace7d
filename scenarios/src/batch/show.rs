//! What a user is told while a batch runs.

use std::sync::Arc;

use harness::engine::Progress;

/// Tells a user what goes on.
pub trait Show: Send + Sync {
    /// A line, for people who read a log.
    fn line(&self, text: &str);
    /// A run begins: its title, how many tasks it has, and the counts that move.
    fn begin(&self, title: &str, tasks: u64, progress: Arc<Progress>);
    /// The run is over.
    fn end(&self, summary: &str);
}
