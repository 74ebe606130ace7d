//! Single flight: whoever asks for what is being done already shares its result.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::future::{BoxFuture, caught};
use crate::now::{Now, reached};
use crate::poison::lock;
use crate::router::{Delivery, Handler};
use crate::sync::{Mutex, MutexGuard};

/// Runs the work of a key once for all who ask while it runs; clones share the flights.
///
/// The first to ask starts the flight, the others join it, and all receive the same result or the same error. Who asks
/// after it has ended starts the next one. A flight belongs to nobody who waits for it: their deadlines and drops are their
/// own. (In the original a leader that had waited too long took all its followers down, and results were handed out
/// under one lock for all keys.)
///
/// ```text
/// A ──▶ work ─────────────┬──▶ result     D ──▶ work of its own ──▶ …
/// B ────▶ joins ──────────┼──▶ same result
/// C ──────▶ joins ─ deadline: TimedOut
/// ```
///
/// Invariant: a key is in the table while its flight runs; an idle key costs no memory.
pub struct SingleFlight<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    flights: Mutex<HashMap<String, watch::Receiver<Option<Landing<T>>>>>,
    tasks: TaskTracker,
    now: Arc<dyn Now>,
}

/// How a flight ended; an error is a panic's message.
type Landing<T> = Result<T, String>;

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlightError {
    /// The work panicked. All who shared it are told so.
    #[error("the work panicked: {0}")]
    Panicked(String),
    /// This caller's deadline passed. The flight goes on.
    #[error("the deadline passed before the work was done")]
    TimedOut,
    /// The runtime that the flight ran on was shut down.
    #[error("the work was stopped")]
    Stopped,
}

impl<T: Clone + Send + Sync + 'static> SingleFlight<T> {
    /// No flights yet. Deadlines are on `now`.
    pub fn new(now: Arc<dyn Now>) -> Self {
        Self { shared: Arc::new(Shared { flights: Mutex::default(), tasks: TaskTracker::new(), now }) }
    }

    /// The result of the key's flight; starts it with `work` if there is none. `work` is not called, and dropped, if
    /// there is. Needs a tokio runtime, and runs the work on it.
    ///
    /// Cancel safe: the flight goes on for the others, and to its end.
    ///
    /// # Errors
    ///
    /// [`FlightError`].
    pub async fn run<W>(
        &self,
        key: &str,
        deadline_ns: u64,
        work: impl FnOnce() -> W + Send + 'static,
    ) -> Result<T, FlightError>
    where
        W: Future<Output = T> + Send,
    {
        let mut landing = self.join(key, work);
        tokio::select! {
            biased;
            landed = landing.wait_for(Option::is_some) => {
                let landed = landed.map_err(|_| FlightError::Stopped)?;
                landed.clone().ok_or(FlightError::Stopped)?.map_err(FlightError::Panicked)
            }
            () = reached(&*self.shared.now, deadline_ns) => Err(FlightError::TimedOut),
        }
    }

    /// How many flights are under way.
    pub fn len(&self) -> usize {
        self.shared.lock().len()
    }

    /// No flight is under way.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn join<W>(
        &self,
        key: &str,
        work: impl FnOnce() -> W + Send + 'static,
    ) -> watch::Receiver<Option<Landing<T>>>
    where
        W: Future<Output = T> + Send,
    {
        let mut flights = self.shared.lock();
        if let Some(flight) = flights.get(key) {
            return flight.clone();
        }
        let (land, landing) = watch::channel(None);
        flights.insert(key.to_owned(), landing.clone());
        drop(flights);
        let flight = Flight { shared: Arc::clone(&self.shared), key: key.to_owned() };
        self.shared.tasks.spawn(async move {
            let landed = caught(async { work().await }).await;
            // Out of the table first: who asks from here on gets a flight of its own, never a stale result.
            drop(flight);
            land.send_replace(Some(landed));
        });
        landing
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, watch::Receiver<Option<Landing<T>>>>> {
        lock(&self.flights)
    }
}

/// A key's place in the table, given up also when the runtime drops the flight.
struct Flight<T> {
    shared: Arc<Shared<T>>,
    key: String,
}

impl<T> Drop for Flight<T> {
    fn drop(&mut self) {
        self.shared.lock().remove(&self.key);
    }
}

impl<T> Clone for SingleFlight<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> fmt::Debug for SingleFlight<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleFlight").finish_non_exhaustive()
    }
}

/// A handler that runs a key once for all who submit it meanwhile, wherever: single flight through the ring.
///
/// Start each node with it and submit with level 0, so that the owner's queue holds nobody back and all meet here. While
/// a key changes owner, each owner has a flight of its own.
pub struct SingleFlightHandler {
    inner: Arc<dyn Handler>,
    flights: SingleFlight<Bytes>,
}

impl SingleFlightHandler {
    /// Shares the runs of `inner`, by key; the payload is that of the first.
    pub fn new(inner: Arc<dyn Handler>, now: Arc<dyn Now>) -> Self {
        Self { inner, flights: SingleFlight::new(now) }
    }
}

impl fmt::Debug for SingleFlightHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleFlightHandler").field("flights", &self.flights).finish_non_exhaustive()
    }
}

impl Handler for SingleFlightHandler {
    fn run(&self, delivery: Delivery) -> BoxFuture<'_, Bytes> {
        Box::pin(async move {
            let (inner, key) = (Arc::clone(&self.inner), delivery.key.clone());
            // The deadline bounded the wait for the start, as for any task.
            let landed =
                self.flights.run(&key, u64::MAX, move || async move { inner.run(delivery).await }).await;
            // The router turns it into the submitter's error.
            landed.unwrap_or_else(|error| std::panic::panic_any(error.to_string()))
        })
    }
}
