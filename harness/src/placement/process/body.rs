//! The process of a node: on this machine, or at a host of nodes.

use crate::child::Process;
use crate::placement::remote::Guest;

/// Whoever sits in a node's seat. When dropped, it is ended.
#[derive(Debug)]
pub(super) enum Body {
    Here(Process),
    There(Guest),
}

impl Body {
    /// Waits until it has ended, and tells how. Cancel safe.
    pub(super) async fn wait(&mut self) -> String {
        match self {
            Self::Here(process) => {
                let ended = process.wait().await;
                ended.map_or_else(|error| error.to_string(), |status| status.to_string())
            }
            Self::There(guest) => guest.wait().await,
        }
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Option<String> {
        match self {
            Self::Here(process) => process.ended().map(|status| status.to_string()),
            Self::There(guest) => guest.ended(),
        }
    }

    /// Stops it. How many bytes it has said to the agent, where they are on a way on which nobody can look for them.
    pub(super) async fn pause(&self) -> Result<Option<u64>, String> {
        match self {
            Self::Here(process) => process.pause().await.map(|()| None).map_err(|error| error.to_string()),
            Self::There(guest) => guest.pause().await.map(Some),
        }
    }

    /// Lets it go on.
    pub(super) async fn resume(&self) -> Result<(), String> {
        match self {
            Self::Here(process) => {
                process.resume();
                Ok(())
            }
            Self::There(guest) => guest.resume().await,
        }
    }

    /// Kills it, and returns when it is gone.
    pub(super) async fn kill(&mut self) -> Result<(), String> {
        match self {
            Self::Here(process) => process.kill().await.map_err(|error| error.to_string()),
            Self::There(guest) => guest.kill().await,
        }
    }

    /// Its number on this machine.
    pub(super) fn id(&self) -> Option<u32> {
        match self {
            Self::Here(process) => Some(process.id()),
            Self::There(_) => None,
        }
    }
}
