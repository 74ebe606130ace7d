//! A resource of level N on a lock of level 1: N keys, tried in an order drawn from the request's seed.

use std::sync::Arc;

use crate::session::{Request, slot_key};

/// A name as the backends see it: every `#` doubled, so that the single one of a slot stands apart.
pub(super) fn plain_key(name: &Arc<str>) -> Arc<str> {
    if name.contains('#') { name.replace('#', "##").into() } else { Arc::clone(name) }
}

/// The request for one slot.
pub(super) fn request(whole: &Request, base: &str, slot: u32) -> Request {
    Request { keys: vec![Arc::from(slot_key(base, slot))], level: 1, ..whole.clone() }
}

/// All slots, shuffled by the seed.
pub(super) fn order(level: u32, seed: u64) -> Vec<u32> {
    let mut slots: Vec<u32> = (0..level).collect();
    let mut state = seed;
    for end in (1..slots.len()).rev() {
        let pick = splitmix(&mut state) % (end as u64 + 1);
        slots.swap(end, usize::try_from(pick).expect("at most the number of slots"));
    }
    slots
}

/// SplitMix64 (Steele, Lea and Flood, 2014): enough to spread slots, and no dependency.
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::split_slot;

    #[test]
    fn order_is_a_permutation_drawn_from_the_seed() {
        let mut firsts = [0; 8];
        for seed in 0..800 {
            let order = order(8, seed);
            firsts[order[0] as usize] += 1;
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..8).collect::<Vec<_>>());
            assert_eq!(order, super::order(8, seed));
        }
        // 100 expected each; 50 is more than five standard deviations off.
        assert!(firsts.iter().all(|&n| n > 50), "{firsts:?}");
    }

    #[test]
    fn a_slot_is_never_taken_for_a_key() {
        for name in ["x", "x#1", "x#", "#", "x##1", "7", "#7", "a#b"] {
            let plain = plain_key(&name.into());
            assert_eq!(split_slot(&plain), (&*plain, None), "{name}");
            assert_eq!(split_slot(&slot_key(&plain, 12)), (&*plain, Some(12)), "{name}");
        }
    }
}
