//! How much of what others submitted a node keeps in memory.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::sync::AtomicUsize;

/// What an accepted task takes up beside its key and payload; it also bounds how many tasks without either there are.
const TASK_BYTES: usize = 512;

/// Room for the keys and payloads of accepted tasks.
#[derive(Debug)]
pub(super) struct Room {
    taken: AtomicUsize,
    bytes: usize,
}

/// Room that a task has taken, until it is dropped.
#[derive(Debug)]
#[must_use = "dropped, it gives the room back"]
pub(super) struct Place {
    room: Arc<Room>,
    bytes: usize,
}

impl Room {
    pub(super) fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self { taken: AtomicUsize::new(0), bytes })
    }

    /// Room for a task of so many bytes; `None` while others take it up.
    pub(super) fn take(self: &Arc<Self>, bytes: usize) -> Option<Place> {
        let bytes = bytes.saturating_add(TASK_BYTES);
        let with = |taken: usize| taken.checked_add(bytes).filter(|with| *with <= self.bytes);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, with).ok()?;
        Some(Place { room: Arc::clone(self), bytes })
    }
}

impl Place {
    /// Has so many bytes in place of its task's: those of an answer, which is there whether there is room for it or not.
    /// New tasks are refused while it takes up too much.
    pub(super) fn hold(&mut self, bytes: usize) {
        let bytes = bytes.saturating_add(TASK_BYTES);
        let by = bytes.wrapping_sub(self.bytes);
        self.room.taken.fetch_add(by, Ordering::Relaxed);
        self.bytes = bytes;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_and_given_back() {
        let room = Room::new(2 * (TASK_BYTES + 100));
        let (one, two) = (room.take(100).unwrap(), room.take(100).unwrap());
        assert!(room.take(0).is_none());
        drop(one);
        assert!(room.take(101).is_none() && room.take(usize::MAX).is_none());
        let mut three = room.take(100).unwrap();
        drop(two);
        three.hold(0);
        assert!(room.take(200).is_some() && room.take(201).is_none());
        three.hold(1_000);
        assert!(room.take(0).is_none());
        drop(three);
        assert_eq!(room.taken.load(Ordering::Relaxed), 0);
    }
}
