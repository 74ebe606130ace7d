//! The job queue on a real Postgres, in both forms.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]
#![cfg(feature = "postgres")]

mod contract;
mod defects;
mod kill;
mod lost_reply;
mod support;
mod take_over;
