//! What happens to a key when the ring changes.

mod policy;
mod handovers;
mod ownership;

pub(super) use self::ownership::Ownership;
pub use self::policy::Takeover;

#[cfg(test)]
mod tests;
