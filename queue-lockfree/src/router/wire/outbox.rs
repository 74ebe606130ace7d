//! What waits to be written to one connection: bounded in number and in bytes, each until it is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::BytesMut;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::frame::Frame;
use crate::router::limits::RouterLimits;

/// Frames of no more bytes are bounded by their number alone: that many of them are little.
pub(in crate::router) const SMALL_BYTES: usize = 16 * 1024;

/// The end at which frames are put in.
#[derive(Clone)]
pub(in crate::router) struct Outbox {
    frames: mpsc::Sender<Waiting>,
    room: Arc<Semaphore>,
    bytes: u32,
    /// Who waits for room. Small frames wait behind it, since frames of one key go in the order of their asking.
    in_line: Arc<AtomicUsize>,
}

/// The end at which they are taken out.
pub(in crate::router) type Inbox = mpsc::Receiver<Waiting>;

/// What is to be written, and its room until it is dropped: not before its bytes are written.
pub(in crate::router) struct Waiting {
    pub(in crate::router) what: Outgoing,
    _room: Option<OwnedSemaphorePermit>,
}

/// What is to be written.
#[derive(Debug)]
pub(in crate::router) enum Outgoing {
    Frame(Frame),
    /// Small frames, encoded: what comes about together waits together.
    Encoded(BytesMut),
}

/// Why a frame was not put in.
#[derive(Debug)]
pub(in crate::router) enum Unsent {
    /// There is no room now.
    Full(Outgoing),
    /// Nobody takes anything out any more.
    Closed,
}

impl Outbox {
    pub(in crate::router) fn new(limits: &RouterLimits) -> (Self, Inbox) {
        let (frames, inbox) = mpsc::channel(limits.outbox);
        let bytes = u32::try_from(limits.outbox_bytes.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        let (room, in_line) = (Arc::new(Semaphore::new(bytes as usize)), Arc::default());
        (Self { frames, room, bytes, in_line }, inbox)
    }

    /// Puts a frame in, when there is room. Cancel safe: then it was not put in.
    pub(in crate::router) async fn send(&self, what: impl Into<Outgoing>) -> Result<(), Unsent> {
        let what = what.into();
        let room = match self.needed(&what) {
            None => None,
            Some(bytes) => {
                let _place = InLine::enter(&self.in_line);
                let room = Arc::clone(&self.room).acquire_many_owned(bytes).await;
                Some(room.map_err(|_| Unsent::Closed)?)
            }
        };
        self.frames.send(Waiting { what, _room: room }).await.map_err(|_| Unsent::Closed)
    }

    /// Puts a frame in, if there is room.
    pub(in crate::router) fn try_send(&self, what: impl Into<Outgoing>) -> Result<(), Unsent> {
        let what = what.into();
        let room = match self.needed(&what) {
            None => None,
            Some(bytes) => match Arc::clone(&self.room).try_acquire_many_owned(bytes) {
                Ok(room) => Some(room),
                Err(_) => return Err(Unsent::Full(what)),
            },
        };
        self.frames.try_send(Waiting { what, _room: room }).map_err(|error| match error {
            TrySendError::Full(waiting) => Unsent::Full(waiting.what),
            TrySendError::Closed(_) => Unsent::Closed,
        })
    }

    /// The room that it needs, if any. One that needs more than there is takes all of it.
    fn needed(&self, what: &Outgoing) -> Option<u32> {
        let bytes = match what {
            Outgoing::Frame(frame) => frame.payload_bytes(),
            Outgoing::Encoded(frames) => frames.len(),
        };
        let bounded = bytes > SMALL_BYTES || self.in_line.load(Ordering::Relaxed) > 0;
        bounded.then(|| u32::try_from(bytes).unwrap_or(u32::MAX).clamp(1, self.bytes))
    }
}

impl Outgoing {
    pub(in crate::router) fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Frame(frame) => frame.encode(out),
            Self::Encoded(frames) => out.extend_from_slice(frames),
        }
    }
}

impl From<Frame> for Outgoing {
    fn from(frame: Frame) -> Self {
        Self::Frame(frame)
    }
}

/// A place among those who wait for room, until it is dropped.
struct InLine<'a>(&'a AtomicUsize);

impl<'a> InLine<'a> {
    fn enter(in_line: &'a AtomicUsize) -> Self {
        in_line.fetch_add(1, Ordering::Relaxed);
        Self(in_line)
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use bytes::Bytes;

    use super::*;

    fn now<F: Future + ?Sized>(future: &mut Pin<Box<F>>) -> Option<F::Output> {
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(ready) => Some(ready),
            Poll::Pending => None,
        }
    }

    fn reply(correlation: u64, bytes: usize) -> Frame {
        Frame::Reply { correlation, answer: Ok(Bytes::from(vec![0; bytes])) }
    }

    fn outbox(outbox_bytes: usize) -> (Outbox, Inbox) {
        Outbox::new(&RouterLimits { outbox_bytes, ..RouterLimits::default() })
    }

    #[test]
    fn a_small_frame_does_not_overtake_a_large_one_that_waits_for_room() {
        let (outbox, mut inbox) = outbox(100_000);
        outbox.try_send(reply(1, 90_000)).unwrap();
        outbox.try_send(reply(2, 100)).unwrap();
        assert!(matches!(outbox.try_send(reply(3, 20_000)), Err(Unsent::Full(_))));
        let mut large = Box::pin(outbox.send(reply(4, 20_000)));
        assert!(now(&mut large).is_none());
        let mut small = Box::pin(outbox.send(reply(5, 100)));
        assert!(now(&mut small).is_none());
        let first = inbox.try_recv().unwrap();
        assert!(now(&mut large).is_none(), "what is not written yet takes up its room");
        drop(first);
        assert!(now(&mut large).unwrap().is_ok());
        assert!(now(&mut small).unwrap().is_ok());
        drop((large, small));
        let order: Vec<_> = std::iter::from_fn(|| inbox.try_recv().ok())
            .map(|waiting| match waiting.what {
                Outgoing::Frame(frame) => frame,
                Outgoing::Encoded(_) => panic!("frames were put in"),
            })
            .collect();
        assert_eq!(order, [reply(2, 100), reply(4, 20_000), reply(5, 100)]);
    }

    #[test]
    fn one_that_is_larger_than_all_room_goes_alone_and_who_gives_up_takes_no_room() {
        let (outbox, mut inbox) = outbox(100_000);
        outbox.try_send(reply(1, 500_000)).unwrap();
        assert!(now(&mut Box::pin(outbox.send(reply(2, 50_000)))).is_none());
        drop(inbox.try_recv().unwrap());
        outbox.try_send(reply(3, 500_000)).unwrap();
        drop(inbox);
        assert!(matches!(outbox.try_send(reply(4, 0)), Err(Unsent::Closed)));
        assert!(matches!(now(&mut Box::pin(outbox.send(reply(4, 0)))), Some(Err(Unsent::Closed))));
    }
}
