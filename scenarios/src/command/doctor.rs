//! `lockbench doctor`: which servers there are, and which locks work over the URLs that were given.

use std::time::Duration;

use clap::Args;
use harness::servers::{self, Finding, Server, ServerKind};
use lock_backends::{ClientOptions, Endpoint, Held, LockClient, SessionOptions, Variant, backends};

use super::print::print;
use super::servers::ServerUrls;
use super::verb::{Group, Work};
use crate::batch::care;

/// Say which servers were found, which are missing and how to get them; of a URL that is given, also which locks do not
/// work over it, as behind a pooler that lends sessions.
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

    async fn work(self) -> anyhow::Result<u8> {
        servers::sweep_leftovers();
        let mut missing = false;
        for kind in ServerKind::ALL {
            let line = match self.urls.by_kind().get(kind) {
                Some(url) => match Server::attach(*kind, url).await {
                    Ok(server) => format!(
                        "{:<12} answers at {}, version {}",
                        kind.title(),
                        servers::redact(url),
                        server.version()
                    ),
                    Err(error) => {
                        missing = true;
                        format!("{:<12} {error}", kind.title())
                    }
                },
                None => match servers::find(*kind) {
                    Finding::Found { path, version } => {
                        format!("{:<12} {version} at {}", kind.title(), path.display())
                    }
                    Finding::Missing { remedy } => {
                        missing = true;
                        format!("{:<12} missing: {remedy}", kind.title())
                    }
                },
            };
            print(&line);
            if let Some(url) = self.urls.by_kind().get(kind) {
                match self.held(*kind, url).await {
                    Ok(said) => print(&format!("{:<12} {said}", "")),
                    Err(error) => {
                        missing = true;
                        print(&format!("{:<12} {}", "", servers::redact(&format!("{error:#}"))));
                        continue;
                    }
                }
                for variant in backends::server(kind.name()).map_or(&[][..], |server| server.variants) {
                    if let Some(why) = unusable(variant, url).await {
                        print(&format!("{:<12} not with {}: {why}", "", variant.name));
                    }
                }
            }
        }
        print(if missing { "\n`make setup` installs what is missing." } else { "\nEverything is there." });
        Ok(if missing { 2 } else { 0 })
    }
}

impl Doctor {
    /// What is on a server, without what was left there if that was asked for.
    async fn held(&self, kind: ServerKind, url: &str) -> anyhow::Result<String> {
        let contents = care::contents(kind, url).await?;
        let before = contents.held().await?;
        if self.clean {
            contents.clear().await?;
        }
        let Held { ours, others } = if self.clean { contents.held().await? } else { before };
        let removed = if self.clean {
            format!("{} of lockbench's removed, ", before.ours - ours)
        } else {
            String::new()
        };
        Ok(match others {
            Some(others) => format!("holds {removed}{ours} of lockbench's and {others} others"),
            None => format!(
                "holds {removed}{ours} of lockbench's; whether others use it, this account may not see"
            ),
        })
    }
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
