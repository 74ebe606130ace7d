//! `lockbench list`: what there is to run.

use clap::Args;
use harness::record::Role;

use super::print::print;
use super::verb::{Example, Group, Work};
use crate::{catalog, contenders};

/// List scenarios and contenders.
#[derive(Debug, Args)]
pub(super) struct List {}

impl Work for List {
    const NAME: &str = "list";
    const GROUP: Group = Group::Look;
    const EXAMPLES: &[Example] = &[("All scenarios and contenders", "lockbench list")];

    async fn work(self) -> anyhow::Result<u8> {
        print("Scenarios:");
        for (name, _) in catalog::ALL {
            print(&format!("  {name:<18} {}", catalog::load(name, &[])?.spec.summary));
        }
        print("\nContenders and controls:");
        for contender in contenders::all() {
            let role = if contender.role == Role::Control { "control" } else { "" };
            print(&format!("  {:<18} {role:<8} {}", contender.name, contender.summary));
        }
        Ok(0)
    }
}
