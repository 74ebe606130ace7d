//! The verb, and what it is told to do.

use clap::{Args, Subcommand};

use super::new::New;
use super::test::Test;
use crate::command::verb::{Example, Group, Work};
use crate::port::{self, Flaw, Served};

/// Let a program in any language take part in a comparison.
///
/// A folder with a `contender.toml` is a contender: `lockbench run vm-lifecycle --with ./my-lock`. What its program says and is told
/// is in docs/port.md.
#[derive(Debug, Args)]
pub(in crate::command) struct Port {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Try whether a program keeps to the port: what was expected, what came, and what it has shown in the end. Exit code 3 where a clause is
    /// broken.
    Test(Test),
    /// Write a program to begin with, in a folder of its own: it speaks the port, with a plain lock on Redis behind it.
    New(New),
    /// Be a program that serves one of our own locks, or nothing (`noop`): lockbench starts this itself.
    #[command(hide = true)]
    Serve {
        /// A lock variant, or `noop`.
        lock: String,
        /// Lies in this way.
        #[arg(long)]
        flaw: Option<Flaw>,
    },
}

impl Work for Port {
    const NAME: &str = "port";
    const GROUP: Group = Group::Extend;
    const EXAMPLES: &[Example] = &[
        ("A program to begin with", "lockbench port new my-lock --language python"),
        ("Whether it keeps to the port", "lockbench port test my-lock"),
        ("One of ours, over the port", "lockbench port test redis-fenced"),
    ];

    async fn work(self) -> anyhow::Result<u8> {
        match self.what {
            What::New(new) => new.work(),
            What::Test(test) => test.work().await,
            What::Serve { lock, flaw } => {
                let served = match &*lock {
                    "noop" => Served::Noop,
                    lock => Served::Lock(lock_backends::variant(lock)?),
                };
                port::serve(served, flaw).await?;
                Ok(0)
            }
        }
    }
}
