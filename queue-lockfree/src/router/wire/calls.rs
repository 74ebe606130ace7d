//! The requests that one node has open at another, and how each of them ends.

use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::sync::Notify;

use super::frame::Refusal;
use crate::now::{Now, reached};
use crate::poison::lock;
use crate::sync::{Mutex, MutexGuard};

/// All open calls to one peer. Under load most of what a call costs is the taking of turns at this table, so whoever has
/// much to say of many calls says it at once.
///
/// Invariant: a call ends once, and is in the table until its caller has heard how, or is gone.
pub(in crate::router) struct Calls {
    table: Mutex<Table>,
    /// That a call is due before those that were known.
    earlier: Notify,
    limit: usize,
}

struct Table {
    places: Vec<Place>,
    /// Places without a call.
    free: Vec<u32>,
    /// Calls that have not ended.
    open: usize,
    /// No caller has to be told before that its deadline has come.
    due_ns: u64,
    closed: bool,
}

/// Room for one call after the other.
#[derive(Default)]
struct Place {
    /// How many it has had: an answer to one of them is none to the next.
    turn: u32,
    call: Option<Call>,
}

struct Call {
    phase: Phase,
    /// The peer has said so since it was last asked whether the request is alive.
    heard: bool,
    /// When the caller is to be told that its deadline has come; never again after that.
    due_ns: u64,
    news: Option<News>,
    caller: Option<Waker>,
}

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::router) enum Phase {
    /// No byte of it has been given to a connection.
    Queued,
    /// It went to the connection of this number; the peer may have it.
    Sent(u64),
}

/// What a caller is told.
#[derive(Debug)]
pub(in crate::router) enum News {
    /// Its deadline has come; the call goes on.
    Due,
    /// The last of it.
    Ended(Ending),
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

/// What a peer says of a call.
#[derive(Debug)]
pub(in crate::router) enum Said {
    /// The last of it. Nobody may be waiting any more.
    Answer(Result<Bytes, Refusal>),
    /// It still has the request.
    Alive,
}

/// Why no call can be opened.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::router) enum OpenError {
    Full,
    Closed,
}

impl Calls {
    pub(in crate::router) fn new(limit: usize) -> Self {
        let table = Table { places: Vec::new(), free: Vec::new(), open: 0, due_ns: u64::MAX, closed: false };
        Self { table: Mutex::new(table), earlier: Notify::new(), limit }
    }

    /// Opens a call and names it.
    pub(in crate::router) fn open(&self, deadline_ns: u64) -> Result<u64, OpenError> {
        let mut table = self.lock();
        if table.closed {
            return Err(OpenError::Closed);
        }
        if table.open >= self.limit {
            return Err(OpenError::Full);
        }
        let call = Call { phase: Phase::Queued, heard: false, due_ns: deadline_ns, news: None, caller: None };
        let correlation = table.insert(call);
        if deadline_ns < table.due_ns {
            table.due_ns = deadline_ns;
            drop(table);
            self.earlier.notify_one();
        }
        Ok(correlation)
    }

    /// How many have not ended.
    pub(in crate::router) fn open_calls(&self) -> usize {
        self.lock().open
    }

    /// What the caller has not been told yet. Of a call that is not in the table, that it is broken.
    pub(in crate::router) fn poll_news(&self, correlation: u64, context: &mut Context<'_>) -> Poll<News> {
        let mut table = self.lock();
        let Some(call) = table.get(correlation) else { return Poll::Ready(News::Ended(Ending::Broken)) };
        match call.news {
            Some(News::Due) => {
                call.news = None;
                Poll::Ready(News::Due)
            }
            Some(News::Ended(_)) => {
                let news = table.remove(correlation).and_then(|call| call.news);
                Poll::Ready(news.unwrap_or(News::Ended(Ending::Broken)))
            }
            None => {
                match &mut call.caller {
                    Some(caller) => caller.clone_from(context.waker()),
                    caller => *caller = Some(context.waker().clone()),
                }
                Poll::Pending
            }
        }
    }

    /// These are about to be written to connection `link`; leaves out those whose callers have taken them back.
    pub(in crate::router) fn sending<T>(
        &self,
        link: u64,
        batch: &mut Vec<T>,
        correlation: impl Fn(&T) -> Option<u64>,
    ) {
        let mut table = self.lock();
        batch.retain(|each| {
            let Some(correlation) = correlation(each) else { return true };
            table.unended(correlation).map(|call| call.phase = Phase::Sent(link)).is_some()
        });
    }

