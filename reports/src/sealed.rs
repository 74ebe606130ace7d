//! What a page carries beside what it shows: the figures of every run, the digests of what they follow from, and its own. With them
//! it can be checked whether a page is as it was written, and whether it says what the histories say.

use std::collections::BTreeMap;

use harness::record::{CheckVerdict, Evidence, METRICS, Reading, RunRecord, Verdict};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{Comparison, ReportError};

/// The data of a page, in it as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// Version of this format.
    pub format: u32,
    /// Version of lockbench that wrote it.
    pub lockbench_version: String,
    /// The scenario.
    pub scenario: String,
    /// The seed of the batch.
    pub seed: u64,
    /// Every run, probes included, in their order.
    pub runs: Vec<SealedRun>,
}

/// The figures and answers of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedRun {
    /// Its contender.
    pub contender: String,
    /// Block, from 1.
    pub block: u32,
    /// Place in the order of all runs.
    pub order: u32,
    /// Of the plan.
    pub plan_digest: String,
    /// Of history and facts; `None` where none were kept.
    pub evidence: Option<Evidence>,
    /// Whether its figures count.
    pub valid: bool,
    /// By metric; one that is a bound alone is in [`SealedRun::at_least`].
    pub figures: BTreeMap<String, f64>,
    /// By metric, where no more is known than that it is so much at least.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub at_least: BTreeMap<String, f64>,
    /// What each check answered, with its violations.
    pub verdicts: BTreeMap<String, (String, u64)>,
}

/// The version of the format.
pub(crate) const FORMAT: u32 = 1;

const OPENS: &str = "<script type=\"application/json\" id=\"sealed\">";
const CLOSES: &str = "</script>";

/// Stands for the digest while it is not known.
pub(crate) const BLANK: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const DIGEST: &str = "<meta name=\"lockbench-page-sha256\" content=\"";

/// No page is longer.
const MOST_BYTES: usize = 64 << 20;

impl SealedRun {
    /// Of a run.
    #[must_use]
    pub fn of(run: &RunRecord) -> Self {
        let (mut figures, mut at_least) = (BTreeMap::new(), BTreeMap::new());
        for metric in METRICS {
            match (metric.of)(run) {
                Some(Reading::Is(value)) => figures.insert(metric.name.to_owned(), value),
                Some(Reading::AtLeast(value)) => at_least.insert(metric.name.to_owned(), value),
                None => None,
            };
        }
        let answer = |each: &CheckVerdict| {
            let word = match each.verdict {
                Verdict::Holds => "holds",
                Verdict::Violated { .. } => "violated",
                Verdict::Unknown { .. } => "unknown",
                Verdict::NotApplicable { .. } => "not-applicable",
            };
            (each.check.clone(), (word.to_owned(), each.violations))
        };
        Self {
            contender: run.contender.clone(),
            block: run.block,
            order: run.order,
            plan_digest: run.plan_digest.clone(),
            evidence: run.evidence.clone(),
            valid: run.invalid.is_empty(),
            figures,
            at_least,
            verdicts: run.verdicts.iter().map(answer).collect(),
        }
    }
}

/// The data of a comparison, as it stands inside an element of a page.
pub(crate) fn data(comparison: &Comparison) -> Result<String, ReportError> {
    let manifest = &comparison.manifest;
    let mut runs: Vec<SealedRun> =
        comparison.records().chain(&comparison.probes).map(SealedRun::of).collect();
    runs.sort_by_key(|run| run.order);
    let sealed = Sealed {
        format: FORMAT,
        lockbench_version: manifest.lockbench_version.clone(),
        scenario: manifest.scenario.clone(),
        seed: manifest.seed,
        runs,
    };
    let json = serde_json::to_string(&sealed)
        .map_err(|error| ReportError::Render { renderer: "html", reason: error.to_string() })?;
    // In JSON only a text can have such, and no element may end in it.
    let plain = |c: char| if c == '<' || turns(c) { format!("\\u{:04x}", c as u32) } else { c.to_string() };
    Ok(json.chars().map(plain).collect())
}

/// The page with its own digest in place of the blank.
pub(crate) fn seal(page: &str) -> String {
    page.replacen(BLANK, &digest(page), 1)
}

