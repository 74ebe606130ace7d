//! A task that the queues run themselves, and the handle of who submitted it.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::completion::{self, Job, Link, Spawned};
use super::entitlement::Entitlement;
use super::held::{Ending, Grant, Held, Place, Site};
use super::submission::QueueError;
use crate::now::reached;

/// The submitter's handle on a task that was [spawned](super::WorkQueues::spawn). Dropping it takes the task out of the queue if
/// it has not started; a started one runs to its end unobserved.
#[must_use = "dropping the handle takes the task out of the queue"]
pub struct Task<T> {
    /// `None` once its end was seen.
    answer: Option<Answer<T>>,
    /// Of a task that had to wait.
    place: Option<Place>,
}

type Answer<T> = async_task::Task<Result<T, TaskError>, Link>;

/// Why a spawned task has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// It did not start, and will not.
    #[error(transparent)]
    NotStarted(#[from] QueueError),
    /// It panicked.
    #[error("the task panicked")]
    Panicked,
}

/// A task of the queues `link` leads to, which calls `work` when it is first polled, and the handle on it; future and
/// result lie in one place.
pub(super) fn task<F, W, T>(
    link: Link,
    site: Site,
    work: F,
) -> (Spawned, async_task::Task<Result<T, TaskError>, Link>)
where
    F: FnOnce(Entitlement) -> W + Send + 'static,
    W: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let work = Work { stage: Stage::Waiting { work: Some(work) }, site, grant: None };
    async_task::Builder::new().metadata(link).spawn(|_| work, |woken: Spawned| Job::from(woken).go_on())
}

impl<T> Task<T> {
    pub(super) fn new(answer: Answer<T>, place: Option<Place>) -> Self {
        Self { answer: Some(answer), place }
    }

    /// Waits for the task's end. Its slot is free when this returns. Needs a tokio runtime with time if the task has a
    /// deadline.
    ///
    /// Cancel safe in this sense: dropping the future is dropping the handle.
    ///
    /// # Errors
    ///
    /// [`TaskError`].
    pub async fn finished(mut self) -> Result<T, TaskError> {
        let deadline_ns =
            self.place.as_ref().and_then(|place| self.link().shard(place.shard).deadline_ns(place));
        match deadline_ns {
            None => self.answered().await,
            // A timer is large, and most have none.
            Some(deadline_ns) => Box::pin(self.finished_by(deadline_ns)).await,
        }
    }

    async fn finished_by(mut self, deadline_ns: u64) -> Result<T, TaskError> {
        let link = self.link().clone();
        tokio::select! {
            biased;
            answer = self.answered() => return answer,
            () = reached(&*link.node.now, deadline_ns) => {}
        }
        if self.withdraw() {
            return Err(QueueError::TimedOut.into());
        }
        self.answered().await
    }

    async fn answered(&mut self) -> Result<T, TaskError> {
        let answer =
            self.answer.as_mut().expect("an answer is taken once: the handle is used up by it").await;
        self.place = None;
        answer
    }

    fn link(&self) -> &Link {
        self.answer.as_ref().expect("the handle is not used up").metadata()
    }

    /// Takes the task out of the queue, if it is there.
    fn withdraw(&mut self) -> bool {
        let Some(place) = self.place.take() else { return false };
        self.link().shard(place.shard).withdraw(&place)
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.withdraw();
        if let Some(answer) = self.answer.take() {
            answer.detach();
        }
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").finish_non_exhaustive()
    }
}

pin_project! {
    /// What a worker polls, from the task's submission to its end. It catches the task's panics, also those of its
    /// destructors: they must not reach who merely ended another task.
    struct Work<F, W> {
        #[pin]
        stage: Stage<F, W>,
        site: Site,
        // From its start to its end. What was started is dropped by a worker alone: until then a waker, the ready list
        // or a worker has it, and the last waker hands it to a worker.
        grant: Option<Grant>,
    }

    impl<F, W> PinnedDrop for Work<F, W> {
        fn drop(this: Pin<&mut Self>) {
            this.end(Ending::Abandoned);
        }
    }
}

pin_project! {
    #[project = StageNow]
    enum Stage<F, W> {
        Waiting { work: Option<F> },
        Running {
            #[pin]
            running: W,
        },
        Ended,
    }
}

impl<F, W> Work<F, W> {
    /// Drops what is left of the task, then frees its slot: what it has is gone before the next one starts.
    fn end(self: Pin<&mut Self>, ending: Ending) {
        let this = self.project();
        let mut stage = this.stage;
        if catch_unwind(AssertUnwindSafe(|| stage.as_mut().set(Stage::Ended))).is_err() {
            tracing::error!("a task panicked while it was dropped");
        }
        if let Some(grant) = this.grant.take() {
            completion::with_link(|link| completion::free(link, &Held { site: *this.site, grant }, ending));
        }
    }
}

impl<F, W, T> Future for Work<F, W>
where
    F: FnOnce(Entitlement) -> W,
    W: Future<Output = T>,
{
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.as_mut().project();
        if let StageNow::Waiting { work } = this.stage.as_mut().project() {
            let work = work.take().expect("a task begins once");
            let begun = completion::outcome().map(|grant| {
                *this.grant = Some(grant);
                let held = Held { site: *this.site, grant };
                let entitlement = completion::with_link(|link| Entitlement::of(link, held));
                catch_unwind(AssertUnwindSafe(|| work(entitlement)))
            });
            let error = match begun {
                Ok(Ok(running)) => {
                    this.stage.set(Stage::Running { running });
                    None
                }
                Ok(Err(_panic)) => Some(TaskError::Panicked),
                Err(error) => Some(error.into()),
            };
            if let Some(error) = error {
                self.end(Ending::Abandoned);
                return Poll::Ready(Err(error));
            }
        }
        let this = self.as_mut().project();
        let StageNow::Running { running } = this.stage.project() else {
            unreachable!("an ended task is not ready")
        };
        // The future is not polled again after a panic.
        let (result, ending) = match catch_unwind(AssertUnwindSafe(|| running.poll(context))) {
            Ok(Poll::Ready(result)) => (Ok(result), Ending::Done),
            Ok(Poll::Pending) => {
                completion::suspends(context);
                return Poll::Pending;
            }
            Err(_panic) => (Err(TaskError::Panicked), Ending::Abandoned),
        };
        // The slot is free before the answer is seen.
        self.end(ending);
        Poll::Ready(result)
    }
}
