//! What can go wrong between a batch directory and its reports.

use std::path::PathBuf;

/// Why a batch could not be read or its reports could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file or folder could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file is no manifest or record.
    #[error("{} is not what it should be: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A file has a figure that nothing can have measured; adding such up would fail.
    #[error("{} is not what it should be: {what}", path.display())]
    Implausible {
        /// The file.
        path: PathBuf,
        /// Which figure.
        what: String,
    },
    /// A file is longer than any record.
    #[error("{} is longer than {most} bytes, which no record is", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The bound.
        most: u64,
    },
    /// A file was written by another version of the stored format.
    #[error("{} has schema_version {found}; this lockbench reads {expected}", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// [`harness::record::SCHEMA_VERSION`].
        expected: u32,
    },
    /// A report could not be put in its place.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The report.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A renderer could not make its text.
    #[error("cannot render {renderer}: {reason}")]
    Render {
        /// Name of the renderer.
        renderer: &'static str,
        /// Why.
        reason: String,
    },
}
