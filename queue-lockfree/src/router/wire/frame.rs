//! What nodes say to each other, as bytes.
//!
//! ```text
//! length u32 | version u8 | kind u8 | correlation u64 | fields of the kind
//! ```
//!
//! Numbers are big-endian; `length` counts what follows it. A text or a payload that is not the last field carries
//! its own u32 length. Every frame is bounded, and decoding one never panics, whatever the bytes.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::ring::NodeId;
use crate::router::limits::Secret;

/// Version of this format, in every frame.
pub(in crate::router) const PROTOCOL_VERSION: u8 = 1;

const LENGTH_BYTES: usize = 4;
const HEADER_BYTES: usize = 1 + 1 + 8;

/// A shorter frame is copied out of the buffer that a connection reads into: a task that waits would otherwise keep all of it,
/// which is four times as much or more.
const SHARED_BYTES: usize = READ_BYTES / 4;

/// Room that a connection makes for what it reads next.
pub(in crate::router) const READ_BYTES: usize = 64 * 1024;

/// Room that a frame needs beside its key and payload or its text.
pub(in crate::router) const FRAME_OVERHEAD: usize = HEADER_BYTES + 32;

/// One message between two nodes. All but the handshake carry the correlation number of the request they belong to,
/// drawn by the node that dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::router) enum Frame {
    /// First frame of the node that dials.
    Hello {
        /// What nodes of one run share.
        secret: Secret,
        /// Who dials.
        from: NodeId,
        /// Whom it means to reach.
        to: NodeId,
    },
    /// First frame of the node that accepts: it knows the secret too.
    Welcome {
        /// As in [`Frame::Hello`].
        secret: Secret,
        /// Who accepts.
        node: NodeId,
    },
    /// Run a task.
    Request(Request),
    /// The outcome of a request.
    Reply {
        /// Which request.
        correlation: u64,
        /// What the handler returned, or why it did not.
        answer: Result<Bytes, Refusal>,
    },
    /// The submitter is gone: do not start the task, if it has not started.
    Cancel {
        /// Which request.
        correlation: u64,
    },
    /// Is the request still waiting or running?
    Probe {
        /// Which request.
        correlation: u64,
    },
    /// Does no task of a key run any more that a view took from the node asked? A reply answers it with one byte: 0 no, 1
    /// none, 2 none of any such key.
    Drain {
        /// Which request.
        correlation: u64,
        /// Epoch of the view that took the key.
        epoch: u64,
        /// The key.
        key: String,
    },
    /// It is; the answer to [`Frame::Probe`]. One that is not has been replied to.
    Alive {
        /// Which request.
        correlation: u64,
    },
}

/// The fields of [`Frame::Request`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::router) struct Request {
    /// Names the request on its connection.
    pub(in crate::router) correlation: u64,
    /// Epoch of the view by which the submitter chose the owner.
    pub(in crate::router) epoch: u64,
    /// Level of the key.
    pub(in crate::router) level: u32,
    /// When the wait ends, in ns on the clock that both nodes share.
    pub(in crate::router) deadline_ns: u64,
    /// The key.
    pub(in crate::router) key: String,
    /// What the handler gets.
    pub(in crate::router) payload: Bytes,
}

/// Why an owner has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::router) enum Refusal {
    /// Its queue is full.
    QueueFull,
    /// The deadline passed in its queue.
    TimedOut,
    /// It stops.
    Shutdown,
    /// By its view it is not the owner, or not any more.
    WrongOwner {
        /// Who is, if anybody.
        owner: Option<NodeId>,
        /// Epoch of that view.
        epoch: u64,
    },
    /// The handler panicked, or its answer cannot be sent.
    Failed(String),
    /// The handler was stopped halfway.
    Unknown(String),
}

