//! `lockbench doctor`: which servers there are.

use clap::Args;
use harness::servers::{self, Finding, Server, ServerKind};

use super::print::print;
use super::servers::ServerUrls;
use super::verb::{Group, Work};

/// Say which servers were found, which are missing and how to get them.
#[derive(Debug, Args)]
pub(super) struct Doctor {
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
        }
        print(if missing { "\n`make setup` installs what is missing." } else { "\nEverything is there." });
        Ok(if missing { 2 } else { 0 })
    }
}
