//! Jobs in the database: order for what no ring can own, because it does not exist yet.
//!
//! The job queue of the original, on Postgres. A job is a queue's name and bytes; it may be submitted at any
//! [`JobNode`], runs at one of them, alone in its queue and in order of submission, and its outcome is told to the
//! issuer. Nodes notice each other's death by a heartbeat on the database's clock, and take over.
//!
//! From the ground up: a job as callers see it; rows and the operations on them; what a node knows (its life, who waits
//! for an outcome, what there is to run); the tasks that keep that up; the node.

mod job;
mod options;
mod rows;
mod database;
mod batch;
mod liveness;
mod issuer;
mod roster;
mod shared;
mod heartbeat;
mod submitter;
mod ticket;
mod outcomes;
mod worker;
mod node;

pub use self::job::{
    ATTEMPTS_MAX, Job, JobError, JobForm, JobHandler, JobOutcome, JobSubmission, NAME_BYTES, OnWorkerLoss,
    PAYLOAD_BYTES, job_handler_fn,
};
pub use self::node::JobNode;
pub use self::options::JobNodeOptions;
pub use self::ticket::Ticket;
