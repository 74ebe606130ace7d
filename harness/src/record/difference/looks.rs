//! A batch that may end as soon as it can tell: at most three looks, planned beforehand, which share the error among them.
//!
//! Whoever looks after each block, and stops at the first difference, finds one in 5 of 100 batches without any, where one
//! look finds it in 1 of 100. Here each look has its part of the error, and the parts add up to the whole (Bonferroni's bound,
//! so that it holds whatever the looks have in common); early looks get little of it, as those of O'Brien and Fleming (1979).

use super::decide::Rule;

/// The looks of a batch, as numbers of blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looks(Vec<u32>);

/// Nobody tells anything from fewer blocks.
const FEWEST: u32 = 4;

impl Looks {
    /// At most three over so many blocks at most: after half of them, after three quarters, and at the end.
    #[must_use]
    pub fn planned(most_blocks: u32) -> Self {
        let early = [most_blocks.div_ceil(2), (3 * most_blocks).div_ceil(4)];
        let mut at: Vec<u32> = early.into_iter().filter(|at| (FEWEST..most_blocks).contains(at)).collect();
        at.dedup();
        at.push(most_blocks);
        Self(at)
    }

    /// Looks that were planned before, as a manifest has them.
    #[must_use]
    pub fn of(at: &[u32]) -> Self {
        Self(at.to_vec())
    }

    /// After which blocks.
    #[must_use]
    pub fn at(&self) -> &[u32] {
        &self.0
    }

    /// The rule of the look after so many blocks; where none was planned then, that of the strictest.
    #[must_use]
    pub fn rule(&self, blocks: u32, rule: &Rule) -> Rule {
        let shares: &[f64] = match self.0.len() {
            0 | 1 => &[1.0],
            2 => &[0.25, 0.75],
            _ => &[0.1, 0.3, 0.6],
        };
        let place = self.0.iter().position(|at| *at == blocks).unwrap_or(0);
        Rule { alpha: rule.alpha * shares[place.min(shares.len() - 1)], ..*rule }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_three_at_most_and_none_too_early() {
        assert_eq!(Looks::planned(10).at(), [5, 8, 10]);
        assert_eq!(Looks::planned(6).at(), [5, 6]);
        assert_eq!(Looks::planned(4).at(), [4]);
        assert_eq!(Looks::planned(1).at(), [1]);
    }

    #[test]
    fn what_they_spend_adds_up_to_the_error_of_one() {
        let rule = Rule::default();
        for most in 1..=40 {
            let looks = Looks::planned(most);
            let spent: f64 = looks.at().iter().map(|at| looks.rule(*at, &rule).alpha).sum();
            assert!((spent - rule.alpha).abs() < 1e-12, "{most} blocks: {spent}");
            assert!(looks.rule(most, &rule).alpha >= looks.rule(most + 1, &rule).alpha);
        }
    }
}
