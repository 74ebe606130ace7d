//! Lines to a program and from it.

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::message::{LONGEST, quoted};

/// Lines that may wait to be written.
pub(super) const OUTBOX: usize = 1_024;

/// Writes lines, as many as there are at a time; closes the pipe when all is said.
pub(super) async fn write(
    mut to: impl AsyncWrite + Unpin,
    mut out: mpsc::Receiver<Vec<u8>>,
    closing: CancellationToken,
) {
    let mut lines = Vec::new();
    loop {
        let taken = tokio::select! {
            biased;
            taken = out.recv_many(&mut lines, OUTBOX) => taken,
            () = closing.cancelled() => 0,
        };
        // A program that is gone is told of where its output ends.
        if taken == 0 || to.write_all(&lines.concat()).await.is_err() {
            return;
        }
        lines.clear();
    }
}

/// The lines of the other side, none longer than it may be.
pub(super) struct Lines<R> {
    from: BufReader<R>,
    line: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn of(from: R) -> Self {
        Self { from: BufReader::with_capacity(LONGEST, from), line: Vec::new() }
    }

    /// The next one without its end; `None` at the end of all. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Option<String>, String> {
        loop {
            let read =
                self.from.fill_buf().await.map_err(|error| format!("its output cannot be read: {error}"))?;
            let (taken, whole) = match read.iter().position(|byte| *byte == b'\n') {
                Some(end) => (end + 1, true),
                None => (read.len(), read.is_empty()),
            };
            let more = &read[..taken];
            if self.line.len() + more.len() > LONGEST {
                let begin = String::from_utf8_lossy(&[&self.line, more].concat()).into_owned();
                return Err(format!("a line of more than {LONGEST} bytes: it begins {}", quoted(&begin)));
            }
            self.line.extend_from_slice(more);
            self.from.consume(taken);
            if whole {
                let mut line = std::mem::take(&mut self.line);
                if line.is_empty() {
                    return Ok(None);
                }
                if line.last() == Some(&b'\n') {
                    line.pop();
                }
                let lossy = |error: std::string::FromUtf8Error| {
                    format!(
                        "a line that is not UTF-8: {}",
                        quoted(&String::from_utf8_lossy(error.as_bytes()))
                    )
                };
                return String::from_utf8(line).map(Some).map_err(lossy);
            }
        }
    }
}
