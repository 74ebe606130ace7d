//! What a run is made of: its clock, the agent that says who is inside, the nodes, the links between them, and the
//! contract of everything that is compared.

mod standstill;
mod clock;
mod spill;
mod history;
mod part_ret;
mod last_words;
mod progress;
mod recorder;
mod gate;
mod mechanism;
mod agent;
mod node;
mod meter;
mod arrivals;
mod callers;
mod part;
mod link;
mod round_trip;
mod control;
pub mod machine;
pub(crate) mod peak;
pub(crate) mod others;
pub(crate) mod steadiness;

pub use agent::{Agent, AgentLink, AgentOptions, Direct, EnterRet, Fencing, LeaveRet, WhenBusy};
pub use clock::{Clock, monotonic_ns, process_cpu_ns};
pub use control::Open;
pub use gate::Gate;
pub use history::History;
pub(crate) use last_words::LastWords;
pub use link::{Flow, Link, Links, Way, Ways};
pub use mechanism::{BoxFuture, Entitlement, Lease, Mechanism, NoLease, StepRunner};
pub use node::Node;
pub use others::{Twin, twins};
pub use part::Bystanders;
pub(crate) use part::{Part, PartOptions};
pub(crate) use part_ret::PartRet;
#[cfg(test)]
pub(crate) use part_ret::Spent;
pub use progress::Progress;
pub use recorder::Recorder;
pub(crate) use recorder::Told;
pub use round_trip::RoundTrip;
