//! Whether a batch has told everything that it was to tell.

use harness::record::difference::{Answer, Looks, Rule, Subject, Together, family};
use harness::record::{Metric, Role, RunRecord};

/// Whether every contender is told from the reference, or shown to be the same, in everything that can be compared; asked after
/// so many blocks, of which only those that were planned as looks give an answer.
pub(super) fn decided(records: &[RunRecord], reference: &str, looks: &Looks, blocks: u32) -> bool {
    if !looks.at().contains(&blocks) {
        return false;
    }
    let valid = || records.iter().filter(|run| run.role == Role::Contender && run.invalid.is_empty());
    let of = |name: &str| valid().filter(|run| run.contender == name).collect::<Vec<_>>();
    let mut names: Vec<&str> =
        valid().map(|run| run.contender.as_str()).filter(|name| *name != reference).collect();
    names.sort_unstable();
    names.dedup();
    let subjects: Vec<Subject<'_>> = names
        .iter()
        .map(|name| Subject { own: of(name), reference: of(reference), together: Together::OfOneBatch })
        .collect();
    let metrics: Vec<&Metric> = Metric::primary().collect();
    let family = family(&subjects, &metrics, &looks.rule(blocks, &Rule::default()));
    let mut answers = family.iter().flatten().flatten().map(|decided| decided.answer).peekable();
    answers.peek().is_some() && answers.all(|answer| answer != Answer::CannotTell)
}
