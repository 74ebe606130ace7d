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
        let three = room.take(100).unwrap();
        drop((two, three));
        assert_eq!(room.taken.load(Ordering::Relaxed), 0);
    }
}
