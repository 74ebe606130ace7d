//! In which order the variants take turns.

use harness::model::splitmix;
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

/// The places of so many variants, in an order of its own for each server, table and round.
pub(super) fn order(count: usize, seed: u64, of: &str, round: u32) -> Vec<usize> {
    let child = of.bytes().fold(splitmix(seed), |seed, byte| splitmix(seed ^ u64::from(byte)));
    let mut places: Vec<usize> = (0..count).collect();
    places.shuffle(&mut ChaCha8Rng::seed_from_u64(splitmix(child ^ u64::from(round))));
    places
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::order;

    #[test]
    fn an_order_has_every_place_once_and_is_drawn_from_seed_server_and_round() {
        let places = order(6, 7, "redis pair", 0);
        assert_eq!(places, order(6, 7, "redis pair", 0));
        assert_eq!(places.iter().copied().collect::<BTreeSet<_>>(), (0..6).collect());
        let others =
            [order(6, 8, "redis pair", 0), order(6, 7, "nats pair", 0), order(6, 7, "redis pair", 1)];
        assert!(others.iter().all(|other| *other != places), "{places:?} {others:?}");
    }

    #[test]
    fn over_the_rounds_each_is_first_sometimes() {
        let first: BTreeSet<usize> = (0..25).map(|round| order(4, 7, "redis pair", round)[0]).collect();
        assert_eq!(first.len(), 4);
    }
}
