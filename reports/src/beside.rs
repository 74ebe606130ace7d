//! Every other contender beside the reference, block by block: the one family of comparisons of a batch.

use harness::record::difference::{Decided, Looks, Rule, Subject, Together, family};
use harness::record::{Metric, Role};

use crate::{Comparison, Row};

/// The reference, and what was decided of every other contender.
pub(crate) struct Beside<'a> {
    pub(crate) reference: &'a str,
    /// Those that contenders are declared different by.
    pub(crate) metrics: Vec<&'static Metric>,
    /// Of each other contender, metric by metric; `None` where there is nothing to compare.
    pub(crate) others: Vec<(&'a Row, Vec<Option<Decided>>)>,
}

impl<'a> Beside<'a> {
    /// `None` where there is no reference, or nobody else.
    pub(crate) fn of(comparison: &'a Comparison) -> Option<Self> {
        let manifest = &comparison.manifest;
        let contenders = || comparison.rows.iter().filter(|row| row.role == Role::Contender);
        let name = manifest.reference.as_deref()?;
        let reference = contenders().find(|row| row.contender == name)?;
        let others: Vec<&Row> = contenders().filter(|row| row.contender != name).collect();
        let metrics: Vec<&'static Metric> = Metric::primary().collect();
        let subjects: Vec<Subject<'_>> = others
            .iter()
            .map(|row| Subject {
                own: row.valid().collect(),
                reference: reference.valid().collect(),
                together: Together::OfOneBatch,
            })
            .collect();
        let rule = Looks::of(&manifest.looks).rule(manifest.blocks, &Rule::default());
        let decided = family(&subjects, &metrics, &rule);
        let others: Vec<_> = others.into_iter().zip(decided).collect();
        (!others.is_empty()).then_some(Self { reference: name, metrics, others })
    }
}
