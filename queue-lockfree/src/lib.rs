//! Work queues at the owner of a key, found by a consistent-hash ring: no lock needed.
//!
//! A task is a key, a level and bytes. It may be submitted at any [`Node`]; the [`Ring`] says which node owns the key,
//! and there the key's queue starts at most `level` tasks at a time, in order. What a task does is the business of
//! the [`Handler`] that each node is started with. This is the design of ZStack, without its global monitor.
//!
//! In reading order:
//!
//! * [`WorkQueues`]: the queues of one node, useful alone; [`Submission`] in, [`Completion`] out.
//! * [`Admission`] and [`SingleFlight`]: above the queues, for work that need not be done twice.
//! * [`Ring`]: which node owns which key, under the original's hash or a well mixed one ([`HashKind`]).
//! * [`Membership`]: which ring a node goes by now; [`postgres`] keeps it up by heartbeats in a table.
//! * [`Node`]: the router; forwards a task to its owner over TCP (or by a call, as a control) and brings the answer.
//!   [`Takeover`] says what becomes of keys when the ring changes.
//! * [`JobNode`]: the queue in the database, for what no ring can own because it does not exist yet (feature
//!   `postgres`).
//!
//! Deadlines are absolute, in ns on the clock that queues and nodes are given ([`Now`]); [`Now::deadline_in`] makes one.
//! A runnable program for each piece is in `examples/`: `work_queue`, `ring`, `jobs`.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use queue_lockfree::*;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let now = Arc::new(TokioNow::start());
//! let membership = Membership::new();
//! let mut nodes = Vec::new();
//! for id in 0..3 {
//!     let (name, secret) = (format!("node-{id}"), Secret::new([7; 32]));
//!     let options = NodeOptions::new(NodeId(id), &name, membership.clone(), secret, now.clone());
//!     let handler = handler_fn(|delivery| async move { delivery.payload });
//!     nodes.push(Node::start(options, Arc::new(handler)).await?);
//! }
//! membership.install(Ring::new(1, HashKind::Mixed, nodes.iter().map(Node::member)));
//!
//! let deadline_ns = now.deadline_in(Duration::from_secs(5));
//! let answer = nodes[0].submit("volume-17", 1, "snapshot".into(), deadline_ns).await?;
//! assert_eq!(answer, "snapshot");
//! for node in nodes {
//!     node.shutdown().await;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! * `postgres` (on by default): membership by heartbeats in a table ([`postgres`]) and the queue in the database
//!   ([`JobNode`]). Without it the crate needs no database client.

mod sync;
mod poison;
mod now;
mod future;
mod ring;
mod membership;
mod queue;
mod router;
mod single_flight;
#[cfg(feature = "postgres")]
mod jobs;

pub use self::future::BoxFuture;
#[cfg(feature = "postgres")]
pub use self::jobs::{
    ATTEMPTS_MAX, Job, JobError, JobForm, JobHandler, JobNode, JobNodeOptions, JobOutcome, JobSubmission,
    NAME_BYTES, OnWorkerLoss, PAYLOAD_BYTES, Ticket, job_handler_fn,
};
pub use self::membership::Membership;
#[cfg(feature = "postgres")]
pub use self::membership::postgres;
pub use self::now::{Now, TokioNow, UnixNow};
pub use self::queue::{
    Admission, AdmissionError, Admitted, Completion, Entitlement, Lost, QueueError, QueueLimits,
    QueueMetrics, QueueSnapshot, RunningSnapshot, Submission, Task, TaskError, Token, Turn, WorkQueues,
};
pub use self::ring::{HashKind, Member, NodeId, Ring, zstack_node_id};
pub use self::router::{
    Delivery, Directory, Handler, Node, NodeOptions, RouterLimits, Secret, SubmitError, Takeover, Transport,
    handler_fn,
};
pub use self::single_flight::{FlightError, SingleFlight, SingleFlightHandler};

/// The README's examples, run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
