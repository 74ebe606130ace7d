//! The requests that one node has open at another, and how each of them ends.

use std::collections::HashMap;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::frame::Refusal;
use crate::poison::lock;
use crate::sync::{Mutex, MutexGuard};

/// All open calls to one peer.
///
/// Invariant: a call that is in the table has not ended, and each ends once, by being taken out.
pub(in crate::router) struct Calls {
    table: Mutex<Table>,
    limit: usize,
}

struct Table {
    open: HashMap<u64, Call>,
    next: u64,
    closed: bool,
}

struct Call {
    phase: Phase,
    /// The peer has said so since it was last asked whether the request is alive.
    heard: bool,
    ending: oneshot::Sender<Ending>,
}

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::router) enum Phase {
    /// No byte of it has been given to a connection.
    Queued,
    /// It went to the connection of this number; the peer may have it.
    Sent(u64),
}

/// How a call ends.
#[derive(Debug)]
pub(in crate::router) enum Ending {
    /// The peer answered.
    Answered(Result<Bytes, Refusal>),
    /// No connection to the peer could be made; nothing was sent.
    Unreachable,
    /// The connection broke after the request was sent.
    Broken,
    /// This node stops; nothing was sent.
    Stopped,
}

/// Why no call can be opened.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::router) enum OpenError {
    Full,
    Closed,
}

impl Calls {
    pub(in crate::router) fn new(limit: usize) -> Self {
        Self { table: Mutex::new(Table { open: HashMap::new(), next: 0, closed: false }), limit }
    }

    /// Opens a call and names it.
    pub(in crate::router) fn open(&self) -> Result<(u64, oneshot::Receiver<Ending>), OpenError> {
        let (ending, receiver) = oneshot::channel();
        let mut table = self.lock();
        if table.closed {
            return Err(OpenError::Closed);
        }
        if table.open.len() >= self.limit {
            return Err(OpenError::Full);
        }
        table.next += 1;
        let correlation = table.next;
        table.open.insert(correlation, Call { phase: Phase::Queued, heard: false, ending });
        Ok((correlation, receiver))
    }

    /// The request is about to be written to connection `link`; false if the caller has taken it back.
    pub(in crate::router) fn sending(&self, correlation: u64, link: u64) -> bool {
        self.lock().open.get_mut(&correlation).map(|call| call.phase = Phase::Sent(link)).is_some()
    }

    /// The peer answered. Nobody may be waiting any more.
    pub(in crate::router) fn answered(&self, correlation: u64, answer: Result<Bytes, Refusal>) {
        let call = self.lock().open.remove(&correlation);
        end(call, Ending::Answered(answer));
    }

    /// The peer says that it still has the request.
    pub(in crate::router) fn alive(&self, correlation: u64) {
        if let Some(call) = self.lock().open.get_mut(&correlation) {
            call.heard = true;
        }
    }

    /// Has the peer said so since the last look?
    pub(in crate::router) fn was_alive(&self, correlation: u64) -> bool {
        self.lock().open.get_mut(&correlation).is_some_and(|call| std::mem::take(&mut call.heard))
    }

    /// Takes a call back if nothing of it was sent; true proves that the peer will never see it.
    pub(in crate::router) fn withdraw(&self, correlation: u64) -> bool {
        let mut table = self.lock();
        let queued = table.open.get(&correlation).is_some_and(|call| call.phase == Phase::Queued);
        queued && table.open.remove(&correlation).is_some()
    }

    /// The caller is gone; returns how far the call had come if it was open.
    pub(in crate::router) fn abandon(&self, correlation: u64) -> Option<Phase> {
        self.lock().open.remove(&correlation).map(|call| call.phase)
    }

    /// No connection could be made: ends all calls that wait for one.
    pub(in crate::router) fn unreachable(&self) {
        self.end_where(|phase| (phase == Phase::Queued).then_some(Ending::Unreachable));
    }

    /// The connection `link` is gone: ends all calls that were sent over it.
    pub(in crate::router) fn broken(&self, link: u64) {
        self.end_where(|phase| (phase == Phase::Sent(link)).then_some(Ending::Broken));
    }

    /// Ends all calls and opens no more.
    pub(in crate::router) fn close(&self) {
        self.lock().closed = true;
        self.end_where(|phase| Some(if phase == Phase::Queued { Ending::Stopped } else { Ending::Broken }));
    }

    fn end_where(&self, ending: impl Fn(Phase) -> Option<Ending>) {
        let ended: Vec<Call> = self
            .lock()
            .open
            .extract_if(|_, call| ending(call.phase).is_some())
            .map(|(_, call)| call)
            .collect();
        for call in ended {
            if let Some(ending) = ending(call.phase) {
                end(Some(call), ending);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }
}

fn end(call: Option<Call>, ending: Ending) {
    if let Some(call) = call {
        // The caller may have gone in this moment; then nobody cares.
        drop(call.ending.send(ending));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_connection_ends_only_what_it_carried() {
        let calls = Calls::new(10);
        let (queued, mut queued_end) = calls.open().unwrap();
        let (old, mut old_end) = calls.open().unwrap();
        let (new, mut new_end) = calls.open().unwrap();
        assert!(calls.sending(old, 1) && calls.sending(new, 2));
        calls.broken(1);
        assert!(matches!(old_end.try_recv(), Ok(Ending::Broken)));
        assert!(new_end.try_recv().is_err() && queued_end.try_recv().is_err());
        calls.unreachable();
        assert!(matches!(queued_end.try_recv(), Ok(Ending::Unreachable)));
        assert!(!calls.sending(queued, 3), "an ended call is not sent");
        calls.answered(new, Ok(Bytes::new()));
        assert!(matches!(new_end.try_recv(), Ok(Ending::Answered(Ok(_)))));
    }

    #[test]
    fn only_an_unsent_call_can_be_withdrawn() {
        let calls = Calls::new(10);
        let (sent, _sent_end) = calls.open().unwrap();
        let (queued, _queued_end) = calls.open().unwrap();
        assert!(calls.sending(sent, 1));
        assert!(!calls.withdraw(sent));
        assert!(calls.withdraw(queued));
        assert!(!calls.sending(queued, 1));
    }

    #[test]
    fn calls_are_bounded_and_end_when_the_node_stops() {
        let calls = Calls::new(2);
        let (first, mut first_end) = calls.open().unwrap();
        let (_, mut second_end) = calls.open().unwrap();
        assert_eq!(calls.open().unwrap_err(), OpenError::Full);
        assert!(calls.sending(first, 1));
        calls.close();
        assert!(matches!(first_end.try_recv(), Ok(Ending::Broken)));
        assert!(matches!(second_end.try_recv(), Ok(Ending::Stopped)));
        assert_eq!(calls.open().unwrap_err(), OpenError::Closed);
    }

    #[test]
    fn a_sign_of_life_counts_once() {
        let calls = Calls::new(1);
        let (call, _end) = calls.open().unwrap();
        assert!(!calls.was_alive(call));
        calls.alive(call);
        assert!(calls.was_alive(call));
        assert!(!calls.was_alive(call));
    }
}
