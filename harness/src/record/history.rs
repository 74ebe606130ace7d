//! A history as it is stored.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use crate::model::{Event, Events};

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
        let mut lines = BufReader::new(zstd::Decoder::new(File::open(&self.0)?)?);
        let mut line = String::new();
        for at in 0.. {
            line.clear();
            if lines.read_line(&mut line)? == 0 {
                break;
            }
            see(at, &serde_json::from_str(&line)?);
        }
        Ok(())
    }
}
