//! A resource of level N on a lock of level 1: N keys, tried in an order drawn from the request's seed.

use std::sync::Arc;

use crate::session::Request;

/// The key of a slot.
pub(super) fn key(base: &str, slot: u32) -> String {
    format!("{base}#{slot}")
}

/// The request for one slot.
pub(super) fn request(whole: &Request, base: &str, slot: u32) -> Request {
    Request { keys: vec![Arc::from(key(base, slot))], level: 1, ..whole.clone() }
}

/// The slot that a granted key names.
pub(super) fn slot_of(granted: &str, base: &str) -> Option<u32> {
    granted.strip_prefix(base)?.strip_prefix('#')?.parse().ok()
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
    fn slot_is_read_back_from_a_key_with_a_hash_in_its_name() {
        assert_eq!(slot_of(&key("a#b", 3), "a#b"), Some(3));
        assert_eq!(slot_of("a#b", "a#b"), None);
    }
}
