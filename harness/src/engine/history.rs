//! The history of a run that is over.

use std::io;
use std::sync::Arc;

use super::spill::Chunks;
use crate::model::{Event, Events};

/// What happened in a run, by time: in memory where it is short, in a file that lasts as long as this where it is long.
#[derive(Debug, Clone)]
pub struct History(Where);

#[derive(Debug, Clone)]
enum Where {
    Held(Arc<Vec<Event>>),
    Written(Arc<Chunks>),
    /// It could not be written.
    Lost(Arc<io::Error>),
}

impl History {
    pub(super) fn held(mut events: Vec<Event>) -> Self {
        events.sort_by_key(|event| event.at_ns);
        Self(Where::Held(Arc::new(events)))
    }

    pub(super) fn written(chunks: io::Result<Chunks>) -> Self {
        Self(
            chunks
                .map_or_else(|error| Where::Lost(Arc::new(error)), |chunks| Where::Written(Arc::new(chunks))),
        )
    }

    /// Whether it is in memory.
    #[must_use]
    pub fn is_held(&self) -> bool {
        matches!(self.0, Where::Held(_))
    }

    /// All of it in memory: for histories that are known to be short.
    ///
    /// # Errors
    /// When it could not be written, or cannot be read.
    pub fn to_vec(&self) -> io::Result<Vec<Event>> {
        let mut events = Vec::new();
        self.pass(&mut |_, event| events.push(event.clone()))?;
        Ok(events)
    }
}

impl Events for History {
    type Error = io::Error;

    fn pass(&self, see: &mut dyn FnMut(usize, &Event)) -> io::Result<()> {
        match &self.0 {
            Where::Held(events) => {
                let Ok(()) = events[..].pass(see);
                Ok(())
            }
            Where::Written(chunks) => chunks.pass(see),
            Where::Lost(error) => {
                Err(io::Error::new(error.kind(), format!("the history could not be written: {error}")))
            }
        }
    }
}
