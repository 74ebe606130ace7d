//! The verb: what is asked for on the command line, a server after the other, and how it ends.

use std::time::Duration;

use clap::Args;
use harness::servers::{self, Durability, Server, ServerKind, ServerOptions};

use super::server::of_server;
use super::table::Table;
use crate::batch::Show as _;
use crate::command::print::print;
use crate::command::verb::{Example, Group, Work};
use crate::progress::Display;
use crate::workload::fresh_seed;

/// The bench is not proven.
const INVALID: u8 = 4;

/// Measure how far each lock variant is from the least that its server could take, and print a table.
///
/// Measures each lock variant in turns with its floor (round trips, or writes, of a bare client of the same server) and
/// prints a table in Markdown. Starts private servers; takes about twenty seconds and `--seconds` per variant. A variant
/// below its floor makes the table INVALID, and the exit code 4.
#[derive(Debug, Args)]
pub(in crate::command) struct Floors {
    /// What an acknowledged write of the servers survives.
    #[arg(long, default_value = "memory", value_name = "durable|memory")]
    durability: Durability,
    /// How long the hot key of each variant is contended for, in all rounds together.
    #[arg(long, default_value_t = 5.0, value_parser = seconds, value_name = "S")]
    seconds: f64,
    /// Seed of the order in which variants take turns; printed at the start.
    #[arg(long)]
    seed: Option<u64>,
}

fn seconds(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if (0.1..=60.0).contains(&number) { Ok(number) } else { Err("between 0.1 and 60 seconds".to_owned()) }
}

impl Work for Floors {
    const NAME: &str = "floors";
    const GROUP: Group = Group::Measure;
    const EXAMPLES: &[Example] = &[
        ("A table", "lockbench floors"),
        ("Longer, on durable servers", "lockbench floors --seconds 20 --durability durable"),
    ];

    async fn work(self) -> anyhow::Result<u8> {
        servers::sweep_leftovers();
        let (seed, contend) = (self.seed.unwrap_or_else(fresh_seed), Duration::from_secs_f64(self.seconds));
        let display = Display::default();
        display.line(&format!("floors, seed {seed}"));
        let (_, rows) = of_server(None, contend, seed, &display).await?;
        let command = format!(
            "lockbench floors --durability {} --seconds {} --seed {seed}",
            self.durability.name(),
            self.seconds
        );
        let mut table = Table { command, servers: Vec::new(), rows };
        for kind in ServerKind::ALL {
            let options = ServerOptions {
                durability: self.durability,
                detect: Duration::from_secs(10),
                ..ServerOptions::default()
            };
            let server = match Server::start(*kind, &options).await {
                Ok(server) => server,
                Err(error) => {
                    display.line(&format!("skipped: {error}"));
                    continue;
                }
            };
            let (requests, measured) = of_server(Some(&server), contend, seed, &display).await?;
            table.add_server(&server, &requests);
            table.rows.extend(measured);
            server.stop().await?;
        }
        let impossible = table.impossible();
        print(&table.render(&impossible)?);
        Ok(if impossible.is_empty() { 0 } else { INVALID })
    }
}
