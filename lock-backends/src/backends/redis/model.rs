//! A Redis server in memory and in virtual time, behind [`Requests`](super::requests::Requests): what it decides (`state`), and how its
//! variants, as they are, ask it (`wire`).

mod state;
mod wire;

#[cfg(test)]
mod bench;
#[cfg(test)]
mod doubt;
#[cfg(test)]
mod sessions;

pub(super) use wire::server;
