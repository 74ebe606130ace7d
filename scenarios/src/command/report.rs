//! `lockbench report`: a stored batch once more.

use std::path::PathBuf;

use clap::Args;

use super::print::print;
use super::verb::{Group, Work};

/// Render a batch directory again; needs no server.
#[derive(Debug, Args)]
pub(super) struct Report {
    /// The batch directory, such as out/smoke-20260101T120000Z.
    directory: PathBuf,
}

impl Work for Report {
    const NAME: &str = "report";
    const GROUP: Group = Group::Look;

    async fn work(self) -> anyhow::Result<u8> {
        for file in reports::write_all(&self.directory)? {
            print(&file.display().to_string());
        }
        Ok(0)
    }
}
