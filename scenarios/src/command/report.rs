//! `lockbench report`: a stored batch once more, or whether a report says what its histories say.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::kept;
use super::print::print;
use super::verb::{Example, Group, Work};
use super::verified::{Words, verify};

/// Render a batch directory again, or check a report; needs no server.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Report {
    /// The batch directory, such as out/smoke-20260101T120000Z; or a folder of such, which gets an index.html of all.
    #[arg(required_unless_present = "verify", conflicts_with = "verify")]
    directory: Option<PathBuf>,
    /// Checks that this report.html is as it was written; of a folder of kept results, everything that it must be to be listed.
    #[arg(long, value_name = "FILE|FOLDER")]
    verify: Option<PathBuf>,
    /// With --verify: works every figure and verdict out again from the histories in this batch directory.
    #[arg(long, value_name = "DIR", requires = "verify")]
    histories: Option<PathBuf>,
    /// Keeps the directory for others, as this new folder (runs/2026-12-01-two-cores): without logs, with a README to finish, and checked.
    #[arg(long, value_name = "FOLDER", requires = "directory")]
    keep: Option<PathBuf>,
    /// Writes what is kept in the directory, runs, as a page of Markdown.
    #[arg(long, value_name = "FILE", requires = "directory", conflicts_with = "keep")]
    results: Option<PathBuf>,
}

const HELP: &str = "\
Exit codes of --verify: 0 nothing differs, 4 something does, each difference on a line; 2 a file cannot be read.";

impl Work for Report {
    const NAME: &str = "report";
    const GROUP: Group = Group::Look;
    const EXAMPLES: &[Example] = &[
        ("Pages and tables of a batch once more", "lockbench report out/smoke-20260101T120000Z"),
        ("An index of all", "lockbench report runs"),
        (
            "Whether a page says what its histories say",
            "lockbench report --verify report.html --histories out/smoke-20260101T120000Z",
        ),
    ];

    async fn work(self) -> anyhow::Result<u8> {
        if let Some(page) = &self.verify {
            return match page.is_dir() {
                true => kept::check(page),
                false => verify(page, self.histories.as_deref(), Words::OfThisVersion),
            };
        }
        if let Some(directory) = &self.directory {
            if let Some(folder) = &self.keep {
                return kept::keep(directory, folder);
            }
            if let Some(page) = &self.results {
                let text = kept::told(directory)?;
                std::fs::write(page, text).with_context(|| format!("cannot write {}", page.display()))?;
                print(&page.display().to_string());
                return Ok(0);
            }
            for file in reports::write_all(directory)? {
                print(&file.display().to_string());
            }
        }
        Ok(0)
    }
}
