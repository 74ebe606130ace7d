//! How long an answer is waited for.

use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;

use super::requests::Failure;

/// How much longer an answer is waited for that may have come already.
const MOMENT: Duration = Duration::from_millis(20);

/// Waits so long for an answer; without one nobody knows what became of the request.
///
/// A process that stood still (SIGSTOP, a virtual machine that was suspended) hears its timers before its sockets: the wait for these is
/// interrupted when it goes on. An answer that has long been there would be taken for none, and a session for lost that the server never
/// ended; so the sockets are given a moment.
pub(in crate::backends) async fn in_time<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let mut answer = pin!(answer);
    let answered = match timeout(limit, &mut answer).await {
        Ok(answered) => Ok(answered),
        Err(_) => timeout(MOMENT, answer).await,
    };
    answered.unwrap_or_else(|_| Err(Failure::Unanswered("no answer in time".to_owned())))
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_there_when_time_is_up_counts_and_none_is_waited_for_much_longer() {
        let limit = Duration::from_secs(1);
        let after = |wait: Duration| async move {
            sleep(wait).await;
            Ok(7)
        };
        // As after a standstill: the limit has passed, and the answer is heard next.
        assert!(matches!(in_time(limit, after(limit + MOMENT / 2)).await, Ok(7)));
        let begun = Instant::now();
        let late = in_time(limit, after(limit * 9)).await;
        assert!(matches!(late, Err(Failure::Unanswered(_))), "{late:?}");
        assert!(begun.elapsed() < limit + MOMENT * 2);
    }
}
