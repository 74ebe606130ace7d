//! The rate at which more tasks are late than may be, from probes at some rates.

/// The rate at which the part that is late crosses the limit: probes are (rate, part), in any order. `None` where they do not
/// lie on both sides of it.
///
/// More load does not make fewer late, so what falls with the rate is noise: neighbours that are out of order are pooled (pool
/// adjacent violators; Ayer et al., An empirical distribution function for sampling with incomplete information, 1955). Between the two rates on
/// either side of the limit the logarithm of the part goes along a straight line, so that capacities are not those of the grid
/// that was probed.
#[must_use]
pub fn crossing(probes: &[(f64, f64)], limit: f64) -> Option<f64> {
    let mut sorted = probes.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let fitted = rising(&sorted);
    let above = fitted.iter().position(|part| *part > limit)?;
    let below = above.checked_sub(1)?;
    // None late is as good as a tenth of what may be: how many fewer it would have been, a probe is too short to tell.
    let log = |part: f64| part.max(limit / 10.0).ln();
    let along = (limit.ln() - log(fitted[below])) / (log(fitted[above]) - log(fitted[below]));
    let [low, high] = [sorted[below].0.ln(), sorted[above].0.ln()];
    let pilot = (low + along * (high - low)).exp();
    let [first, .., last] = sorted[..] else { return None };
    Some(nearby(&sorted, pilot, limit).unwrap_or(pilot).clamp(first.0, last.0))
}

/// The same from all probes near the limit together, by `E[part] = exp(a + b ln rate)`: a generalised linear model with logarithmic link
/// and errors in proportion (McCullagh and Nelder, Generalized Linear Models, 1989, ch. 8), which is right in the mean also where few
/// dependent waits make most parts too small and some much too large. `None` where there are too few, or they tell no slope.
fn nearby(probes: &[(f64, f64)], pilot: f64, limit: f64) -> Option<f64> {
    /// How far a rate may be from the crossing, as a factor; beyond, the curve is no straight line.
    const NEAR: f64 = 1.2;
    const ROUNDS: u32 = 50;
    let near: Vec<(f64, f64)> = probes
        .iter()
        .map(|(rate, part)| ((rate / pilot).ln(), part / limit))
        .filter(|(x, _)| x.abs() <= NEAR.ln())
        .collect();
    if near.len() < 3 {
        return None;
    }
    let n = near.len() as f64;
    let mean_x = near.iter().map(|(x, _)| x).sum::<f64>() / n;
    let spread = near.iter().map(|(x, _)| (x - mean_x).powi(2)).sum::<f64>();
    let (mut level, mut slope) = (0.0, 1.0 / NEAR.ln());
    for _ in 0..ROUNDS {
        // With this link and these errors all weights are equal.
        let working = near.iter().map(|(x, y)| {
            let eta = level + slope * x;
            (x, eta + y / eta.exp() - 1.0)
        });
        let working: Vec<_> = working.collect();
        let mean_z = working.iter().map(|(_, z)| z).sum::<f64>() / n;
        slope = working.iter().map(|(x, z)| (*x - mean_x) * (z - mean_z)).sum::<f64>() / spread;
        level = mean_z - slope * mean_x;
    }
    let rate = -level / slope;
    (slope > 0.0 && rate.abs() <= NEAR.ln()).then(|| pilot * rate.exp())
}

/// The rising values that are nearest to those given, by least squares.
fn rising(points: &[(f64, f64)]) -> Vec<f64> {
    // Sum and count of each pool.
    let mut pools: Vec<(f64, usize)> = Vec::new();
    for (_, value) in points {
        pools.push((*value, 1));
        while let [.., (a, n), (b, m)] = pools[..] {
            if a / n as f64 <= b / m as f64 {
                break;
            }
            pools.truncate(pools.len() - 2);
            pools.push((a + b, n + m));
        }
    }
    pools.into_iter().flat_map(|(sum, count)| std::iter::repeat_n(sum / count as f64, count)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn between_two_rates_the_limit_is_crossed_where_the_line_is() {
        let rate = crossing(&[(100.0, 0.002), (110.0, 0.05)], 0.01).unwrap();
        assert!((rate - (100.0_f64 * 110.0).sqrt()).abs() < 1e-9, "{rate}");
    }

    #[test]
    fn one_that_was_late_by_chance_does_not_decide() {
        let calm = [(50.0, 0.0), (100.0, 0.001), (200.0, 0.002), (400.0, 0.7)];
        let mut hiccup = calm;
        hiccup[1].1 = 0.015;
        let (calm, hiccup) = (crossing(&calm, 0.01).unwrap(), crossing(&hiccup, 0.01).unwrap());
        assert!((hiccup / calm - 1.0).abs() < 0.2, "{hiccup} beside {calm}");
    }

    #[test]
    fn all_on_one_side_tell_nothing() {
        assert_eq!(crossing(&[(1.0, 0.0), (2.0, 0.005)], 0.01), None);
        assert_eq!(crossing(&[(1.0, 0.2), (2.0, 0.3)], 0.01), None);
        assert_eq!(crossing(&[], 0.01), None);
    }

    proptest! {
        #[test]
        fn the_crossing_lies_within_what_was_probed(
            probes in prop::collection::vec((1.0_f64..1e5, 0.0_f64..1.0), 0..12),
            limit in 0.001_f64..0.9,
        ) {
            if let Some(rate) = crossing(&probes, limit) {
                let rates = || probes.iter().map(|(rate, _)| *rate);
                let (least, most) = (rates().fold(f64::MAX, f64::min), rates().fold(0.0, f64::max));
                prop_assert!(rate >= least * 0.999_999 && rate <= most * 1.000_001);
            }
        }

        #[test]
        fn the_same_probes_in_another_order_cross_at_the_same_rate(
            probes in prop::collection::vec((1.0_f64..1e5, 0.0_f64..1.0), 2..12),
        ) {
            let mut reversed = probes.clone();
            reversed.reverse();
            prop_assert_eq!(crossing(&probes, 0.3), crossing(&reversed, 0.3));
        }
    }
}
