//! Nodes: a task submitted at any of them runs at the owner of its key, in the owner's queue.
//!
//! From the ground up: a task as its submitter and its handler see it; what nodes say to each other over connections; how
//! they find each other without; what becomes of keys when the ring changes; the owner's side; the node.

mod task;
mod limits;
mod wire;
mod directory;
mod ways;
mod room;
mod takeover;
mod owner;
mod inbound;
mod options;
mod node;

pub use self::directory::{Directory, Transport};
pub use self::limits::{RouterLimits, Secret};
pub use self::node::Node;
pub use self::options::NodeOptions;
pub use self::takeover::Takeover;
pub use self::task::{Delivery, Handler, SubmitError, handler_fn};
