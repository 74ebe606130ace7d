//! Where seeds come from.

use harness::model::splitmix;
use rand::Rng as _;

/// A seed from the operating system, for runs that name none.
#[must_use]
pub fn fresh_seed() -> u64 {
    // 53 bits, so that the seed survives JSON readers that know only doubles.
    rand::rng().next_u64() >> 11
}

/// Seed of the plan of a block, counted from 1.
#[must_use]
pub fn block_seed(seed: u64, block: u32) -> u64 {
    splitmix(seed ^ u64::from(block))
}
