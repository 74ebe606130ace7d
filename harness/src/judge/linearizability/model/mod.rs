//! Atomic objects, one a file.

mod register;
mod key_value;
mod mutex;
mod fenced_mutex;
mod semaphore;

pub use fenced_mutex::{FencedMutex, FencedMutexOp};
pub use key_value::{KeyValue, KeyValueOp, Text};
pub use mutex::{Mutex, MutexOp};
pub use register::{Register, RegisterOp};
pub use semaphore::Semaphore;
