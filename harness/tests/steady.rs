//! How often a run is called unsteady that is not, and whether one that is not steady is.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use harness::record::Steadiness;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Waits of a millisecond, slice by slice: noise of a share of them, of which a part is that of the slice before, times what `shape`
/// says of each.
fn series(
    seed: u64,
    slices: usize,
    noise: f64,
    kept: f64,
    skewed: bool,
    shape: impl Fn(usize) -> f64,
) -> Vec<Option<u64>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // Box and Muller's.
    let mut normal = || {
        let (a, b): (f64, f64) = (rng.random(), rng.random());
        (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    };
    let mut last = 0.0;
    let each = (0..slices).map(|slice| {
        let fresh = normal();
        // Of an exponential's skewness, with the same mean and spread.
        let fresh = if skewed { 0.5 * (fresh * fresh - 1.0) * std::f64::consts::SQRT_2 } else { fresh };
        last = kept * last + (1.0 - kept * kept).sqrt() * fresh;
        Some((1e6 * shape(slice) * (1.0 + noise * last).max(0.05)) as u64)
    });
    each.collect()
}

const SERIES: u64 = 1_000;

fn alarms(slices: usize, noise: f64, kept: f64, skewed: bool) -> (f64, f64) {
    let told =
        (0..SERIES).map(|seed| Steadiness::of(&series(seed, slices, noise, kept, skewed, |_| 1.0)).unwrap());
    let (mut cold, mut drift) = (0, 0);
    for of in told {
        cold += u64::from(of.cold.is_some());
        drift += u64::from(of.drift.is_some());
    }
    (cold as f64 / SERIES as f64, drift as f64 / SERIES as f64)
}

#[test]
fn a_run_that_does_not_change_is_hardly_ever_called_unsteady() {
    for slices in [20, 60, 300] {
        for (kept, most) in [(0.0, 0.015), (0.5, 0.04)] {
            for skewed in [false, true] {
                for noise in [0.05, 0.2, 0.5] {
                    let (cold, drift) = alarms(slices, noise, kept, skewed);
                    println!(
                        "{slices} slices, noise {noise}, kept {kept}, skewed {skewed}: cold {cold}, drift {drift}"
                    );
                    assert!(
                        cold <= most && drift <= most,
                        "{slices} {noise} {kept} {skewed}: {cold} {drift}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_warm_up_that_was_too_short_is_found_with_its_length() {
    // Three times as slow at first, within a tenth of warm after 1.5 s of 6.
    let cold = |slice: usize| 1.0 + 2.0 * (-(slice as f64) / 5.0).exp();
    let told: Vec<Steadiness> =
        (0..100).map(|seed| Steadiness::of(&series(seed, 60, 0.1, 0.0, false, cold)).unwrap()).collect();
    let found = told.iter().filter(|of| of.cold.is_some_and(|times| times > 1.25)).count();
    assert!(found >= 95, "{found} of 100");
    let near = told.iter().filter(|of| (1_000_000_000..=3_000_000_000).contains(&of.cut_ns)).count();
    assert!(near >= 90, "{near} of 100: {told:?}");
}

#[test]
fn waits_that_grow_all_along_are_told() {
    let grows = |slice: usize| 1.0 + slice as f64 / 60.0;
    let found = (0..100).filter(|seed| {
        let of = Steadiness::of(&series(*seed, 60, 0.1, 0.0, false, grows)).unwrap();
        of.drift.is_some_and(|times| times > 1.25)
    });
    assert!(found.count() >= 95);
}

#[test]
fn too_few_slices_tell_nothing() {
    assert_eq!(Steadiness::of(&[Some(1_000_000); 19]), None);
    assert_eq!(Steadiness::of(&[None; 100]), None);
    let steady = Steadiness::of(&[Some(1_000_000); 40]).unwrap();
    assert_eq!((steady.cut_ns, steady.cold, steady.drift), (0, None, None));
}
