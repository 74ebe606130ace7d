//! What the queues take turns by, in one place: `tests/interleavings.rs` builds them over a model of the same.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
pub(crate) use std::sync::{Mutex, MutexGuard};
pub(crate) use std::thread_local;
