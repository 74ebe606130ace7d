use proptest::prelude::*;

use super::*;

/// Searches where every rate up to the true one is met, and up to another easily; the probes.
fn searched(start: f64, truth: f64, easy: f64) -> Vec<Seen> {
    let mut seen = Vec::new();
    while let Some(rate) = climb(&seen, start, NEAR) {
        seen.push(Seen { rate, met: rate <= truth, easily: rate <= easy, narrowly: false });
    }
    seen
}

proptest! {
    #[test]
    fn a_search_ends_within_5_percent_of_the_truth(start in 1.0_f64..1e4, truth in 1.0_f64..1e5, easy in 0.0..1.0) {
        let seen = searched(start, truth, easy * truth);
        let (low, high) = sides(&seen);
        let (low, high) = (low.unwrap(), high.unwrap());
        prop_assert!(low <= truth && truth < high && high / low <= NEAR);
        prop_assert!(seen.len() < MOST_PROBES);
    }
}

#[test]
fn it_goes_up_by_half_then_half_way_and_sees_the_last_miss_twice() {
    let rates: Vec<f64> = searched(100.0, 160.0, 0.0).iter().map(|probe| probe.rate.round()).collect();
    assert_eq!(rates, [100.0, 150.0, 225.0, 184.0, 166.0, 158.0, 162.0, 162.0]);
}

#[test]
fn from_what_is_met_easily_it_takes_two_steps_at_once() {
    let rates: Vec<f64> = searched(100.0, 1_000.0, 200.0).iter().map(|probe| probe.rate.round()).collect();
    assert_eq!(rates[..5], [100.0, 225.0, 338.0, 506.0, 759.0]);
    assert!(searched(100.0, 1e5, 9e4).len() + 6 <= searched(100.0, 1e5, 0.0).len());
}

#[test]
fn a_ceiling_is_found_with_fewer_probes_and_as_near_as_it_is_told_by() {
    let probes = |near| {
        let mut seen = Vec::new();
        while let Some(rate) = climb(&seen, 1_000.0, near) {
            seen.push(Seen { rate, met: rate <= 155_000.0, easily: rate <= 58_000.0, narrowly: false });
        }
        let (low, high) = sides(&seen);
        assert!(low.unwrap() <= 155_000.0 && high.unwrap() / low.unwrap() <= near, "{seen:?}");
        seen.len()
    };
    assert!(probes(NEAR_A_CEILING) < probes(NEAR));
}

#[test]
fn a_hiccup_on_the_way_up_does_not_end_it() {
    let mut seen = Vec::new();
    let mut hiccups = 1;
    while let Some(rate) = climb(&seen, 100.0, NEAR) {
        let hiccup = rate == 150.0 && std::mem::take(&mut hiccups) == 1;
        seen.push(Seen { rate, met: rate <= 1_000.0 && !hiccup, easily: false, narrowly: false });
    }
    let (low, high) = sides(&seen);
    assert!(low.unwrap() > 900.0 && high.unwrap() < 1_100.0, "{seen:?}");
}

#[test]
fn a_narrow_miss_is_looked_at_again_before_anything_below_it() {
    let mut seen = Vec::new();
    let mut hiccups = 1;
    while let Some(rate) = climb(&seen, 100.0, NEAR) {
        let hiccup = rate == 337.5 && std::mem::take(&mut hiccups) == 1;
        let met = rate <= 700.0 && !hiccup;
        seen.push(Seen { rate, met, easily: false, narrowly: !met && rate < 800.0 });
    }
    let rates: Vec<f64> = seen.iter().map(|probe| probe.rate.round()).collect();
    assert_eq!(
        rates,
        [100.0, 150.0, 225.0, 338.0, 338.0, 506.0, 759.0, 759.0, 620.0, 686.0, 722.0, 722.0, 704.0, 704.0]
    );
}

#[test]
fn what_meets_nothing_or_everything_comes_to_an_end() {
    assert!(searched(100.0, 0.0, 0.0).len() < 20);
    assert!(searched(100.0, 1e9, 0.0).len() < 30);
}

#[test]
fn a_later_block_lies_on_both_sides_of_the_limit() {
    for truth in [60.0, 100.0, 140.0] {
        let mut seen = Vec::new();
        while let Some(rate) = around(&seen, 100.0, 0.5) {
            seen.push(Seen { rate, met: rate <= truth, easily: false, narrowly: false });
        }
        let (low, high) = sides(&seen);
        assert!(low.unwrap() <= truth && truth < high.unwrap() && seen.len() <= 8, "{seen:?}");
    }
}
