//! The connections of one node, each for one statement or one holder at a time.

use std::sync::Mutex;

use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::requests::{Connection, Failure};
use crate::backends::common::{CONNECT_TIMEOUT, lock};
use crate::session::LockError;

/// At most so many connections, and those of them that are idle. The client crate's own pool would ping a connection
/// each time before it hands it out.
#[derive(Debug)]
pub(in crate::backends) struct Connections<C> {
    /// One for each connection in use.
    permits: Semaphore,
    idle: Mutex<Vec<C>>,
}

impl<C> Connections<C> {
    pub(in crate::backends) fn new(most: usize) -> Self {
        Self { permits: Semaphore::new(most), idle: Mutex::default() }
    }

    /// Waits for the right to use a connection, in the order of asking. Whoever forgets the permit keeps the right until
    /// [`Self::give_up`]. Cancel safe.
    pub(in crate::backends) async fn permit(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.permits.acquire().await
    }

    /// Gives back a right whose permit was forgotten.
    pub(in crate::backends) fn give_up(&self) {
        self.permits.add_permits(1);
    }

    /// An open connection that nobody uses.
    pub(in crate::backends) fn take(&self) -> Option<C> {
        lock(&self.idle).pop()
    }

    /// It is open and idle again.
    pub(in crate::backends) fn put(&self, connection: C) {
        lock(&self.idle).push(connection);
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
