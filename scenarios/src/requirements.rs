//! What an architect requires: a file, strict about its keys.
//!
//! ```toml
//! [[require]]
//! what = "fast enough for the console"
//! metric = "response_p99"
//! max = "50 ms"                    # or min
//!
//! [[require]]
//! what = "no update is lost when a holder stands still"
//! check = "lost-update"
//! during = "holder-pause"          # the phase in which it is seen; else the one under plain load
//! ```

use std::path::Path;

use harness::judge::checks;
use harness::record::{Demand, METRICS, Metric, Requirement};
use serde::Deserialize;
use toml::Spanned;

use crate::spec::{SpecError, did_you_mean};

/// The phases of a review: name, and what each asks.
pub const PHASES: [(&str, &str); 5] = [
    ("load", "What does it cost when all is well?"),
    ("capacity", "How much does each carry?"),
    ("holder-pause", "A holder stands still for longer than its lease, and then writes: what is broken?"),
    ("holder-kill", "A holder dies: after what time do others get its key, and is anything lost?"),
    (
        "server-kill",
        "The lock server dies and comes back: what is broken, and for how long is nobody served?",
    ),
];

/// A file of requirements.
#[derive(Debug, Clone)]
pub struct Requirements {
    /// Where it came from.
    pub origin: String,
    /// What it requires, in its order; at least one.
    pub all: Vec<Requirement>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    require: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    what: Option<String>,
    metric: Option<Spanned<String>>,
    max: Option<Spanned<String>>,
    min: Option<Spanned<String>>,
    check: Option<Spanned<String>>,
    during: Option<Spanned<String>>,
}

impl Requirements {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read or is refused: the error names file, line and what to write instead.
    pub fn read(file: &Path) -> Result<Self, SpecError> {
        let origin = file.display().to_string();
        let text = std::fs::read_to_string(file).map_err(|error| SpecError {
            place: origin.clone(),
            what: format!(
                "cannot be read: {error}; --requirements takes a TOML file, see `lockbench review --help`"
            ),
        })?;
        Self::parse(&origin, &text)
    }

    /// What is usual where nobody says anything: what no workload can do without.
    #[must_use]
    pub fn usual(rate_per_s: Option<f64>) -> Self {
        let holds = |what: &str, check: &str, during: &str| Requirement {
            what: what.to_owned(),
            during: during.to_owned(),
            demand: Demand::Holds { check: check.to_owned() },
        };
        let mut all = vec![
            holds("nobody is let in twice when all is well", "exclusion", "load"),
            holds("no update is lost when a holder stands still", "lost-update", "holder-pause"),
            holds("no update is lost when a holder dies", "lost-update", "holder-kill"),
            holds("no update is lost when the lock server dies", "lost-update", "server-kill"),
        ];
        all.extend(rate_per_s.map(|limit| Requirement {
            what: "twice the rate of the scenario".to_owned(),
            during: "capacity".to_owned(),
            demand: Demand::AtLeast { metric: "capacity".to_owned(), limit: 2.0 * limit },
        }));
        Self { origin: "nothing was required; these are what no workload can do without".to_owned(), all }
    }

    fn parse(origin: &str, text: &str) -> Result<Self, SpecError> {
        let file: File = toml::from_str(text).map_err(|error| SpecError::toml(origin, &error))?;
        if file.require.is_empty() {
            return Err(SpecError::at(origin, text, 0, "no [[require]]: nothing would be asked"));
        }
        let at = |start, what: String| SpecError::at(origin, text, start, what);
        let all = file.require.iter().map(|entry| entry.requirement(&at)).collect::<Result<_, _>>()?;
        Ok(Self { origin: origin.to_owned(), all })
    }
}

/// An error for a name that is not among these.
fn unknown(kind: &str, name: &Spanned<String>, names: &[&str]) -> (usize, String) {
    let meant = did_you_mean(name.get_ref(), names.iter().copied());
    (name.span().start, format!("unknown {kind} `{}`{meant}; there are {}", name.get_ref(), names.join(", ")))
}