/// Why bytes are not a frame. The connection cannot go on after one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::router) enum FrameError {
    /// Longer than the bound.
    #[error("a frame of {length} bytes exceeds the bound of {max}")]
    Oversized {
        /// As announced.
        length: usize,
        /// The bound.
        max: usize,
    },
    /// A format that this node does not speak.
    #[error("protocol version {0} instead of {PROTOCOL_VERSION}")]
    Version(u8),
    /// A number that stands for nothing.
    #[error("unknown {what} {value}")]
    Unknown {
        /// Which field.
        what: &'static str,
        /// Its value.
        value: u8,
    },
    /// The frame ends inside a field.
    #[error("the frame ends inside its fields")]
    Truncated,
    /// The frame goes on after its last field.
    #[error("{0} bytes follow the last field")]
    Trailing(usize),
    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    Text,
}

impl Frame {
    /// Takes the first frame out of `buffer`; `None` if it is not complete yet.
    ///
    /// # Errors
    ///
    /// [`FrameError`] if the bytes are no frame, or one with more than `max` bytes after its length: that is told
    /// before any of them is waited for.
    pub(in crate::router) fn decode(buffer: &mut BytesMut, max: usize) -> Result<Option<Self>, FrameError> {
        let Some(length) = buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        if length > max {
            return Err(FrameError::Oversized { length, max });
        }
        if buffer.len() - LENGTH_BYTES < length {
            return Ok(None);
        }
        buffer.advance(LENGTH_BYTES);
        if length < SHARED_BYTES {
            let frame = Self::decode_fields(&buffer[..length])?;
            buffer.advance(length);
            return Ok(Some(frame));
        }
        Self::decode_fields(buffer.split_to(length).freeze()).map(Some)
    }

    /// Bytes of what it carries for others, which is nearly all of a large one.
    pub(in crate::router) fn payload_bytes(&self) -> usize {
        match self {
            Self::Request(Request { key, payload, .. }) => key.len() + payload.len(),
            Self::Reply { answer: Ok(answer), .. } => answer.len(),
            Self::Reply { answer: Err(Refusal::Failed(reason) | Refusal::Unknown(reason)), .. } => {
                reason.len()
            }
            Self::Drain { key, .. } => key.len(),
            _ => 0,
        }
    }

    /// Appends the frame to `out`.
    pub(in crate::router) fn encode(&self, out: &mut BytesMut) {
        let start = out.len();
        out.put_u32(0);
        out.put_u8(PROTOCOL_VERSION);
        out.put_u8(self.kind());
        match self {
            Self::Hello { secret, from, to } => {
                out.put_u64(0);
                out.put_slice(&secret.0);
                out.put_u16(from.0);
                out.put_u16(to.0);
            }
            Self::Welcome { secret, node } => {
                out.put_u64(0);
                out.put_slice(&secret.0);
                out.put_u16(node.0);
            }
            Self::Request(request) => {
                out.put_u64(request.correlation);
                out.put_u64(request.epoch);
                out.put_u32(request.level);
                out.put_u64(request.deadline_ns);
                out.put_u32(len_u32(request.key.len()));
                out.put_slice(request.key.as_bytes());
                out.put_slice(&request.payload);
            }
            Self::Reply { correlation, answer } => {
                out.put_u64(*correlation);
                encode_answer(answer, out);
            }
            Self::Cancel { correlation } | Self::Probe { correlation } | Self::Alive { correlation } => {
                out.put_u64(*correlation);
            }
            Self::Drain { correlation, epoch, key } => {
                out.put_u64(*correlation);
                out.put_u64(*epoch);
                out.put_slice(key.as_bytes());
            }
        }
        let length = len_u32(out.len() - start - LENGTH_BYTES);
        out[start..start + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Hello { .. } => 1,
            Self::Welcome { .. } => 2,
            Self::Request(_) => 3,
            Self::Reply { .. } => 4,
            Self::Cancel { .. } => 5,
            Self::Probe { .. } => 6,
            Self::Alive { .. } => 7,
            Self::Drain { .. } => 8,
        }
    }

    /// Of a whole frame, without its length. What it keeps is shared with [`Bytes`], and copied from a slice.
    fn decode_fields(mut fields: impl Buf) -> Result<Self, FrameError> {
        let frame = Self::decode_from(&mut fields)?;
        if fields.has_remaining() { Err(FrameError::Trailing(fields.remaining())) } else { Ok(frame) }
    }

