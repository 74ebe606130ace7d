//! `lockbench doctor`: which servers there are, and of one that already runs what it is, and which locks work over it.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use harness::record::{MemberFacts, UNSEEN};
use harness::servers::{self, Finding, Server, ServerKind};
use lock_backends::{ClientOptions, Endpoint, Held, LockClient, SessionOptions, Variant, backends};

use super::print::print;
use super::servers::ServerUrls;
use super::verb::{Example, Group, Work};
use crate::batch::{care, near};

/// Say which servers were found, which are missing and how to get them; of a URL that is given, also version, settings, what it
/// holds, how far each member is and its clock is off, and which locks work over it, or why not, as behind a pooler that lends sessions.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// Removes from the servers that are given what a killed run left there: all that is called lockbench…, and nothing else.
    #[arg(long)]
    clean: bool,
    #[command(flatten)]
    urls: ServerUrls,
}

impl Work for Doctor {
    const NAME: &str = "doctor";
    const GROUP: Group = Group::Look;
    const EXAMPLES: &[Example] = &[
        ("Servers on this machine", "lockbench doctor"),
        ("One that already runs", "lockbench doctor --redis redis://127.0.0.1:6379"),
        (
            "After a run that was killed",
            "lockbench doctor --clean --postgres postgres://lockbench@127.0.0.1/lockbench",
        ),
    ];

    async fn work(self) -> anyhow::Result<u8> {
        servers::sweep_leftovers();
        let (mut missing, mut unusable) = (false, false);
        for kind in ServerKind::ALL {
            let lines = match self.urls.by_kind().get(kind) {
                Some(url) => self.runs_already(*kind, url).await,
                None => match servers::find_with(*kind, self.urls.programs().get(kind).map(PathBuf::as_path))
                {
                    Finding::Found { path, version } => Ok(vec![format!("{version} at {}", path.display())]),
                    Finding::Missing { remedy } => {
                        let named = self.urls.programs().contains_key(kind);
                        (missing, unusable) = (missing || !named, unusable || named);
                        Ok(vec![if named { remedy } else { format!("missing: {remedy}") }])
                    }
                },
            };
            let lines = lines.unwrap_or_else(|error| {
                unusable = true;
                vec![servers::redact(&format!("{error:#}"))]
            });
            for (place, line) in lines.iter().enumerate() {
                print(&format!("{:<12} {line}", if place == 0 { kind.title() } else { "" }));
            }
        }
        print(match (missing, unusable) {
            (false, false) => "\nEverything is there.",
            // What is to be done stands beside it.
            (false, true) => "\nNot every server that was given can be used.",
            (true, _) => "\n`make setup` installs what is missing.",
        });
        Ok(if missing || unusable { 2 } else { 0 })
    }
}

impl Doctor {
    /// What is to be said of a server that already runs.
    async fn runs_already(&self, kind: ServerKind, url: &str) -> anyhow::Result<Vec<String>> {
        let server = Server::attach(kind, url).await?;
        let mut lines = vec![format!("answers at {}, version {}", servers::redact(url), server.version())];
        let (unseen, seen): (Vec<_>, Vec<_>) =
            server.settings().iter().partition(|(_, value)| *value == UNSEEN);
        let seen: Vec<String> = seen.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        lines.push(seen.join(", "));
        if !unseen.is_empty() {
            let unseen: Vec<&str> = unseen.iter().map(|(name, _)| name.as_str()).collect();
            lines.push(format!(
                "could not be seen: {}; what a grant survives there is as they are set",
                unseen.join(", ")
            ));
        }
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
        match near::members(kind, url).await {
            Ok(members) => lines.extend(members.iter().map(far)),
            Err(error) => lines.push(servers::redact(&format!("members not known: {error:#}"))),
        }
        lines.extend(locks(kind, url).await);
        if ours == 0 {
            // What was needed to try them.
            contents.clear().await?;
        }
        Ok(lines)
    }
}

/// How far a member is, and its clock.
fn far(member: &MemberFacts) -> String {
    let MemberFacts { place, role, round_trip_p50_ns, clock, failure } = member;
    let mut line = format!("{role} {place}: ").trim_start().to_owned();
    if let Some(ns) = round_trip_p50_ns {
        line += &format!("round trip {:.3} ms, median; ", *ns as f64 / 1e6);
    }
    line += &match (clock, failure) {
        (_, Some(failure)) => format!("not reached: {failure}"),
        (Some(clock), None) => {
            let (ahead_ms, error_ms) = (clock.ahead_ns as f64 / 1e6, clock.error_ns as f64 / 1e6);
            format!("its clock is {ahead_ms:+.3} ms from the one here, at most {error_ms:.3} ms wrong")
        }
        (None, None) => "its clock is told to nobody".to_owned(),
    };
    line
}

/// Which locks work over this URL.
async fn locks(kind: ServerKind, url: &str) -> Vec<String> {
    let Some(server) = backends::server(kind.name()) else { return Vec::new() };
    let (mut lines, mut work) = (Vec::new(), Vec::new());
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