/// Whether a character turns the direction of what is written after it, so that a page would say something else than it has.
pub(crate) fn turns(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn digest(page: &str) -> String {
    Sha256::digest(page).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Sealed {
    /// Reads the data out of a page, which must be as it was written.
    ///
    /// # Errors
    /// In words, when it is no such page, or was changed since.
    pub fn open(page: &str) -> Result<Self, String> {
        if page.len() > MOST_BYTES {
            return Err(format!("it is longer than {MOST_BYTES} bytes, which no report is"));
        }
        let no_report = || "it is no report of this lockbench: it has no digest of itself".to_owned();
        let (before, rest) = page.split_once(DIGEST).ok_or_else(no_report)?;
        let found = rest.get(..BLANK.len()).ok_or_else(no_report)?;
        let blank = format!("{before}{DIGEST}{BLANK}{}", &rest[BLANK.len()..]);
        if digest(&blank) != found {
            return Err("it was changed since it was written: its digest is another".to_owned());
        }
        let data = page.split_once(OPENS).and_then(|(_, rest)| rest.split_once(CLOSES));
        let (json, _) = data.ok_or("it carries no figures")?;
        let sealed: Self =
            serde_json::from_str(json).map_err(|error| format!("its figures cannot be read: {error}"))?;
        if sealed.format != FORMAT {
            return Err(format!(
                "its figures are in format {}, this lockbench reads {FORMAT}",
                sealed.format
            ));
        }
        Ok(sealed)
    }

    /// What it says of a run otherwise than the run's record, a sentence each.
    #[must_use]
    pub fn differences(&self, run: &RunRecord) -> Vec<String> {
        let of = format!("{}, block {}", run.contender, run.block);
        let Some(own) = self.runs.iter().find(|own| own.order == run.order && own.contender == run.contender)
        else {
            return vec![format!("{of} (run {}) is not on the page", run.order)];
        };
        let other = SealedRun::of(run);
        let mut all = Vec::new();
        for metric in METRICS {
            let of_both =
                [own, &other].map(|run| (run.figures.get(metric.name), run.at_least.get(metric.name)));
            if of_both[0] != of_both[1] {
                let [page, history] = of_both.map(|(is, least)| match (is, least) {
                    (Some(value), _) => metric.unit.show(*value),
                    (_, Some(value)) => format!("≥ {}", metric.unit.show(*value)),
                    _ => "missing".to_owned(),
                });
                all.push(format!("{of}: {} is {page} on the page and {history} by the history", metric.name));
            }
        }
        for (check, (word, times)) in &other.verdicts {
            let page = own.verdicts.get(check);
            if page != Some(&(word.clone(), *times)) {
                let page =
                    page.map_or_else(|| "missing".to_owned(), |(word, times)| format!("{word} ({times})"));
                all.push(format!("{of}: {check} is {page} on the page and {word} ({times}) by the history"));
            }
        }
        if own.plan_digest != other.plan_digest || own.evidence != other.evidence || own.valid != other.valid
        {
            all.push(format!(
                "{of}: the page is of another run: its plan, its history or its validity differs"
            ));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fixture, render};

    fn page() -> String {
        let html = render::ALL.iter().find(|look| look.name == "html").unwrap();
        (html.render)(&fixture::small()).unwrap()
    }

    #[test]
    fn a_page_carries_the_figures_of_every_run() {
        let sealed = Sealed::open(&page()).unwrap();
        let comparison = fixture::small();
        assert_eq!(sealed.runs.len(), comparison.records().count());
        assert!(comparison.records().all(|run| sealed.differences(run).is_empty()));
        assert_eq!(sealed.runs[0].verdicts["exclusion"].0, "violated");
    }

    #[test]
    fn a_changed_digit_is_found_wherever_it_is() {
        let page = page();
        for (place, digit) in page.char_indices().filter(|(_, c)| c.is_ascii_digit()).step_by(97) {
            let other = if digit == '7' { "3" } else { "7" };
            let mut changed = page.clone();
            changed.replace_range(place..=place, other);
            assert!(Sealed::open(&changed).is_err(), "{place} of {}", page.len());
        }
    }

    #[test]
    fn a_page_that_was_sealed_again_after_a_change_is_found_by_the_record() {
        let page = page();
        let sealed = Sealed::open(&page).unwrap();
        let mut run = fixture::small().rows[0].records[0].clone();
        run.tasks.completed -= 1;
        let told = sealed.differences(&run).join("\n");
        assert!(told.starts_with("ring-queue, block 1: cpu_per_task is "), "{told}");
        run.verdicts[0].violations = 1;
        assert!(
            sealed.differences(&run).join("\n").contains("exclusion is holds (0) on the page and holds (1)")
        );
    }

    #[test]
    fn what_is_no_report_is_refused_in_words() {
        assert!(Sealed::open("<html></html>").unwrap_err().contains("no digest of itself"));
        assert!(Sealed::open(&format!("{DIGEST}12")).unwrap_err().contains("no digest"));
    }
}
