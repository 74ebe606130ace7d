//! A history as it is stored.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

use crate::model::{Event, Events};

/// The longest line that is read back, so that a file that unpacks to one without an end does not take all memory.
const MOST_LINE_BYTES: u64 = 1 << 20;

/// How many times as long as the file what is in it may be: histories are 10 to 30 times.
const MOST_TIMES: u64 = 400;

/// Writes a history as zstd-compressed JSON, one event a line; the file appears whole or not at all.
///
/// # Errors
/// When the file cannot be written.
pub fn write_history<E: Events + ?Sized>(path: &Path, events: &E) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let file = encode_history(BufWriter::new(File::create(&partial)?), events)?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    std::fs::rename(partial, path)
}

/// Encodes a history as [`write_history`] stores it, and gives the writer back.
///
/// # Errors
/// Those of the writer, and of the history.
pub fn encode_history<W: io::Write, E: Events + ?Sized>(writer: W, events: &E) -> io::Result<W> {
    // serde_json writes in small pieces, each of which would be a call into the compressor.
    let mut encoder = BufWriter::new(zstd::Encoder::new(writer, 3)?);
    let mut written = Ok(());
    let write = |encoder: &mut BufWriter<_>, event: &Event| -> io::Result<()> {
        serde_json::to_writer(&mut *encoder, event)?;
        encoder.write_all(b"\n")
    };
    let passed = events.pass(&mut |_, event| {
        if written.is_ok() {
            written = write(&mut encoder, event);
        }
    });
    passed.map_err(io::Error::other)?;
    written?;
    encoder.into_inner().map_err(io::IntoInnerError::into_error)?.finish()
}

/// A history that [`write_history`] has stored: read from the file at every pass, a line at a time.
#[derive(Debug, Clone)]
pub struct StoredHistory(pub PathBuf);

impl Events for StoredHistory {
    type Error = io::Error;

    fn pass(&self, see: &mut dyn FnMut(usize, &Event)) -> io::Result<()> {
        let file = File::open(&self.0)?;
        let most = file.metadata()?.len() * MOST_TIMES + MOST_LINE_BYTES;
        let mut lines = BufReader::new(zstd::Decoder::new(file)?.take(most));
        let mut line = String::new();
        for at in 0.. {
            line.clear();
            if lines.by_ref().take(MOST_LINE_BYTES + 1).read_line(&mut line)? == 0 {
                break;
            }
            if line.len() as u64 > MOST_LINE_BYTES {
                let what =
                    format!("{}, line {}: more than {MOST_LINE_BYTES} bytes", self.0.display(), at + 1);
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            if lines.get_ref().limit() == 0 {
                let what =
                    format!("{} unpacks to more than {most} bytes, which no history does", self.0.display());
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            see(at, &serde_json::from_str(&line)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{NodeId, StepRef, TaskId, What};

    #[test]
    fn a_history_that_unpacks_to_far_more_than_it_is_long_is_refused() {
        let step = StepRef { task: TaskId(0), step: 0 };
        let event = Event { at_ns: 1, node: Some(NodeId(0)), step, what: What::Invoked };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.ndjson.zst");
        write_history(&path, &vec![event; 200_000][..]).unwrap();
        let mut seen = 0;
        let error = StoredHistory(path.clone()).pass(&mut |_, _| seen += 1).unwrap_err().to_string();
        assert!(error.contains("unpacks to more than") && seen < 100_000, "{seen}: {error}");
    }
}
