//! The tasks that a session owns.

use std::sync::Mutex;

use tokio::task::JoinSet;

use super::poison::lock;

/// Tasks that end with their session: when it is dropped, or after it told them to.
#[derive(Debug, Default)]
pub(crate) struct Tasks(Mutex<JoinSet<()>>);

impl Tasks {
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        lock(&self.0).spawn(task);
    }

    /// Waits until all have ended. Whoever waits has told them to. Not cancel safe: what was waited for is aborted.
    pub(crate) async fn ended(&self) {
        let mut tasks = std::mem::take(&mut *lock(&self.0));
        while tasks.join_next().await.is_some() {}
    }
}
