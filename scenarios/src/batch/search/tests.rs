use proptest::prelude::*;

use super::*;

/// Searches where every rate up to the true one is met; the probes.
fn searched(start: f64, truth: f64) -> Vec<Seen> {
    let mut seen = Vec::new();
    while let Some(rate) = climb(&seen, start) {
        seen.push(Seen { rate, met: rate <= truth });
    }
    seen
}

proptest! {
    #[test]
    fn a_search_ends_within_5_percent_of_the_truth(start in 1.0_f64..1e4, truth in 1.0_f64..1e5) {
        let seen = searched(start, truth);
        let (low, high) = sides(&seen);
        let (low, high) = (low.unwrap(), high.unwrap());
        prop_assert!(low <= truth && truth < high && high / low <= NEAR);
        prop_assert!(seen.len() < MOST_PROBES);
    }
}

#[test]
fn it_goes_up_by_half_then_half_way_and_sees_the_last_miss_twice() {
    let rates: Vec<f64> = searched(100.0, 160.0).iter().map(|probe| probe.rate.round()).collect();
    assert_eq!(rates, [100.0, 150.0, 225.0, 184.0, 166.0, 158.0, 162.0, 162.0]);
}

#[test]
fn a_hiccup_on_the_way_up_does_not_end_it() {
    let mut seen = Vec::new();
    let mut hiccups = 1;
    while let Some(rate) = climb(&seen, 100.0) {
        let hiccup = rate == 150.0 && std::mem::take(&mut hiccups) == 1;
        seen.push(Seen { rate, met: rate <= 1_000.0 && !hiccup });
    }
    let (low, high) = sides(&seen);
    assert!(low.unwrap() > 900.0 && high.unwrap() < 1_100.0, "{seen:?}");
}

#[test]
fn what_meets_nothing_or_everything_comes_to_an_end() {
    assert!(searched(100.0, 0.0).len() < 20);
    assert!(searched(100.0, 1e9).len() < 30);
}

#[test]
fn a_later_block_lies_on_both_sides_of_the_limit() {
    for truth in [60.0, 100.0, 140.0] {
        let mut seen = Vec::new();
        while let Some(rate) = around(&seen, 100.0, 0.5) {
            seen.push(Seen { rate, met: rate <= truth });
        }
        let (low, high) = sides(&seen);
        assert!(low.unwrap() <= truth && truth < high.unwrap() && seen.len() <= 8, "{seen:?}");
    }
}
