//! How many requests were sent, and what for.

use std::future::Future;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// What a request is for. Everything that is asked for inside [`Purpose::scope`] has its purpose, also what goes on in the
/// background after its caller has left; what is outside of every scope is work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Purpose {
    /// To keep a lease.
    Renewal,
    /// To see whether the server still answers, on a key that nobody wants.
    Probe,
    /// To take, to wait for, and to give back.
    #[default]
    Work,
}

tokio::task_local! {
    static PURPOSE: Purpose;
}

impl Purpose {
    /// That of the running task.
    #[must_use]
    pub fn current() -> Self {
        PURPOSE.try_with(|purpose| *purpose).unwrap_or_default()
    }

    /// Runs a future whose requests have this purpose. As cancel safe as the future.
    pub fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        PURPOSE.scope(self, future)
    }

    /// That of a request that serves several: work where there is any.
    #[must_use]
    pub fn of_all(all: impl IntoIterator<Item = Self>) -> Self {
        all.into_iter().max().unwrap_or_default()
    }
}

/// Requests sent to a server so far.
#[derive(Debug, Default)]
pub struct Operations {
    renewals: AtomicU64,
    probes: AtomicU64,
    work: AtomicU64,
}

impl Operations {
    /// Counts so many, for the purpose of the running task.
    pub fn add(&self, operations: u64) {
        self.counter(Purpose::current()).fetch_add(operations, Relaxed);
    }

    /// Those of a purpose.
    #[must_use]
    pub fn of(&self, purpose: Purpose) -> u64 {
        self.counter(purpose).load(Relaxed)
    }

    /// All.
    #[must_use]
    pub fn total(&self) -> u64 {
        [Purpose::Renewal, Purpose::Probe, Purpose::Work].map(|purpose| self.of(purpose)).iter().sum()
    }

    fn counter(&self, purpose: Purpose) -> &AtomicU64 {
        match purpose {
            Purpose::Renewal => &self.renewals,
            Purpose::Probe => &self.probes,
            Purpose::Work => &self.work,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_sent_in_a_scope_has_its_purpose_and_everything_else_is_work() {
        let operations = Operations::default();
        operations.add(1);
        Purpose::Probe.scope(async { operations.add(2) }).await;
        Purpose::Renewal.scope(async { operations.add(4) }).await;
        let of = [Purpose::Work, Purpose::Probe, Purpose::Renewal].map(|purpose| operations.of(purpose));
        assert_eq!((of, operations.total()), ([1, 2, 4], 7));
        assert_eq!(Purpose::of_all([Purpose::Probe, Purpose::Work, Purpose::Renewal]), Purpose::Work);
        assert_eq!(Purpose::of_all([Purpose::Probe, Purpose::Renewal]), Purpose::Probe);
    }
}
