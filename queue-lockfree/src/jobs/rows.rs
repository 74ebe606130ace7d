//! What goes into the database and comes out of it, as rows.

use bytes::Bytes;
use tokio::sync::oneshot;

use super::job::{JobError, JobOutcome};

/// A submission on its way.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) number: i64,
    pub(super) queue: String,
    pub(super) payload: Bytes,
    pub(super) restartable: bool,
    pub(super) deadline_ns: u64,
    /// Told when the database has it.
    pub(super) reply: oneshot::Sender<Result<(), JobError>>,
}

/// An outcome as its row has it.
pub(super) type OutcomeRow = (i64, i64, String, Option<Vec<u8>>);

/// A row of the answer to `Session::work`: a job whose result is written, or else the source of the turn for which a job
/// was started, and of that id, queue, its name, number, payload, token and attempt.
pub(super) type WorkRow = (
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<String>,
    Option<i64>,
    Option<Vec<u8>>,
    Option<i64>,
    Option<i32>,
);

/// What a worker asks for: that a result be written, and the next job started.
#[derive(Debug)]
pub(super) struct Turn {
    /// Its slot or, in the faithful form, the queue; `None` starts nothing.
    pub(super) source: Option<i64>,
    pub(super) done: Option<Done>,
}

/// A job that was run, and how it went.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) job: i64,
    pub(super) queue: i64,
    /// If it is this node's own.
    pub(super) number: Option<i64>,
    pub(super) token: i64,
    pub(super) outcome: JobOutcome,
}
