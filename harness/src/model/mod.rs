//! The words of a run: what will happen, what did, and what is known of both. Data, without time and without I/O.
//!
//! [`Plan`] is what will run. A [`Mechanism`](crate::engine::Mechanism) answers with a [`Token`], an [`Outcome`], a
//! [`ReleaseRet`]; an [`Event`] is what happened, and [`Facts`] are what is known of a run beside its events.

mod seed;
mod histogram;
mod id;
mod resource;
mod task;
mod column;
mod tasks;
mod fault;
mod closed;
mod plan;
mod load;
mod view;
mod outcome;
mod event;
mod events;
mod facts;

pub use closed::{Closed, Unhindered};
pub use event::{Event, What, describe};
pub use events::Events;
pub use facts::{Audit, Facts, Injected, Outage, Section, Standstill};
pub use fault::{Direction, Fault, FaultTarget, FaultVerb, Late, LinkTo, Point};
pub use histogram::{Histogram, Quantile};
pub use id::{NodeId, StepRef, TaskId};
pub use outcome::{Operations, Outcome, Promises, ReleaseRet, Token};
pub use plan::{EntryPolicy, Holder, Plan, PlanError, PlanSettings};
pub(crate) use resource::Crowd;
pub use resource::{Mode, Resource, ResourceKind};
pub use seed::splitmix;
pub use task::{Arrival, Step, StepTree, Task};
pub use tasks::{Planned, Tasks};
pub use view::View;
