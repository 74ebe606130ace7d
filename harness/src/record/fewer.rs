//! Whether one contender does a thing less often than another, where each does it so many times of so many.

use serde::{Deserialize, Serialize};

use super::run::RunRecord;

/// That one contender violates a check less often than another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FewerClaim {
    /// Name of the check.
    pub check: String,
    /// Who does it less often.
    pub contender: String,
    /// Than whom.
    pub than: String,
}

/// What two contenders did, and how likely that is where there is no difference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fewer {
    /// Whoever is to do it less often.
    pub less: Share,
    /// The other.
    pub more: Share,
    /// Fisher's exact test, one-sided: the probability of so few or fewer in the first of them.
    pub p: f64,
}

/// So many of so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Share {
    /// Of these.
    pub of: u64,
    /// So many.
    pub count: u64,
}

/// A difference is told from chance where its probability is below this.
pub const FEWER_LEVEL: f64 = 0.01;

impl FewerClaim {
    /// What those two did in these runs. `None`: one of them did not run, or was not asked.
    #[must_use]
    pub fn judged<'a>(&self, runs: impl Iterator<Item = &'a RunRecord> + Clone) -> Option<Fewer> {
        let [less, more] = [&self.contender, &self.than].map(|name| {
            let own = runs.clone().filter(|run| run.contender == *name && run.invalid.is_empty());
            let answers = own.flat_map(|run| &run.verdicts).filter(|answer| answer.check == self.check);
            answers
                .map(|answer| Share { of: answer.examined, count: answer.times().min(answer.examined) })
                .reduce(|sum, one| Share { of: sum.of + one.of, count: sum.count + one.count })
        });
        let (less, more) = less.zip(more)?;
        Some(Fewer { less, more, p: p(less, more) })
    }
}

/// The probability that of `less.count + more.count` marked ones among all, `less.count` or fewer are among the `less.of`, where they
/// are drawn blindly.
fn p(less: Share, more: Share) -> f64 {
    let marked = less.count + more.count;
    let all = less.of + more.of;
    let logs = LogFactorials::up_to(all);
    let ways = |count: u64| {
        let rest = marked - count;
        (rest <= more.of).then(|| {
            (logs.choose(less.of, count) + logs.choose(more.of, rest) - logs.choose(all, marked)).exp()
        })
    };
    (0..=less.count).filter_map(ways).sum::<f64>().min(1.0)
}

/// The logarithms of factorials.
struct LogFactorials(Vec<f64>);

impl LogFactorials {
    fn up_to(n: u64) -> Self {
        let logs = (1..=n).scan(0.0, |sum, k| {
            *sum += (k as f64).ln();
            Some(*sum)
        });
        Self([0.0].into_iter().chain(logs).collect())
    }

    /// Of `n` over `k`.
    fn choose(&self, n: u64, k: u64) -> f64 {
        let of = |n: u64| self.0[n as usize];
        of(n) - of(k) - of(n - k)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(count: u64, of: u64) -> Share {
        Share { of, count }
    }

    #[test]
    fn fishers_tea_is_told_as_it_was() {
        // Of four cups with milk first, four of four were named: 1 / 70; three or more: 17 / 70.
        assert!((p(share(0, 4), share(4, 4)) - 1.0 / 70.0).abs() < 1e-12);
        assert!((p(share(1, 4), share(3, 4)) - 17.0 / 70.0).abs() < 1e-12);
    }

    #[test]
    fn what_jepsen_and_we_have_seen_is_no_chance() {
        // 14 of 178 lost, and none of 164.
        let p = p(share(0, 164), share(14, 178));
        assert!((7e-5..2e-4).contains(&p), "{p}");
        assert!(p < FEWER_LEVEL);
    }

    #[test]
    fn alike_is_alike_and_more_is_not_fewer() {
        assert!(p(share(5, 100), share(5, 100)) > 0.5);
        assert!(p(share(9, 100), share(1, 100)) > 0.99);
        assert!((p(share(0, 0), share(0, 0)) - 1.0).abs() < 1e-12);
    }
}
