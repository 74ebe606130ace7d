//! What nodes say to each other, and the connections that carry it: one per direction of asking.

mod frame;
mod outbox;
mod link;
mod calls;
mod peer;

pub(super) use self::frame::{FRAME_OVERHEAD, Frame, Refusal, Request};
pub(super) use self::link::{FrameReader, FrameWriter, Identity, LinkError};
pub(super) use self::outbox::{Inbox, Outbox, Outgoing, SMALL_BYTES, Unsent};
pub(super) use self::peer::{Peer, Surroundings};
