//! `lockbench man`: pages of the manual.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Command};

use super::print::print;
use super::verb::{Example, Group, Tell};

/// Write pages of the manual: one of lockbench, and one of each verb.
#[derive(Debug, Args)]
pub(super) struct Man {
    /// The folder of the pages; it is made where it is not there.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl Tell for Man {
    const NAME: &str = "man";
    const GROUP: Group = Group::Look;
    const EXAMPLES: &[Example] =
        &[("Where `man lockbench-run` finds them", "lockbench man /usr/local/share/man/man1")];

    fn tell(self, whole: Command) -> anyhow::Result<()> {
        let place = self.directory.display();
        std::fs::create_dir_all(&self.directory).with_context(|| format!("cannot make {place}"))?;
        clap_mangen::generate_to(whole, &self.directory)
            .with_context(|| format!("cannot write into {place}"))?;
        print(&format!("man -l {}", self.directory.join("lockbench.1").display()));
        Ok(())
    }
}
