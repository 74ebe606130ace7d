//! What a gate asks: a file of thresholds, strict about its keys.
//!
//! ```toml
//! [[threshold]]
//! contender = "*"                  # every contender, or one by name
//! metric = "response_p99"
//! max = "20 ms"                    # or min
//!
//! [[threshold]]
//! contender = "redis-fenced"
//! metric = "wait_p50"
//! against = "baseline"             # --baseline BATCH; or "batch:runs/…", or "contender:NAME" of the same run
//! margin = "10 %"                  # may be worse by no more; "-20 %": must be better by that at least
//! ```

use std::path::{Path, PathBuf};

use harness::record::{Kind, Limit, METRICS, Metric, Unit};
use serde::Deserialize;
use toml::Spanned;

use crate::spec::{SpecError, did_you_mean};

/// A file of thresholds.
#[derive(Debug, Clone)]
pub struct Thresholds {
    /// Where it came from.
    pub origin: String,
    /// Its text.
    pub text: String,
    /// What it asks, in its order; at least one.
    pub asked: Vec<Asked>,
}

/// One threshold as it is written.
#[derive(Debug, Clone)]
pub struct Asked {
    /// File and line.
    pub place: String,
    /// A contender, or `*` for all.
    pub contender: String,
    /// The figure.
    pub metric: &'static Metric,
    /// What it must keep to.
    pub limit: Limit,
    /// What the limit is beside, if it is beside another.
    pub against: Option<Against>,
}

/// What a limit is beside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Against {
    /// The batch of `--baseline`.
    Baseline,
    /// A stored batch, or a folder of such.
    Batch(PathBuf),
    /// Another contender of the same run.
    Contender(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    threshold: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    contender: Spanned<String>,
    metric: Spanned<String>,
    max: Option<Spanned<String>>,
    min: Option<Spanned<String>>,
    against: Option<Spanned<String>>,
    margin: Option<Spanned<String>>,
}

impl Thresholds {
    /// Reads a file; paths in it are from its own folder.
    ///
    /// # Errors
    /// When it cannot be read or is refused: the error names file, line and what to write instead.
    pub fn read(file: &Path) -> Result<Self, SpecError> {
        let origin = file.display().to_string();
        let unreadable = |error: std::io::Error| SpecError {
            place: origin.clone(),
            what: format!(
                "cannot be read: {error}; --thresholds takes a TOML file, see `lockbench gate --help`"
            ),
        };
        let text = std::fs::read_to_string(file).map_err(unreadable)?;
        Self::parse(&origin, &text, file.parent().unwrap_or(Path::new("")))
    }

    fn parse(origin: &str, text: &str, folder: &Path) -> Result<Self, SpecError> {
        let file: File = toml::from_str(text).map_err(|error| SpecError::toml(origin, &error))?;
        if file.threshold.is_empty() {
            return Err(SpecError::at(origin, text, 0, "no threshold: nothing would be asked"));
        }
        let at = |start, what: String| SpecError::at(origin, text, start, what);
        let asked = file.threshold.iter().map(|entry| entry.asked(folder, &at)).collect::<Result<_, _>>()?;
        Ok(Self { origin: origin.to_owned(), text: text.to_owned(), asked })
    }
}

impl Entry {
    fn asked(&self, folder: &Path, at: &dyn Fn(usize, String) -> SpecError) -> Result<Asked, SpecError> {
        let name = self.metric.get_ref();
        let metric = Metric::named(name).ok_or_else(|| {
            let names = || METRICS.iter().map(|metric| metric.name);
            let all = names().collect::<Vec<_>>().join(", ");
            at(
                self.metric.span().start,
                format!("unknown metric `{name}`{}; there are {all}", did_you_mean(name, names())),
            )
        })?;
        let value = |text: &Spanned<String>, unit: Unit| {
            unit.parse(text.get_ref()).map_err(|what| at(text.span().start, what))
        };
        let start = self.metric.span().start;
        let (limit, against) = match (&self.max, &self.min, &self.against, &self.margin) {
            (Some(max), None, None, None) => (Limit::AtMost(value(max, metric.unit)?), None),
            (None, Some(min), None, None) => (Limit::AtLeast(value(min, metric.unit)?), None),
            (None, None, Some(against), Some(margin)) => {
                if metric.kind == Kind::Counted {
                    let what = format!(
                        "`{name}` is counted and has no ratio: give `max` or `min` instead of `against`"
                    );
                    return Err(at(start, what));
                }
                let (sign, text) = match margin.get_ref().trim().strip_prefix('-') {
                    Some(rest) => (-1.0, rest),
                    None => (1.0, margin.get_ref().as_str()),
                };
                let margin_at = margin.span().start;
                let margin = sign * Unit::Share.parse(text).map_err(|what| at(margin_at, what))?;
                if margin <= -1.0 {
                    return Err(at(margin_at, "nothing is better than another by 100 %".to_owned()));
                }
                let place = against.span().start;
                let against = Against::parse(against.get_ref(), folder).map_err(|what| at(place, what))?;
                (Limit::Within { margin, of: against.to_string() }, Some(against))
            }
            _ => {
                let what = "a threshold has either `max`, or `min`, or `against` with `margin`";
                return Err(at(start, what.to_owned()));
            }
        };
        // The limit is divided by, and nothing but counts can be none.
        if metric.kind == Kind::Measured && matches!(limit, Limit::AtMost(0.0) | Limit::AtLeast(0.0)) {
            return Err(at(
                start,
                format!("`{name}` is measured, and no measure is 0: give a limit above 0"),
            ));
        }
        let place = at(start, String::new()).place;
        Ok(Asked { place, contender: self.contender.get_ref().clone(), metric, limit, against })
    }
}

