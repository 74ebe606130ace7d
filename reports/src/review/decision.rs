//! What the answers come to: no score, no rank; who meets everything, and what stands against the others.

use super::answer::{Answer, Met, answers};
use super::phases::Review;
use crate::format;

/// The answers, and what they come to.
#[derive(Debug)]
pub(super) struct Decision {
    /// Of each requirement, about each candidate.
    pub(super) answers: Vec<Vec<Answer>>,
    /// In words, the answer to "which one" first.
    pub(super) sentences: Vec<String>,
    pub(super) exit_code: u8,
}

impl Review {
    /// 0 somebody meets everything, 1 nobody does, 5 that cannot be told or part of it was not measured, 4 a phase is not proven; 2 or 130
    /// where one ended so.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        self.decision().exit_code
    }

    pub(super) fn decision(&self) -> Decision {
        let answers = answers(self);
        let candidates = self.candidates();
        let of = |place: usize, met: Met| -> Vec<&str> {
            let requirements = self.record.requirements.iter().zip(&answers);
            requirements.filter(|(_, row)| row[place].met == met).map(|(of, _)| of.what.as_str()).collect()
        };
        let mut sentences = Vec::new();
        let places = || 0..candidates.len();
        let unmeasured: Vec<&str> = match candidates.is_empty() {
            true => Vec::new(),
            false => {
                let whole = self.record.requirements.iter().zip(&answers);
                whole
                    .filter(|(_, row)| row.iter().all(|answer| answer.met == Met::NotMeasured))
                    .map(|(of, _)| of.what.as_str())
                    .collect()
            }
        };
        let clean = |place: usize| of(place, Met::No).is_empty() && of(place, Met::CannotTell).is_empty();
        // What nobody was asked about is said once; what this one alone was not asked about, it has not met.
        let measured = |place: usize| {
            !of(place, Met::Yes).is_empty() && of(place, Met::NotMeasured).len() == unmeasured.len()
        };
        let fit: Vec<&str> = places()
            .filter(|place| clean(*place) && measured(*place))
            .map(|place| candidates[place])
            .collect();
        let count = format::plural(self.record.requirements.len() as u64, "requirement");
        sentences.push(match (fit.is_empty(), unmeasured.is_empty()) {
            (false, true) => format!("{} met by {}.", all_of(&count), list(&fit)),
            (false, false) => {
                format!(
                    "Everything that was measured is met by {}; not measured: {}.",
                    list(&fit),
                    unmeasured.join("; ")
                )
            }
            (true, _) => format!("Nobody is shown to meet all of {count}."),
        });
        for place in places() {
            let (broken, doubtful) = (of(place, Met::No), of(place, Met::CannotTell));
            let mut parts = Vec::new();
            if !broken.is_empty() {
                parts.push(format!("does not meet: {}", broken.join("; ")));
            }
            if !doubtful.is_empty() {
                parts.push(format!("cannot be told: {}", doubtful.join("; ")));
            }
            if !parts.is_empty() {
                sentences.push(format!("{} {}.", candidates[place], parts.join(". ")));
            }
        }
        let codes: Vec<u8> =
            self.batches.iter().flatten().map(|batch| batch.conclusion().exit_code).collect();
        let open = |place: usize| of(place, Met::No).is_empty();
        let unproven = self.batches.iter().flatten().any(|batch| !batch.conclusion().controls_hold);
        let exit_code = match () {
            () if codes.contains(&2) => 2,
            () if codes.contains(&130) => 130,
            () if unproven => 4,
            () if !fit.is_empty() && unmeasured.is_empty() => 0,
            () if !fit.is_empty() || places().any(open) => 5,
            () => 1,
        };
        Decision { answers, sentences, exit_code }
    }
}

/// `All 5 requirements are`, `The 1 requirement is`.
fn all_of(count: &str) -> String {
    if count.starts_with("1 ") { format!("The {count} is") } else { format!("All {count} are") }
}

fn list(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [before @ .., last] => format!("{} and {last}", before.join(", ")),
    }
}