    fn decode_from(fields: &mut impl Buf) -> Result<Self, FrameError> {
        let version = fields.try_get_u8()?;
        if version != PROTOCOL_VERSION {
            return Err(FrameError::Version(version));
        }
        let kind = fields.try_get_u8()?;
        let correlation = fields.try_get_u64()?;
        Ok(match kind {
            1 => {
                let secret = secret(fields)?;
                let (from, to) = (NodeId(fields.try_get_u16()?), NodeId(fields.try_get_u16()?));
                Self::Hello { secret, from, to }
            }
            2 => Self::Welcome { secret: secret(fields)?, node: NodeId(fields.try_get_u16()?) },
            3 => Self::Request(Request {
                correlation,
                epoch: fields.try_get_u64()?,
                level: fields.try_get_u32()?,
                deadline_ns: fields.try_get_u64()?,
                key: {
                    let length = fields.try_get_u32()? as usize;
                    text(fields, length)?
                },
                payload: rest(fields),
            }),
            4 => Self::Reply { correlation, answer: decode_answer(fields)? },
            5 => Self::Cancel { correlation },
            6 => Self::Probe { correlation },
            7 => Self::Alive { correlation },
            8 => Self::Drain { correlation, epoch: fields.try_get_u64()?, key: text_to_the_end(fields)? },
            value => return Err(FrameError::Unknown { what: "kind of frame", value }),
        })
    }
}

impl From<bytes::TryGetError> for FrameError {
    fn from(_: bytes::TryGetError) -> Self {
        Self::Truncated
    }
}

fn encode_answer(answer: &Result<Bytes, Refusal>, out: &mut BytesMut) {
    match answer {
        Ok(payload) => {
            out.put_u8(0);
            out.put_slice(payload);
        }
        Err(Refusal::QueueFull) => out.put_u8(1),
        Err(Refusal::TimedOut) => out.put_u8(2),
        Err(Refusal::Shutdown) => out.put_u8(3),
        Err(Refusal::WrongOwner { owner, epoch }) => {
            out.put_u8(4);
            out.put_u64(*epoch);
            if let Some(owner) = owner {
                out.put_u16(owner.0);
            }
        }
        Err(Refusal::Failed(reason)) => {
            out.put_u8(5);
            out.put_slice(reason.as_bytes());
        }
        Err(Refusal::Unknown(reason)) => {
            out.put_u8(6);
            out.put_slice(reason.as_bytes());
        }
    }
}

fn decode_answer(fields: &mut impl Buf) -> Result<Result<Bytes, Refusal>, FrameError> {
    let code = fields.try_get_u8()?;
    Ok(match code {
        0 => Ok(rest(fields)),
        1 => Err(Refusal::QueueFull),
        2 => Err(Refusal::TimedOut),
        3 => Err(Refusal::Shutdown),
        4 => {
            let epoch = fields.try_get_u64()?;
            let owner = if fields.has_remaining() { Some(NodeId(fields.try_get_u16()?)) } else { None };
            Err(Refusal::WrongOwner { owner, epoch })
        }
        5 => Err(Refusal::Failed(text_to_the_end(fields)?)),
        6 => Err(Refusal::Unknown(text_to_the_end(fields)?)),
        value => return Err(FrameError::Unknown { what: "answer", value }),
    })
}

fn secret(fields: &mut impl Buf) -> Result<Secret, FrameError> {
    let mut secret = [0; 32];
    fields.try_copy_to_slice(&mut secret)?;
    Ok(Secret(secret))
}

fn rest(fields: &mut impl Buf) -> Bytes {
    fields.copy_to_bytes(fields.remaining())
}

fn text_to_the_end(fields: &mut impl Buf) -> Result<String, FrameError> {
    text(fields, fields.remaining())
}

fn text(fields: &mut impl Buf, length: usize) -> Result<String, FrameError> {
    if length > fields.remaining() {
        return Err(FrameError::Truncated);
    }
    let mut bytes = vec![0; length];
    fields.copy_to_slice(&mut bytes);
    String::from_utf8(bytes).map_err(|_| FrameError::Text)
}

fn len_u32(length: usize) -> u32 {
    u32::try_from(length).expect("the router refuses what exceeds its bound, which is below 4 GiB")
}

#[cfg(test)]
mod tests;
