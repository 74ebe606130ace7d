//! The contender's server, or the member of it that leads: stopped, or killed and started again.

use crate::faults::channel::{Blow, Channel, Done, Victim};
use crate::model::{Fault, FaultTarget, FaultVerb, Section};

/// The contender's server with all its members, or one of them. Nobody is inside there, so nobody is hit.
#[derive(Debug)]
pub(super) struct Server;

impl Channel for Server {
    fn name(&self) -> &'static str {
        "server"
    }

    fn answers_for(&self, fault: &Fault) -> bool {
        matches!(fault.verb, FaultVerb::Pause | FaultVerb::Kill)
            && matches!(fault.target, FaultTarget::Server | FaultTarget::Leader)
    }

    fn strike<'a>(&self, blow: Blow<'a>) -> Done<'a, Vec<Section>> {
        Box::pin(async move {
            let mut server = blow.around.server().await?;
            match blow.victim {
                Victim::Member(place) => server.member(place)?.pause().await?,
                _ => server.pause().await?,
            }
            Ok(Vec::new())
        })
    }

    fn complete<'a>(&self, blow: Blow<'a>) -> Done<'a> {
        Box::pin(async move {
            if blow.fault.verb != FaultVerb::Kill {
                return Ok(());
            }
            let mut server = blow.around.server().await?;
            match blow.victim {
                Victim::Member(place) => server.member(place)?.kill().await,
                _ => server.kill().await,
            }
        })
    }

    fn take_back<'a>(&self, blow: Blow<'a>) -> Done<'a> {
        Box::pin(async move {
            let mut server = blow.around.server().await?;
            match (blow.fault.verb, blow.victim) {
                (FaultVerb::Kill, Victim::Member(place)) => server.member(place)?.restart().await,
                (FaultVerb::Kill, _) => server.restart().await,
                (_, Victim::Member(place)) => {
                    server.member(place)?.resume();
                    Ok(())
                }
                _ => server.resume(),
            }
        })
    }
}
