//! What is asked at the same time goes to the database together.

use tokio::sync::mpsc;
use tokio::task::yield_now;

/// Submissions, and turns of workers, in one transaction.
const BATCH: usize = 64;

/// Fills a batch with what has been sent by then. Who was served together asks again together, given a chance. False:
/// nobody asks any more. Cancel safe: what was taken out is in the batch.
pub(super) async fn gather<T>(from: &mut mpsc::Receiver<T>, batch: &mut Vec<T>) -> bool {
    if from.recv_many(batch, BATCH).await == 0 {
        return false;
    }
    yield_now().await;
    while batch.len() < BATCH
        && let Ok(next) = from.try_recv()
    {
        batch.push(next);
    }
    true
}
