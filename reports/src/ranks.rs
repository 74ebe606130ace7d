//! Who stands at which place by a figure, as far as the blocks tell every two of them apart.

use harness::record::difference::{Answer, Decided, Looks, Rule, Subject, Together, family};
use harness::record::{Better, Metric};

use crate::{Comparison, Row};

/// The places of all contenders by some figures, all pairs of them compared as one family.
pub(crate) struct Ranks {
    metrics: Vec<&'static Metric>,
    names: Vec<String>,
    /// Of each contender and metric: how many are told to be better, and how many worse.
    apart: Vec<Vec<(usize, usize)>>,
}

impl Ranks {
    pub(crate) fn of(comparison: &Comparison, metrics: &[&'static Metric]) -> Self {
        let rows: Vec<&Row> = comparison.contenders().collect();
        let pairs: Vec<(usize, usize)> =
            (0..rows.len()).flat_map(|a| (a + 1..rows.len()).map(move |b| (a, b))).collect();
        let subjects: Vec<Subject<'_>> = pairs
            .iter()
            .map(|(own, reference)| Subject {
                own: rows[*own].valid().collect(),
                reference: rows[*reference].valid().collect(),
                together: Together::OfOneBatch,
            })
            .collect();
        let manifest = &comparison.manifest;
        let rule = Looks::of(&manifest.looks).rule(manifest.blocks, &Rule::default());
        let mut apart = vec![vec![(0, 0); metrics.len()]; rows.len()];
        for ((own, reference), decided) in pairs.iter().zip(family(&subjects, metrics, &rule)) {
            for (at, (decided, metric)) in decided.iter().zip(metrics).enumerate() {
                let Some(own_is_better) = decided.as_ref().and_then(|decided| told(decided, metric.better))
                else {
                    continue;
                };
                let (better, worse) = if own_is_better { (own, reference) } else { (reference, own) };
                apart[*better][at].1 += 1;
                apart[*worse][at].0 += 1;
            }
        }
        let names = rows.iter().map(|row| row.contender.clone()).collect();
        Self { metrics: metrics.to_vec(), names, apart }
    }

    /// `rank 1 of 4`, where all others are told to be better or worse; none of a control.
    pub(crate) fn words(&self, row: &Row, metric: &str) -> Option<String> {
        let contender = self.names.iter().position(|name| *name == row.contender)?;
        let at = self.metrics.iter().position(|of| of.name == metric)?;
        let (better, worse) = self.apart[contender][at];
        let all = self.names.len();
        (all > 1 && better + worse + 1 == all).then(|| format!("rank {} of {all}", better + 1))
    }
}

/// Whether the first of two is the better one, where they are told apart.
fn told(decided: &Decided, which: Better) -> Option<bool> {
    (decided.answer == Answer::Different).then(|| (decided.ratio.ratio() > 1.0) == (which == Better::More))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    /// Goodput of both contenders by block.
    fn ranked(own: fn(u32) -> f64, other: fn(u32) -> f64) -> Vec<Option<String>> {
        let mut comparison = fixture::of_blocks(6);
        for (row, goodput) in comparison.rows.iter_mut().zip([own, other]) {
            row.records.iter_mut().for_each(|run| run.goodput_per_s = goodput(run.block));
        }
        let metrics: Vec<_> = Metric::named("goodput").into_iter().collect();
        let ranks = Ranks::of(&comparison, &metrics);
        comparison.rows.iter().map(|row| ranks.words(row, "goodput")).collect()
    }

    #[test]
    fn places_are_told_where_the_blocks_tell_them_apart_and_nowhere_else() {
        let steady = |block: u32| 100.0 + f64::from(block);
        let told = ranked(steady, |block: u32| 200.0 + 3.0 * f64::from(block));
        assert_eq!(told[..2], [Some("rank 2 of 2".to_owned()), Some("rank 1 of 2".to_owned())]);
        assert_eq!(told[2..], [None, None], "controls have none");
        assert_eq!(ranked(steady, |block: u32| [70.0, 140.0][block as usize % 2]), [None, None, None, None]);
        assert_eq!(ranked(steady, steady), [None, None, None, None]);
    }
}
