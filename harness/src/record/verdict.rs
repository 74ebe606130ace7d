//! Answers of checks, as they are stored.

use serde::{Deserialize, Serialize};

/// A check's answer about one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckVerdict {
    /// Name of the check, such as `exclusion`.
    pub check: String,
    /// The answer.
    pub verdict: Verdict,
    /// How many things the check looked at (entries, writes, tasks).
    pub examined: u64,
    /// How many of them violated it.
    pub violations: u64,
    /// What its violations are, in the plural, as in `36 updates lost`.
    #[serde(default)]
    pub counted: String,
    /// What the scenario promises of this check for this contender.
    pub expected: Expected,
    /// What was measured beside the answer.
    #[serde(default)]
    pub figures: Vec<CheckFigure>,
}

/// What a check measured beside its answer, such as how long two sections overlapped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckFigure {
    /// What it is, in words.
    pub name: String,
    /// How much.
    pub amount: Amount,
}

impl CheckVerdict {
    /// How often, in what it counts: one violation may cost several, as a stale write all updates since.
    #[must_use]
    pub fn times(&self) -> u64 {
        let counted = self.figures.iter().find(|figure| figure.name == self.counted);
        match counted.map(|figure| figure.amount) {
            Some(Amount::Count(count)) => count,
            _ => self.violations,
        }
    }
}

/// A number with its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Amount {
    /// So many; those of several runs add up.
    Count(u64),
    /// So long; of several runs, the longest counts.
    Ns(u64),
}

/// Three-valued answer of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing speaks against it, and enough happened to tell.
    Holds,
    /// Violated, with the smallest excerpt that shows it, one event a line.
    Violated {
        /// Lines of the excerpt.
        witness: Vec<String>,
    },
    /// Cannot be told.
    Unknown {
        /// Why.
        reason: String,
    },
    /// The question does not arise.
    NotApplicable {
        /// Why.
        reason: String,
    },
}

/// What a scenario promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expected {
    /// Must hold; a violation is exit code 3.
    Holds,
    /// Must be violated (a control that must be caught, a race that must show).
    Violated,
    /// Reported, not judged.
    Either,
}
