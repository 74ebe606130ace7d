//! `lockbench doctor`: which servers there are, and of one that already runs what it is, and which locks work over it.

use std::time::Duration;

use clap::Args;
use harness::engine::Clock;
use harness::servers::{self, Finding, Server, ServerKind};
use lock_backends::{ClientOptions, Endpoint, Held, LockClient, SessionOptions, Variant, backends};

use super::print::print;
use super::servers::ServerUrls;
use super::verb::{Group, Work};
use crate::batch::care;

/// Say which servers were found, which are missing and how to get them; of a URL that is given, also version, settings, what it
/// holds, how far it is, and which locks work over it, or why not, as behind a pooler that lends sessions.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// Removes from the servers that are given what a killed run left there: all that is called lockbench…, and nothing else.
    #[arg(long)]
    clean: bool,
    #[command(flatten)]
    urls: ServerUrls,
}

/// Round trips of which the median is told.
const ROUND_TRIPS: usize = 101;

impl Work for Doctor {
    const NAME: &str = "doctor";
    const GROUP: Group = Group::Look;

    async fn work(self) -> anyhow::Result<u8> {
        servers::sweep_leftovers();
        let mut missing = false;
        for kind in ServerKind::ALL {
            let lines = match self.urls.by_kind().get(kind) {
                Some(url) => self.runs_already(*kind, url).await,
                None => match servers::find(*kind) {
                    Finding::Found { path, version } => Ok(vec![format!("{version} at {}", path.display())]),
                    Finding::Missing { remedy } => Err(anyhow::anyhow!("missing: {remedy}")),
                },
            };
            let lines = lines.unwrap_or_else(|error| {
                missing = true;
                vec![servers::redact(&format!("{error:#}"))]
            });
            for (place, line) in lines.iter().enumerate() {
                print(&format!("{:<12} {line}", if place == 0 { kind.title() } else { "" }));
            }
        }
        print(if missing { "\n`make setup` installs what is missing." } else { "\nEverything is there." });
        Ok(if missing { 2 } else { 0 })
    }
}

impl Doctor {
    /// What is to be said of a server that already runs.
    async fn runs_already(&self, kind: ServerKind, url: &str) -> anyhow::Result<Vec<String>> {
        let server = Server::attach(kind, url).await?;
        let mut lines = vec![format!("answers at {}, version {}", servers::redact(url), server.version())];
        let settings = server.settings().iter().map(|(name, value)| format!("{name}={value:?}"));
        lines.push(settings.collect::<Vec<_>>().join(", "));
        let contents = care::contents(kind, url).await?;
        let before = contents.held().await?;
        if self.clean {
            contents.clear().await?;
        }
        let Held { ours, others } = if self.clean { contents.held().await? } else { before };
        let removed = if self.clean { format!("{} removed, ", before.ours - ours) } else { String::new() };
        lines.push(match others {
            Some(0) => format!("holds {removed}{ours} of lockbench's and no others"),
            Some(others) => format!("holds {removed}{ours} of lockbench's and {others} others: --shared-server"),
            None => format!(
                "holds {removed}{ours} of lockbench's; whether others use it, this account may not see: --shared-server"
            ),
        });
        lines.extend(locks(kind, url).await);
        if ours == 0 {
            // What was needed to try them.
            contents.clear().await?;
        }
        Ok(lines)
    }
}

/// How far a server is, and which locks work over this URL.
async fn locks(kind: ServerKind, url: &str) -> Vec<String> {
    let Some(server) = backends::server(kind.name()) else { return Vec::new() };
    let mut lines = Vec::new();
    match round_trip(server, url).await {
        Ok(median) => lines.push(format!("round trip {:.3} ms, median", median.as_secs_f64() * 1e3)),
        Err(error) => lines.push(format!("no round trip: {}", servers::redact(&format!("{error:#}")))),
    }
    let mut work = Vec::new();
    for variant in server.variants {
        match unusable(variant, url).await {
            None => work.push(variant.name),
            Some(why) => lines.push(format!("not with {}: {why}", variant.name)),
        }
    }
    if !work.is_empty() {
        lines.push(format!("works with {}", work.join(", ")));
    }
    lines
}

async fn round_trip(server: &lock_backends::Server, url: &str) -> anyhow::Result<Duration> {
    let endpoint = Endpoint(url.to_owned());
    let (bare, clock) = ((server.bare)(&endpoint).await?, Clock::real()?);
    let mut took_ns = Vec::with_capacity(ROUND_TRIPS);
    for _ in 0..ROUND_TRIPS {
        let sent_ns = clock.now_ns();
        bare.ping().await?;
        took_ns.push(clock.now_ns() - sent_ns);
    }
    took_ns.sort_unstable();
    Ok(Duration::from_nanos(took_ns[ROUND_TRIPS / 2]))
}

/// Why that lock cannot be had over this URL: a pooler between that lends one session to several clients is seen when a session is
/// opened, and locks of a session are no locks there.
async fn unusable(variant: &Variant, url: &str) -> Option<String> {
    let session = SessionOptions::new("doctor", Duration::from_secs(10));
    let endpoint = Endpoint(url.to_owned());
    match LockClient::connect(variant, &endpoint, session, ClientOptions::default()).await {
        Ok(client) => {
            client.close().await;
            None
        }
        Err(error) => Some(servers::redact(&error.to_string())),
    }
}
