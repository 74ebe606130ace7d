//! The thread that writes chunks while a run goes on, so that whoever records waits for no disk.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use super::chunks::Chunks;
use crate::model::Event;

/// Chunks that may wait to be written.
const WAITING: usize = 1;

/// Ends when it is dropped, and what it has written with it.
#[derive(Debug)]
pub(in crate::engine) struct Writer {
    orders: SyncSender<Vec<Event>>,
    /// Chunks that are written, to be filled again.
    spare: Receiver<Vec<Event>>,
    thread: JoinHandle<io::Result<Chunks>>,
}

impl Writer {
    pub(in crate::engine) fn start(folder: PathBuf) -> io::Result<Self> {
        let (orders, chunks) = sync_channel(WAITING);
        let (written, spare) = sync_channel(WAITING);
        let thread = std::thread::Builder::new()
            .name("history".to_owned())
            .spawn(move || write(&chunks, &written, &folder))?;
        Ok(Self { orders, spare, thread })
    }

    /// Has a chunk written. Gives it back where the disk is behind. Where it has failed, what is recorded is lost, and
    /// [`Writer::finish`] says so.
    pub(in crate::engine) fn offer(&self, events: Vec<Event>) -> Option<Vec<Event>> {
        match self.orders.try_send(events) {
            Err(TrySendError::Full(events)) => Some(events),
            Ok(()) | Err(TrySendError::Disconnected(_)) => None,
        }
    }

    /// Room for a chunk, of one that is written.
    pub(in crate::engine) fn spare(&self) -> Option<Vec<Event>> {
        self.spare.try_recv().ok()
    }

    /// Writes the last events too, and waits for all.
    pub(in crate::engine) fn finish(self, last: Vec<Event>) -> io::Result<Chunks> {
        let Self { orders, spare: _, thread } = self;
        // Where it has failed it hears nothing any more, and says why.
        drop(orders.send(last));
        drop(orders);
        thread.join().map_err(|_| io::Error::other("the thread that writes the history panicked"))?
    }
}

fn write(
    chunks: &Receiver<Vec<Event>>,
    spare: &SyncSender<Vec<Event>>,
    folder: &std::path::Path,
) -> io::Result<Chunks> {
    let mut written = Chunks::new(folder)?;
    for mut events in chunks {
        written.append(&mut events)?;
        events.clear();
        // One is enough: the next is filled meanwhile.
        drop(spare.try_send(events));
    }
    Ok(written)
}
