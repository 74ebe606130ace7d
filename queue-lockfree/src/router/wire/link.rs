//! One TCP connection between two nodes that know each other's secret.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use super::frame::{Frame, FrameError, READ_BYTES};
use super::outbox::Outgoing;
use crate::ring::NodeId;
use crate::router::limits::{RouterLimits, Secret};

/// Bound on a frame of the handshake, so that a stranger cannot make a node buffer more.
const HANDSHAKE_BYTES: usize = 64;

/// What a connection keeps of the memory that it writes from; after larger frames it gives it back.
const KEPT_BYTES: usize = 1 << 20;

/// What a node says about itself when a connection opens.
#[derive(Clone, Debug)]
pub(in crate::router) struct Identity {
    pub(in crate::router) id: NodeId,
    pub(in crate::router) secret: Secret,
    pub(in crate::router) limits: RouterLimits,
}

/// The receiving half.
pub(in crate::router) struct FrameReader {
    half: OwnedReadHalf,
    buffer: BytesMut,
    max: usize,
}

/// The sending half: frames are pushed, then flushed together.
pub(in crate::router) struct FrameWriter {
    half: OwnedWriteHalf,
    buffer: BytesMut,
    timeout: Duration,
}

/// Why a connection cannot be used.
#[derive(Debug, thiserror::Error)]
pub(in crate::router) enum LinkError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("the peer closed the connection")]
    Closed,
    #[error("the peer does not prove that it belongs to this run")]
    Stranger,
    #[error("node {found} was reached instead of node {expected}")]
    OtherNode { expected: NodeId, found: NodeId },
    #[error("no answer in time")]
    Late,
}

impl Identity {
    /// Connects to `node` and proves to each other that both belong to this run.
    pub(in crate::router) async fn dial(
        &self,
        node: NodeId,
        address: SocketAddr,
    ) -> Result<(FrameReader, FrameWriter), LinkError> {
        let opening = async {
            let (mut reader, mut writer) = self.split(TcpStream::connect(address).await?)?;
            writer.push(&Frame::Hello { secret: self.secret, from: self.id, to: node }.into());
            writer.flush().await?;
            match reader.next().await? {
                Frame::Welcome { secret, node: found } if self.secret.matches(&secret) => {
                    if found != node {
                        return Err(LinkError::OtherNode { expected: node, found });
                    }
                }
                _ => return Err(LinkError::Stranger),
            }
            reader.max = self.limits.frame_bytes;
            Ok((reader, writer))
        };
        timeout(self.limits.connect, opening).await.unwrap_or(Err(LinkError::Late))
    }

    /// The accepting side of [`Identity::dial`]; returns who dialled.
    pub(in crate::router) async fn welcome(
        &self,
        stream: TcpStream,
    ) -> Result<(NodeId, FrameReader, FrameWriter), LinkError> {
        let opening = async {
            let (mut reader, mut writer) = self.split(stream)?;
            let Frame::Hello { secret, from, to } = reader.next().await? else {
                return Err(LinkError::Stranger);
            };
            if !self.secret.matches(&secret) {
                return Err(LinkError::Stranger);
            }
            // Sent before the check, so that a node dialled by mistake is named at the other end too.
            writer.push(&Frame::Welcome { secret: self.secret, node: self.id }.into());
            writer.flush().await?;
            if to != self.id {
                return Err(LinkError::OtherNode { expected: to, found: self.id });
            }
            reader.max = self.limits.frame_bytes;
            Ok((from, reader, writer))
        };
        timeout(self.limits.connect, opening).await.unwrap_or(Err(LinkError::Late))
    }

    fn split(&self, stream: TcpStream) -> io::Result<(FrameReader, FrameWriter)> {
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        let reader = FrameReader { half: read, buffer: BytesMut::new(), max: HANDSHAKE_BYTES };
        let writer = FrameWriter { half: write, buffer: BytesMut::new(), timeout: self.limits.write };
        Ok((reader, writer))
    }
}

impl FrameReader {
    /// The next frame. Cancel safe: bytes that were read are kept.
    pub(in crate::router) async fn next(&mut self) -> Result<Frame, LinkError> {
        loop {
            if let Some(frame) = self.ready()? {
                return Ok(frame);
            }
            self.buffer.reserve(READ_BYTES);
            if self.half.read_buf(&mut self.buffer).await? == 0 {
                return Err(LinkError::Closed);
            }
        }
    }

    /// The next frame, if all of it has been read.
    pub(in crate::router) fn ready(&mut self) -> Result<Option<Frame>, LinkError> {
        Ok(Frame::decode(&mut self.buffer, self.max)?)
    }
}

impl FrameWriter {
    pub(in crate::router) fn push(&mut self, what: &Outgoing) {
        what.encode(&mut self.buffer);
    }

    /// Sends frames that are encoded already; there must be nothing to flush. Not cancel safe: a half-sent frame ruins the
    /// connection.
    pub(in crate::router) async fn write(&mut self, frames: &[u8]) -> Result<(), LinkError> {
        Ok(timeout(self.timeout, self.half.write_all(frames)).await.map_err(|_| LinkError::Late)??)
    }

    /// Sends all that was pushed. Not cancel safe, as [`FrameWriter::write`].
    pub(in crate::router) async fn flush(&mut self) -> Result<(), LinkError> {
        timeout(self.timeout, self.half.write_all(&self.buffer)).await.map_err(|_| LinkError::Late)??;
        self.buffer.clear();
        if self.buffer.capacity() > KEPT_BYTES {
            self.buffer = BytesMut::new();
        }
        Ok(())
    }
}
