//! `lockbench port test`: whether a program keeps to the port, for whoever writes one.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use harness::servers::{self, Server, ServerOptions};
use lock_backends::Endpoint;
use tokio_util::sync::CancellationToken;

use crate::command::guests::guest;
use crate::command::print::print;
use crate::command::servers::ServerUrls;
use crate::command::signals::watch_signals;
use crate::port::Client;
use crate::port::conformance::{self, Bench, Clause, Ended, Told};

/// A clause is broken.
const BROKEN: u8 = 3;

/// The most lines that are shown of what was said to a program.
const SHOWN: usize = 12;

#[derive(Debug, Args)]
pub(super) struct Test {
    /// A folder with a contender.toml, or one of our own locks.
    #[arg(value_name = "FOLDER|LOCK")]
    contender: String,
    /// The time to live that programs are told.
    #[arg(long, value_name = "MS", default_value_t = 2_000)]
    ttl: u64,
    #[command(flatten)]
    urls: ServerUrls,
}

impl Test {
    pub(super) async fn work(self) -> anyhow::Result<u8> {
        let contender = guest(&self.contender)?;
        let client = contender.design.client().context("it does not speak over the port")?.clone();
        let stop = CancellationToken::new();
        let mut signals = tokio::task::JoinSet::new();
        signals.spawn(watch_signals(stop.clone())?);
        servers::sweep_leftovers();
        let ttl = Duration::from_millis(self.ttl);
        let server = match client.server() {
            None => None,
            Some(kind) => Some(match self.urls.by_kind().get(&kind) {
                Some(url) => Server::attach(kind, url).await?,
                None => {
                    let options = ServerOptions { detect: ttl, ..self.urls.options(kind) };
                    Server::start(kind, &options).await?
                }
            }),
        };
        let told = stop.run_until_cancelled(try_out(client, server.as_ref(), ttl)).await;
        if let Some(server) = server {
            server.stop().await?;
        }
        let Some(told) = told else { return Ok(130) };
        Ok(if told?.failures == 0 { 0 } else { BROKEN })
    }
}

async fn try_out(client: Client, server: Option<&Server>, ttl: Duration) -> anyhow::Result<Told> {
    let on = server
        .map_or_else(String::new, |server| format!(" on {} {}", server.kind().title(), server.version()));
    print(&format!("{}{on}, LOCKBENCH_TTL_MS={}\n", client.file.name, ttl.as_millis()));
    let log = tempfile::NamedTempFile::new().context("its log cannot be written")?;
    let endpoint = Endpoint::from(server.map_or("", Server::endpoint));
    let bench = Bench::new(client, endpoint, ttl, log.path().to_owned());
    let told = conformance::run(&bench, |clause, ended| print(&lines(clause, ended))).await;
    let list = |names: &[&str]| {
        let names: BTreeSet<_> = names.iter().copied().collect();
        if names.is_empty() { "nothing".to_owned() } else { names.into_iter().collect::<Vec<_>>().join(", ") }
    };
    print(&format!("\nmade of:      {}", bench.library().unwrap_or("it does not say")));
    print(&format!("shown:        {}", list(&told.shown)));
    print(&format!("not kept:     {}", list(&told.broken)));
    print(&format!("not promised: {}", list(&told.not_promised)));
    print(&match told.failures {
        0 => "every clause holds".to_owned(),
        1 => "1 clause is broken".to_owned(),
        several => format!("{several} clauses are broken"),
    });
    Ok(told)
}

/// How a clause ended; of a broken one all that helps to find out why.
fn lines(clause: &Clause, ended: &Ended) -> String {
    match ended {
        Ended::Holds => format!("holds    {}", clause.name),
        Ended::NotPromised => {
            format!("skipped  {}: `{}` is not promised", clause.name, clause.about.unwrap_or_default())
        }
        Ended::Broken { came, said, log } => {
            let mut text =
                format!("BROKEN   {}\n  expected: {}\n  came:     {came}", clause.name, clause.expected);
            for (program, said) in said.iter().enumerate() {
                text.push_str(&format!("\n  program {program} (> told, < said):"));
                for line in &said[said.len().saturating_sub(SHOWN)..] {
                    text.push_str(&format!("\n    {line}"));
                }
            }
            if !log.is_empty() {
                text.push_str(&format!("\n  log:\n    {}", log.replace('\n', "\n    ")));
            }
            text
        }
    }
}