    /// What the peer has said; `callers` has room for those who wait, for the next time.
    pub(in crate::router) fn hear(&self, said: &mut Vec<(u64, Said)>, callers: &mut Vec<Waker>) {
        let mut table = self.lock();
        for (correlation, said) in said.drain(..) {
            match said {
                Said::Answer(answer) => table.end(correlation, Ending::Answered(answer), callers),
                Said::Alive => {
                    if let Some(call) = table.unended(correlation) {
                        call.heard = true;
                    }
                }
            }
        }
        drop(table);
        callers.drain(..).for_each(Waker::wake);
    }

    /// Has the peer said that it has the request since the last look?
    pub(in crate::router) fn was_alive(&self, correlation: u64) -> bool {
        self.lock().unended(correlation).is_some_and(|call| std::mem::take(&mut call.heard))
    }

    /// Takes a call back if nothing of it was sent; true proves that the peer will never see it.
    pub(in crate::router) fn withdraw(&self, correlation: u64) -> bool {
        let mut table = self.lock();
        let queued = table.unended(correlation).is_some_and(|call| call.phase == Phase::Queued);
        if queued {
            table.remove(correlation);
        }
        queued
    }

    /// The caller is gone; returns how far the call had come if it had not ended.
    pub(in crate::router) fn abandon(&self, correlation: u64) -> Option<Phase> {
        let call = self.lock().remove(correlation)?;
        call.is_open().then_some(call.phase)
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

    /// Tells callers that their deadlines have come, for as long as it is polled: one timer for all calls, since hardly one of
    /// them lasts until then.
    pub(in crate::router) async fn watch_deadlines(&self, now: &dyn Now) {
        loop {
            let due_ns = self.lock().due_ns;
            tokio::select! {
                biased;
                () = reached(now, due_ns) => self.tell_due(now.now_ns()),
                () = self.earlier.notified() => {}
            }
        }
    }

    fn tell_due(&self, now_ns: u64) {
        let mut callers = Vec::new();
        let mut table = self.lock();
        let mut next_ns = u64::MAX;
        for call in table.places.iter_mut().filter_map(|place| place.call.as_mut()) {
            if !call.is_open() {
                continue;
            }
            if call.due_ns <= now_ns {
                call.due_ns = u64::MAX;
                call.news = Some(News::Due);
                callers.extend(call.caller.take());
            }
            next_ns = next_ns.min(call.due_ns);
        }
        table.due_ns = next_ns;
        drop(table);
        callers.into_iter().for_each(Waker::wake);
    }

    fn end_where(&self, ending: impl Fn(Phase) -> Option<Ending>) {
        let mut callers = Vec::new();
        let mut table = self.lock();
        let open = table.places.iter().zip(0..).filter_map(|(place, index)| {
            let call = place.call.as_ref().filter(|call| call.is_open())?;
            Some((number(place.turn, index), ending(call.phase)?))
        });
        for (correlation, ending) in open.collect::<Vec<_>>() {
            table.end(correlation, ending, &mut callers);
        }
        drop(table);
        callers.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }
}

impl Call {
    fn is_open(&self) -> bool {
        !matches!(self.news, Some(News::Ended(_)))
    }
}

impl Table {
    fn insert(&mut self, call: Call) -> u64 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            u32::try_from(self.places.len() - 1).expect("calls are bounded, and so are places")
        });
        let place = &mut self.places[index as usize];
        place.turn = place.turn.wrapping_add(1);
        place.call = Some(call);
        self.open += 1;
        number(place.turn, index)
    }

    fn place(&mut self, correlation: u64) -> Option<&mut Place> {
        let place = self.places.get_mut(correlation as u32 as usize)?;
        (place.turn == (correlation >> 32) as u32).then_some(place)
    }

    fn get(&mut self, correlation: u64) -> Option<&mut Call> {
        self.place(correlation)?.call.as_mut()
    }

    fn unended(&mut self, correlation: u64) -> Option<&mut Call> {
        self.get(correlation).filter(|call| call.is_open())
    }

    fn end(&mut self, correlation: u64, ending: Ending, callers: &mut Vec<Waker>) {
        if let Some(call) = self.unended(correlation) {
            call.news = Some(News::Ended(ending));
            callers.extend(call.caller.take());
            self.open -= 1;
        }
    }

    fn remove(&mut self, correlation: u64) -> Option<Call> {
        let call = self.place(correlation)?.call.take()?;
        self.free.push(correlation as u32);
        self.open -= usize::from(call.is_open());
        Some(call)
    }
}

fn number(turn: u32, index: u32) -> u64 {
    u64::from(turn) << 32 | u64::from(index)
}

#[cfg(test)]
mod tests;
