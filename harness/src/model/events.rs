//! The events of a run as something that can be gone through.

use std::convert::Infallible;
use std::error::Error;

use super::event::Event;

/// A history that can be gone through, more than once, without being held.
pub trait Events {
    /// Why it could not be gone through.
    type Error: Error + Send + Sync + 'static;

    /// Shows every event in the order of time, with its place from 0.
    ///
    /// # Errors
    /// Those of where it is stored; what was shown until then was right.
    fn pass(&self, see: &mut dyn FnMut(usize, &Event)) -> Result<(), Self::Error>;
}

impl Events for [Event] {
    type Error = Infallible;

    fn pass(&self, see: &mut dyn FnMut(usize, &Event)) -> Result<(), Infallible> {
        self.iter().enumerate().for_each(|(at, event)| see(at, event));
        Ok(())
    }
}
