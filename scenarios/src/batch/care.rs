//! Care with servers that lockbench did not start: what is on one is looked at before it is used, and what was put there is
//! removed after.

use std::collections::BTreeMap;

use crate::contenders::Contender;
use crate::spec::{FaultSpec, Scenario};
use anyhow::Context as _;
use harness::model::FaultTarget;
use harness::servers::ServerKind;
use lock_backends::{BoxFuture, Contents, Endpoint, Held, backends};

/// Whether a server that holds what is not lockbench's may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// It is for lockbench alone.
    Alone,
    /// Others use it too, and know that it is loaded.
    Shared,
}

/// Looks at all of them before anything runs.
///
/// # Errors
/// With what to do about it: when one does not answer, holds what an earlier lockbench left there, or what is not lockbench's
/// and nobody said that this is known.
pub async fn may_be_used(servers: &BTreeMap<ServerKind, String>, sharing: Sharing) -> anyhow::Result<()> {
    for (kind, url) in servers {
        let Held { ours, others } =
            contents(*kind, url).await?.held().await.with_context(|| kind.to_string())?;
        anyhow::ensure!(
            ours == 0,
            "{kind}: {ours} of its keys, tables, nodes or streams are called lockbench…: a run that was killed left them, or another \
             one uses them now. If none does, `lockbench doctor --clean` with the same URL removes them"
        );
        let others = match others {
            Some(0) => continue,
            Some(others) => format!("holds {others} keys, tables, nodes or streams that are not lockbench's"),
            None => "does not let this account see whether others use it".to_owned(),
        };
        anyhow::ensure!(
            sharing == Sharing::Shared,
            "{kind}: it {others}. A run loads it, which whoever uses it feels: with --shared-server it is used all the same, and nothing of \
             theirs is touched"
        );
    }
    Ok(())
}

/// Faults, and links that stand in the way, are for servers that lockbench started.
///
/// # Errors
/// When the scenario asks for either and a contender's server is another one.
pub fn none_is_broken(
    scenario: &Scenario,
    contenders: &[Contender],
    servers: &BTreeMap<ServerKind, String>,
) -> anyhow::Result<()> {
    let at_server =
        |fault: &FaultSpec| matches!(fault.aim(), Some(FaultTarget::Server | FaultTarget::Leader));
    if scenario.links().is_none() && !scenario.spec.faults.iter().any(at_server) {
        return Ok(());
    }
    let foreign =
        contenders.iter().find_map(|contender| contender.server.filter(|kind| servers.contains_key(kind)));
    match foreign {
        None => Ok(()),
        Some(kind) => anyhow::bail!(
            "{kind}: links (rtt_ms, cut, slow, reset) and faults of a server need a private one, not one that already runs: leave its URL \
             out, or the faults with `--set faults=[]` and rtt_ms"
        ),
    }
}

/// Removes what was put on servers that held nothing of lockbench's before, and says of which it could not.
pub async fn give_back(servers: &BTreeMap<ServerKind, String>) -> Vec<String> {
    let mut kept = Vec::new();
    for (kind, url) in servers {
        let cleared = async { Ok::<_, anyhow::Error>(contents(*kind, url).await?.clear().await?) };
        if let Err(error) = cleared.await {
            kept.push(format!(
                "{kind}: what is called lockbench… on it could not be removed ({error:#}): \
                 `lockbench doctor --clean` with the same URL does"
            ));
        }
    }
    kept
}

/// Looks what is on a server.
///
/// # Errors
/// When it does not answer, or lets nobody in so.
pub async fn contents(kind: ServerKind, url: &str) -> anyhow::Result<Box<dyn Contents>> {
    let server =
        backends::server(kind.name()).with_context(|| format!("{kind}: no locks are built for it"))?;
    let endpoint = Endpoint(url.to_owned());
    let looking: BoxFuture<'_, _> = (server.contents)(&endpoint);
    looking.await.with_context(|| format!("{kind} at {}", harness::servers::redact(url)))
}
