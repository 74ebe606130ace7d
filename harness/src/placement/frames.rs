//! A connection between the processes of a run: JSON in frames that begin with their length, a big-endian u32.

use std::io;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;
use tokio_util::codec::{Framed, LengthDelimitedCodec};
use tokio_util::either::Either;

/// Version of what is said; both ends must speak the same.
pub(super) const PROTOCOL_VERSION: u32 = 5;

/// Longest frame before the handshake is done, in bytes.
pub(super) const STRANGER_BYTES: usize = 4 << 10;

/// Longest frame on the control connections.
pub(super) const CONTROL_BYTES: usize = 64 << 20;

/// Bytes of the head of a frame, which has its length.
const HEAD_BYTES: u64 = 4;

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The other end closed it.
    #[error("the connection was closed")]
    Closed,
    /// It broke, or a frame was longer than the bound.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A frame is not what was expected.
    #[error("not a frame of this protocol: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// Reads one frame's bytes. Never panics, whatever they are.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, FrameError> {
    Ok(serde_json::from_slice(bytes)?)
}

/// On this machine as it is, beyond it over TLS.
type Stream = Either<TcpStream, TlsStream<TcpStream>>;

/// A connection that carries frames.
#[derive(Debug)]
pub(super) struct Frames {
    framed: Framed<Stream, LengthDelimitedCodec>,
    /// Bytes of the frames that were read.
    read: u64,
}

impl Frames {
    /// Frames of at most so many bytes.
    pub(super) fn new(stream: TcpStream, most: usize) -> Self {
        Self::over(Either::Left(stream), most)
    }

    /// The same over TLS.
    pub(super) fn secured(stream: impl Into<TlsStream<TcpStream>>, most: usize) -> Self {
        Self::over(Either::Right(stream.into()), most)
    }

    fn over(stream: Stream, most: usize) -> Self {
        let frames = Self {
            framed: LengthDelimitedCodec::builder().max_frame_length(most).new_framed(stream),
            read: 0,
        };
        // Without it a small answer may wait for more to say.
        if let Err(error) = frames.socket().set_nodelay(true) {
            tracing::debug!(%error, "a connection stays with Nagle's algorithm");
        }
        frames
    }

    /// Changes the bound, after the handshake.
    pub(super) fn allow(&mut self, most: usize) {
        self.framed.codec_mut().set_max_frame_length(most);
    }

    pub(super) fn socket(&self) -> &TcpStream {
        match self.framed.get_ref() {
            Either::Left(stream) => stream,
            Either::Right(stream) => stream.get_ref().0,
        }
    }

    /// What is left of it when nobody has to speak in frames any more.
    pub(super) fn into_stream(self) -> Stream {
        self.framed.into_inner()
    }

    /// Bytes that have come in all, also of a frame that is not here to its end.
    pub(super) fn arrived(&self) -> u64 {
        self.read + self.framed.read_buffer().len() as u64
    }

    /// From here on it is another's, who counts what comes to him.
    pub(super) fn hand_over(&mut self) {
        self.read = 0;
    }

    /// The next frame. Cancel safe.
    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> Result<T, FrameError> {
        let bytes = self.framed.next().await.ok_or(FrameError::Closed)??;
        self.read += HEAD_BYTES + bytes.len() as u64;
        decode(&bytes)
    }

    /// Queues a frame; writes when much has gathered. Not cancel safe.
    pub(super) async fn feed<T: Serialize>(&mut self, frame: &T) -> Result<(), FrameError> {
        Ok(self.framed.feed(Bytes::from(serde_json::to_vec(frame)?)).await?)
    }

    /// Writes what was queued. Cancel safe.
    pub(super) async fn flush(&mut self) -> Result<(), FrameError> {
        Ok(SinkExt::<Bytes>::flush(&mut self.framed).await?)
    }

    /// Writes one frame.
    pub(super) async fn send<T: Serialize>(&mut self, frame: &T) -> Result<(), FrameError> {
        self.feed(frame).await?;
        self.flush().await
    }
}
