//! What a family of comparisons allows to say: different, the same, or neither.

use super::ratio::Ratio;

/// When two are different, and when they are the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// The part of families without any difference in which one is found all the same.
    pub alpha: f64,
    /// What is nearer to 1 than this is no difference worth telling (0.05: a twentieth).
    pub least: f64,
    /// What is certainly nearer to 1 than this is the same.
    pub same: f64,
    /// How likely the number of blocks that is recommended is to be enough.
    pub power: f64,
}

impl Default for Rule {
    /// One in a hundred, beyond 5 %; the same within 10 %; 80 % power.
    fn default() -> Self {
        Self { alpha: 0.01, least: 0.05, same: 0.10, power: 0.8 }
    }
}

/// One comparison of a family, decided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decided {
    /// What was compared.
    pub ratio: Ratio,
    /// Of no difference, adjusted for the size of the family.
    pub p: f64,
    /// What may be said.
    pub answer: Answer,
    /// How many comparisons were declared.
    family: usize,
    rule: Rule,
}

/// What may be said of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// There is a difference, and it is large enough to matter.
    Different,
    /// If there is a difference, it is too small to matter.
    Same,
    /// Neither is shown.
    CannotTell,
}

/// Decides all comparisons that were declared beforehand, together: the more there are, the more each must show
/// (Holm, A simple sequentially rejective multiple test procedure, 1979). *The same* is shown by two one-sided tests
/// (Schuirmann, 1987).
#[must_use]
pub fn decide(family: &[Ratio], rule: &Rule) -> Vec<Decided> {
    let adjusted = holm(&family.iter().map(Ratio::p_of_no_difference).collect::<Vec<_>>());
    let each = family.iter().zip(adjusted).map(|(ratio, p)| {
        let answer = if p < rule.alpha && matters(ratio, rule) {
            Answer::Different
        } else if ratio.p_of_apart(rule.same) < rule.alpha {
            Answer::Same
        } else {
            Answer::CannotTell
        };
        Decided { ratio: *ratio, p, answer, family: family.len(), rule: *rule }
    });
    each.collect()
}

/// Whether the ratio as it was seen is far enough from 1.
fn matters(ratio: &Ratio, rule: &Rule) -> bool {
    ratio.ratio().ln().abs() > rule.least.ln_1p()
}

impl Decided {
    /// How many blocks would probably show one of the two where neither is shown, were the ratio as it was seen; `None` where
    /// no number does that anybody would run.
    #[must_use]
    pub fn blocks_that_would_tell(&self) -> Option<u32> {
        let Self { ratio, rule, .. } = self;
        // As if it were the smallest p of its family, which Holm asks the most of.
        let alpha = rule.alpha / self.family as f64;
        let different = if matters(ratio, rule) { ratio.blocks_to_differ(alpha, rule.power) } else { None };
        let same = ratio.blocks_to_be_the_same(rule.same, rule.alpha, rule.power);
        // If as many as there are should have been enough, it was bad luck: one more is the least.
        different.into_iter().chain(same).min().map(|blocks| blocks.max(ratio.blocks() + 1))
    }
}

/// Each p as it would have to be for all smaller ones to be told as well.
pub(crate) fn holm(ps: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..ps.len()).collect();
    order.sort_by(|a, b| ps[*a].total_cmp(&ps[*b]));
    let (mut adjusted, mut least) = (vec![1.0; ps.len()], 0.0_f64);
    for (rank, place) in order.into_iter().enumerate() {
        least = least.max(ps[place] * (ps.len() - rank) as f64).min(1.0);
        adjusted[place] = least;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paired(ratios: &[f64]) -> Ratio {
        Ratio::paired(ratios.iter().map(|ratio| (*ratio, 1.0))).unwrap()
    }

    fn decided(ratios: &[f64]) -> Answer {
        decide(&[paired(ratios)], &Rule::default())[0].answer
    }

    #[test]
    fn a_difference_must_be_certain_and_matter() {
        assert_eq!(decided(&[1.20, 1.21, 1.19, 1.20, 1.22]), Answer::Different);
        assert_eq!(decided(&[1.020, 1.021, 1.019, 1.020, 1.022]), Answer::Same, "certain, and of no matter");
        assert_eq!(decided(&[1.5, 0.9, 1.6, 0.8, 1.9]), Answer::CannotTell);
    }

    #[test]
    fn the_steadier_the_fewer_blocks_would_tell() {
        let blocks = |ratios: &[f64]| decide(&[paired(ratios)], &Rule::default())[0].blocks_that_would_tell();
        let (steady, wild) = (blocks(&[1.2, 1.1, 1.3]).unwrap(), blocks(&[1.5, 0.9, 1.3]).unwrap());
        assert!(3 < steady && steady < wild, "{steady} {wild}");
        assert_eq!(blocks(&[9.0, 0.1, 1.3]), None);
    }

    #[test]
    fn the_more_is_compared_the_more_must_be_shown() {
        let ratios = [1.20, 1.10, 1.30, 1.15, 1.25];
        let alone = decide(&[paired(&ratios)], &Rule::default())[0];
        assert_eq!(alone.answer, Answer::Different, "{alone:?}");
        let noise = paired(&[1.5, 0.7, 1.2, 0.8, 1.0]);
        let family = [vec![paired(&ratios)], vec![noise; 19]].concat();
        let among = decide(&family, &Rule::default())[0];
        assert!((among.p - alone.p * 20.0).abs() < 1e-12);
        assert_eq!(among.answer, Answer::CannotTell);
    }

    #[test]
    fn adjusted_ps_keep_their_order() {
        let close = |p: Vec<f64>, to: &[f64]| p.iter().zip(to).all(|(p, to)| (p - to).abs() < 1e-12);
        assert!(close(holm(&[0.01, 0.04, 0.03]), &[0.03, 0.06, 0.06]));
        assert!(close(holm(&[0.9, 0.8]), &[1.0, 1.0]));
    }
}
