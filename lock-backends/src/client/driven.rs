//! Work that has to reach its end: driven by the caller as long as the caller is there, and by a task of the
//! client from then on. So an uncontended lock costs no task and no hop between threads, and a caller may drop
//! its future at any point.
//!
//! ```text
//!  caller   polls ─ server ─ polls ─ done                caller   polls ─ server ─ dropped
//!                                                        client                       └─ polls ─ done
//! ```

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use tokio_util::task::task_tracker::TaskTrackerToken;

use super::shared::Shared;
use crate::session::{BoxFuture, Purpose};

/// Work under way. Dropping it hands the work to a task of the client.
pub(super) struct Driven<T: Send + 'static> {
    /// `None` once it is done, or was dropped where it is because the client had to close.
    work: Option<BoxFuture<'static, T>>,
    shared: Arc<Shared>,
    /// Closing waits for it.
    _under_way: TaskTrackerToken,
}

impl<T: Send + 'static> Driven<T> {
    pub(super) fn new(shared: &Arc<Shared>, work: impl Future<Output = T> + Send + 'static) -> Self {
        let under_way = shared.tasks.token();
        // It keeps its purpose in the background too.
        let work = Purpose::current().scope(work);
        Self { work: Some(Box::pin(work)), shared: Arc::clone(shared), _under_way: under_way }
    }

    /// Drives it to its end. `None`: the stamp passed before that, and it goes on in the background, from where it
    /// sees `told`; or the client was closed.
    pub(super) async fn until(mut self, due_ns: u64, told: &AtomicBool) -> Option<T> {
        let shared = Arc::clone(&self.shared);
        loop {
            let work = self.work.as_mut()?;
            tokio::select! {
                biased;
                output = work => {
                    self.work = None;
                    return Some(output);
                }
                () = shared.tick.notified() => {}
            }
            let stopped = shared.stop.is_cancelled();
            if stopped || shared.now.now_ns() >= due_ns {
                told.store(true, Relaxed);
                self.work = self.work.take().filter(|_| !stopped);
                return None;
            }
        }
    }
}

impl<T: Send + 'static> Drop for Driven<T> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            self.shared.go_on(work);
        }
    }
}
