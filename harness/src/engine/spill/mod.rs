//! Where the events of a long run are while it goes on: in a file, not in memory.

mod codec;
mod chunks;
mod writer;

pub(in crate::engine) use chunks::Chunks;
pub(in crate::engine) use codec::{LENGTH, decode, encode};
pub(in crate::engine) use writer::Writer;