impl Entry {
    fn requirement(&self, at: &dyn Fn(usize, String) -> SpecError) -> Result<Requirement, SpecError> {
        let demand = match (&self.metric, &self.check) {
            (Some(metric), None) => self.of_metric(metric, at)?,
            (None, Some(check)) => {
                let names: Vec<&str> = checks::ALL.iter().map(|check| check.name).collect();
                if !names.contains(&check.get_ref().as_str()) {
                    let (start, what) = unknown("check", check, &names);
                    return Err(at(start, what));
                }
                if let Some(limit) = self.max.as_ref().or(self.min.as_ref()) {
                    return Err(at(
                        limit.span().start,
                        "a check holds or does not: leave min and max out".to_owned(),
                    ));
                }
                Demand::Holds { check: check.get_ref().clone() }
            }
            (Some(metric), Some(_)) => {
                return Err(at(
                    metric.span().start,
                    "a requirement is of a metric or of a check: make two of it".to_owned(),
                ));
            }
            (None, None) => {
                return Err(at(0, "a requirement needs `metric` with `max` or `min`, or `check`".to_owned()));
            }
        };
        let usual = match &demand {
            Demand::AtMost { metric, .. } | Demand::AtLeast { metric, .. } if metric == "capacity" => {
                "capacity"
            }
            _ => "load",
        };
        let during = match &self.during {
            None => usual.to_owned(),
            Some(phase) => {
                let names: Vec<&str> = PHASES.iter().map(|(name, _)| *name).collect();
                if !names.contains(&phase.get_ref().as_str()) {
                    let (start, what) = unknown("phase", phase, &names);
                    return Err(at(start, what));
                }
                phase.get_ref().clone()
            }
        };
        let what = self.what.clone().unwrap_or_else(|| words(&demand));
        Ok(Requirement { what, during, demand })
    }

    fn of_metric(
        &self,
        name: &Spanned<String>,
        at: &dyn Fn(usize, String) -> SpecError,
    ) -> Result<Demand, SpecError> {
        let metric = Metric::named(name.get_ref()).ok_or_else(|| {
            let names: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
            let (start, what) = unknown("metric", name, &names);
            at(start, what)
        })?;
        let limit = |text: &Spanned<String>| {
            metric.unit.parse(text.get_ref()).map_err(|what| at(text.span().start, what))
        };
        let metric = metric.name.to_owned();
        match (&self.max, &self.min) {
            (Some(max), None) => Ok(Demand::AtMost { metric, limit: limit(max)? }),
            (None, Some(min)) => Ok(Demand::AtLeast { metric, limit: limit(min)? }),
            _ => Err(at(name.span().start, format!("`{metric}` needs `max` or `min`, and one of them"))),
        }
    }
}

/// `response_p99 ≤ 50 ms`.
fn words(demand: &Demand) -> String {
    let of = |metric: &str, sign: &str, limit: f64| {
        let shown = Metric::named(metric).map_or_else(|| limit.to_string(), |metric| metric.unit.show(limit));
        format!("{metric} {sign} {shown}")
    };
    match demand {
        Demand::AtMost { metric, limit } => of(metric, "≤", *limit),
        Demand::AtLeast { metric, limit } => of(metric, "≥", *limit),
        Demand::Holds { check } => format!("{check} holds"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requirement_is_of_a_figure_or_of_a_check_in_a_phase() {
        let text = "[[require]]\nmetric = \"response_p99\"\nmax = \"50 ms\"\n\n[[require]]\ncheck = \"lost-update\"\nduring = \"holder-pause\"\n\n[[require]]\nmetric = \"capacity\"\nmin = \"500 /s\"\n";
        let all = Requirements::parse("mine.toml", text).unwrap().all;
        let told: Vec<_> = all.iter().map(|of| (of.what.as_str(), of.during.as_str())).collect();
        assert_eq!(
            told,
            [
                ("response_p99 ≤ 50 ms", "load"),
                ("lost-update holds", "holder-pause"),
                ("capacity ≥ 500 /s", "capacity")
            ]
        );
        assert_eq!(all[0].demand, Demand::AtMost { metric: "response_p99".to_owned(), limit: 5e7 });
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_the_way_out() {
        for (text, line, told) in [
            ("[[require]]\nmetric = \"response_p9\"\nmax = \"1 ms\"\n", 2, "did you mean `response_p99`"),
            ("[[require]]\nmetric = \"response_p99\"\n", 2, "needs `max` or `min`"),
            ("[[require]]\nmetric = \"response_p99\"\nmax = \"50\"\n", 3, "a duration with its unit"),
            ("[[require]]\ncheck = \"exclusio\"\n", 2, "did you mean `exclusion`"),
            ("[[require]]\ncheck = \"exclusion\"\nmax = \"1\"\n", 3, "leave min and max out"),
            (
                "[[require]]\ncheck = \"exclusion\"\nduring = \"holder-paus\"\n",
                3,
                "did you mean `holder-pause`",
            ),
        ] {
            let error = Requirements::parse("mine.toml", text).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("mine.toml, line {line}: ")) && error.contains(told),
                "{error}"
            );
        }
    }
}
