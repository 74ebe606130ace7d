//! The requests over the client library: its members, its streams and its errors stay here.

mod members;
mod words;
mod batches;
mod watches;
mod keeper;
mod client;

pub(super) use client::connect;
