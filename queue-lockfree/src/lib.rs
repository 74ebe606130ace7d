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
//! ```
//! use std::sync::Arc;
//! use bytes::Bytes;
//! use queue_lockfree::*;
//!
//! struct Echo;
//!
//! impl Handler for Echo {
//!     fn run(&self, delivery: Delivery) -> BoxFuture<'_, Bytes> {
//!         Box::pin(async move { delivery.payload })
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let now = Arc::new(TokioNow::start());
//! let membership = Membership::new();
//! let mut nodes = Vec::new();
//! for id in 0..3 {
//!     let (name, secret) = (format!("node-{id}"), Secret::new([7; 32]));
//!     let options = NodeOptions::new(NodeId(id), &name, membership.clone(), secret, now.clone());
//!     nodes.push(Node::start(options, Arc::new(Echo)).await?);
//! }
//! membership.install(Ring::new(1, HashKind::Mixed, nodes.iter().map(Node::member)));
//!
//! let deadline_ns = now.now_ns() + 5_000_000_000;
//! let answer = nodes[0].submit("volume-17", 1, Bytes::from("snapshot"), deadline_ns).await?;
//! assert_eq!(answer, "snapshot");
//! for node in nodes {
//!     node.shutdown().await;
//! }
//! # Ok(())
//! # }
//! ```

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
    Job, JobError, JobForm, JobHandler, JobNode, JobNodeOptions, JobOutcome, JobSubmission, NAME_BYTES,
    OnWorkerLoss, PAYLOAD_BYTES, Ticket,
};
pub use self::membership::Membership;
#[cfg(feature = "postgres")]
pub use self::membership::postgres;
pub use self::now::{Now, TokioNow};
pub use self::queue::{
    Admission, AdmissionError, Admitted, Completion, Entitlement, Lost, QueueError, QueueLimits,
    QueueMetrics, QueueSnapshot, RunningSnapshot, Submission, Task, TaskError, Token, Turn, WorkQueues,
};
pub use self::ring::{HashKind, Member, NodeId, Ring, zstack_node_id};
pub use self::router::{
    Delivery, Directory, Handler, Node, NodeOptions, RouterLimits, Secret, SubmitError, Takeover, Transport,
};
pub use self::single_flight::{FlightError, SingleFlight, SingleFlightHandler};
