//! The connections of one node, each for one statement or one holder at a time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Duration, timeout};

use super::requests::{Connection, Failure};
use crate::backends::common::{CONNECT_TIMEOUT, lock};
use crate::session::{LockError, unavailable};

/// At most so many connections, and those of them that are idle. The client crate's own pool would ping a connection
/// each time before it hands it out.
#[derive(Debug)]
pub(in crate::backends) struct Connections<C> {
    most: usize,
    /// More than these that are idle are closed.
    kept: usize,
    /// A permit for each connection in use.
    permits: Arc<Semaphore>,
    /// How often a permit was had after a wait.
    passed_on: AtomicU64,
    idle: Mutex<Vec<C>>,
}

/// The right to use a connection, until it is dropped.
#[derive(Debug)]
pub(in crate::backends) struct Permit(
    #[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit,
);

impl<C> Connections<C> {
    pub(in crate::backends) fn new(most: usize, kept: usize) -> Self {
        let permits = Arc::new(Semaphore::new(most));
        Self { most, kept, permits, passed_on: AtomicU64::new(0), idle: Mutex::default() }
    }

    /// Waits for the right to use a connection, in the order of asking. For those who never hold one while they wait for
    /// another. Cancel safe.
    pub(in crate::backends) async fn permit(&self) -> Result<Permit, LockError> {
        Arc::clone(&self.permits).acquire_owned().await.map(Permit).map_err(unavailable)
    }

    /// The right to use a connection, if one is left.
    ///
    /// # Errors
    /// [`LockError::Unavailable`] where all are in use: nothing was asked.
    pub(in crate::backends) fn permit_at_once(&self) -> Result<Permit, LockError> {
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        permit.map(Permit).map_err(|_| LockError::Unavailable(self.all_in_use()))
    }

    /// As [`Self::permit`], for as long as connections come back, to whomever. Holders of all of them that wait for more
    /// would wait for each other: when none came back for `stall`, they are told.
    ///
    /// # Errors
    /// [`LockError::Unavailable`] then: nothing was asked.
    pub(in crate::backends) async fn permit_unless_stalled(
        &self,
        stall: Duration,
    ) -> Result<Permit, LockError> {
        let mut permit = std::pin::pin!(self.permit());
        loop {
            let seen = self.passed_on.load(Ordering::Relaxed);
            if let Ok(permit) = timeout(stall, &mut permit).await {
                self.passed_on.fetch_add(1, Ordering::Relaxed);
                return permit;
            }
            if self.passed_on.load(Ordering::Relaxed) == seen {
                return Err(LockError::Unavailable(format!(
                    "{}, and none came back for {stall:?}",
                    self.all_in_use()
                )));
            }
        }
    }

    fn all_in_use(&self) -> String {
        format!("all {} connections of this node are held or waiting", self.most)
    }

    /// An open connection that nobody uses.
    pub(in crate::backends) fn take(&self) -> Option<C> {
        lock(&self.idle).pop()
    }

    /// It is open and idle again.
    pub(in crate::backends) fn put(&self, connection: C) {
        let mut idle = lock(&self.idle);
        if idle.len() < self.kept {
            idle.push(connection);
        }
    }

    /// All that are idle.
    pub(in crate::backends) fn drain(&self) -> Vec<C> {
        std::mem::take(&mut *lock(&self.idle))
    }
}

/// Makes what the variants need in the database, if it is not there.
pub(in crate::backends) async fn set_up<C: Connection + ?Sized>(connection: &mut C) -> Result<(), LockError> {
    match timeout(CONNECT_TIMEOUT, connection.set_up()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(Failure::Refused(why) | Failure::Unanswered(why))) => Err(LockError::Unavailable(why)),
        Ok(Err(Failure::TimedOut)) | Err(_) => Err(LockError::Unavailable("set-up not answered".to_owned())),
    }
}