impl Against {
    fn parse(text: &str, folder: &Path) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "baseline" => Ok(Self::Baseline),
            Some(("batch", path)) if !path.is_empty() => Ok(Self::Batch(folder.join(path))),
            Some(("contender", name)) if !name.is_empty() => Ok(Self::Contender(name.to_owned())),
            _ => Err(format!("`{text}` must be `baseline`, `batch:PATH` or `contender:NAME`")),
        }
    }
}

impl std::fmt::Display for Against {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Baseline => write!(f, "the baseline"),
            Self::Batch(path) => write!(f, "{}", path.display()),
            Self::Contender(name) => write!(f, "{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Thresholds, String> {
        Thresholds::parse("gate.toml", text, Path::new("ci")).map_err(|error| error.to_string())
    }

    const GOOD: &str = "\
[[threshold]]
contender = \"*\"
metric = \"response_p99\"
max = \"20 ms\"

[[threshold]]
contender = \"ring-queue\"
metric = \"goodput\"
against = \"baseline\"
margin = \"10 %\"
";

    #[test]
    fn a_file_is_read_as_it_is_meant() {
        let asked = parsed(GOOD).unwrap().asked;
        assert_eq!(asked[0].limit, Limit::AtMost(2e7));
        assert_eq!(
            (asked[1].against.clone(), asked[1].place.as_str()),
            (Some(Against::Baseline), "gate.toml, line 8")
        );
        let beside = |against: &str| {
            parsed(&GOOD.replace("baseline", against)).map(|all| all.asked[1].against.clone().unwrap())
        };
        assert_eq!(beside("batch:../runs/a"), Ok(Against::Batch(PathBuf::from("ci/../runs/a"))));
        assert_eq!(beside("contender:pg-mux"), Ok(Against::Contender("pg-mux".to_owned())));
    }

    #[test]
    fn what_is_wrong_is_told_with_file_line_and_remedy() {
        for (from, to, what) in [
            (
                "metric = \"goodput\"",
                "metric = \"godput\"",
                "line 8: unknown metric `godput` (did you mean `goodput`?)",
            ),
            ("20 ms", "20", "line 4: `20` must be a duration with its unit"),
            ("10 %", "10", "line 10: `10` must be a share"),
            ("10 %", "-100 %", "line 10: nothing is better"),
            ("baseline", "base", "line 9: `base` must be `baseline`, `batch:PATH` or `contender:NAME`"),
            ("max = \"20 ms\"", "", "line 3: a threshold has either `max`"),
            ("max = \"20 ms\"", "max = \"20 ms\"\nmin = \"1 ms\"", "line 3: a threshold has either `max`"),
            ("20 ms", "0 ms", "line 3: `response_p99` is measured, and no measure is 0"),
            ("metric = \"goodput\"", "metric = \"violations\"", "line 8: `violations` is counted"),
            ("max =", "maxx =", "did you mean `max`?"),
            ("max = \"20 ms\"", "max = 20", "line 4"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let why = parsed(&GOOD.replacen(from, to, 1)).unwrap_err();
            assert!(why.starts_with("gate.toml") && why.contains(what), "{to}: {why}");
        }
        assert!(parsed("threshold = []").unwrap_err().contains("no threshold"));
    }
}
