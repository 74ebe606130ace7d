//! What all tasks of a node share.

use tokio_util::sync::CancellationToken;

use super::database::Database;
use super::issuer::Issuer;
use super::job::JobError;
use super::liveness::Liveness;
use super::options::JobNodeOptions;
use super::roster::Roster;

/// The state of one node, from its start to its end.
pub(super) struct Shared {
    pub(super) id: i64,
    pub(super) options: JobNodeOptions,
    pub(super) database: Database,
    pub(super) liveness: Liveness,
    pub(super) issuer: Issuer,
    pub(super) roster: Roster,
    /// Workers start nothing new.
    pub(super) draining: CancellationToken,
    /// Everything ends now. Also when others have declared this node dead.
    pub(super) stop: CancellationToken,
}

impl Shared {
    /// Why a caller gets no answer any more.
    pub(super) fn ended(&self) -> JobError {
        match self.liveness.refusal() {
            Some(reason) => JobError::Database(reason.to_owned()),
            None if self.liveness.is_evicted() => JobError::Evicted,
            None => JobError::Shutdown,
        }
    }

    /// Why a job that was submitted has no outcome.
    pub(super) fn ended_unknown(&self) -> JobError {
        match self.liveness.refusal() {
            Some(reason) => JobError::Unknown(format!("the database refuses: {reason}")),
            None if self.liveness.is_evicted() => {
                JobError::Unknown("this node was declared dead by others".to_owned())
            }
            None => JobError::Shutdown,
        }
    }
}
