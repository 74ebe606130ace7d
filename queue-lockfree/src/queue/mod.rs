//! Work queues: tasks of one key start in order, never more at a time than the key's level.
//!
//! From the ground up: what a task asks; the state of one key; a part of the table of keys behind one lock; the end of a
//! task, which starts the next one; the forms in which a task waits; the queues of a node; deduplication above them.

mod submission;
mod census;
mod name;
mod held;
mod slots;
mod key;
mod node;
mod shard;
mod ready;
mod completion;
mod entitlement;
mod turn;
mod task;
mod work_queues;
mod admission;

pub use self::admission::{Admission, AdmissionError, Admitted};
pub use self::census::{QueueMetrics, QueueSnapshot, RunningSnapshot};
pub use self::completion::Completion;
pub use self::entitlement::{Entitlement, Lost};
pub use self::submission::{QueueError, QueueLimits, Submission, Token};
pub use self::task::{Task, TaskError};
pub use self::turn::Turn;
pub use self::work_queues::WorkQueues;
