//! `lockbench keys`: certificates by which the driver and the hosts of its nodes know each other.

use std::path::PathBuf;

use clap::Args;
use harness::placement::remote::make_keys;

use super::print::print;
use super::verb::{Example, Group, Work};

/// Make keys for runs whose nodes are on other machines.
#[derive(Debug, Args)]
pub(super) struct Keys {
    /// Where they are written; a folder that has none.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl Work for Keys {
    const NAME: &str = "keys";
    const GROUP: Group = Group::Place;
    const EXAMPLES: &[Example] = &[(
        "Once, for the driver and all hosts: ca.pem and driver.* for the one, ca.pem and node.* for the others",
        "lockbench keys keys",
    )];

    async fn work(self) -> anyhow::Result<u8> {
        for file in make_keys(&self.folder).map_err(anyhow::Error::msg)? {
            print(&file.display().to_string());
        }
        Ok(0)
    }
}
