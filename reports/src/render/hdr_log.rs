//! `latency.hlog`: HdrHistogram's log format 1.3, which its plotters and `HistogramLogProcessor` read: a line a run and
//! distribution.

use std::fmt::Write as _;

use harness::record::{Histogram, Latency, RunRecord};

use super::Renderer;
use crate::{Comparison, ReportError};

pub(super) const RENDERER: Renderer = Renderer { name: "hdr-log", file: "latency.hlog", render };

type Distribution = fn(&Latency) -> &Histogram;

const DISTRIBUTIONS: [(&str, Distribution); 5] = [
    ("response", |latency| &latency.response),
    ("wait", |latency| &latency.wait),
    ("hand-over", |latency| &latency.hand_over),
    ("release", |latency| &latency.release),
    ("bystander", |latency| &latency.bystander),
];

fn render(comparison: &Comparison) -> Result<String, ReportError> {
    let failed = |reason: String| ReportError::Render { renderer: RENDERER.name, reason };
    let mut out = String::new();
    let started = comparison.manifest.started_utc.replace(['\n', '\r'], " ");
    let mut line = |text: &str| writeln!(out, "{text}").map_err(|error| failed(error.to_string()));
    line("#[Histogram log format version 1.3]")?;
    line(&format!(
        "#[lockbench: batch of {started}; values in ns, maxima in ms; valid runs, one window after the other]"
    ))?;
    line("#[What did not finish is in it with its deadline, as lasting that long]")?;
    line("\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"")?;
    let mut runs: Vec<&RunRecord> = comparison.rows.iter().flat_map(|row| row.valid()).collect();
    runs.sort_by_key(|run| run.order);
    let mut from_ns = 0;
    for run in runs {
        for (name, of) in DISTRIBUTIONS {
            let histogram = of(&run.latency);
            let Some(max_ns) = histogram.max_ns() else { continue };
            let encoded = histogram.hdr_v2_deflate_base64().map_err(|error| failed(error.to_string()))?;
            let [from, length] = [from_ns, run.window_ns].map(|ns| ns as f64 / 1e9);
            let tag = tag(&run.contender);
            line(&format!("Tag={tag}/{name},{from:.3},{length:.3},{:.3},{encoded}", max_ns as f64 / 1e6))?;
        }
        from_ns += run.window_ns;
    }
    Ok(out)
}

/// A tag has no comma, no space and no end of line.
fn tag(name: &str) -> String {
    name.replace(|c: char| c == ',' || c.is_whitespace() || c.is_control(), "_")
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::fixture;

    #[test]
    fn a_reader_of_such_logs_gets_every_distribution_back() {
        let comparison = fixture::named(&["a, b", "plain"], 2);
        let text = render(&comparison).unwrap();
        let mut found = Vec::new();
        for entry in IntervalLogIterator::new(text.as_bytes()) {
            let LogEntry::Interval(interval) = entry.unwrap() else { continue };
            let bytes =
                base64::engine::general_purpose::STANDARD.decode(interval.encoded_histogram()).unwrap();
            let histogram: hdrhistogram::Histogram<u64> =
                Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
            found.push((interval.tag().unwrap().as_str().to_owned(), interval.start_timestamp(), histogram));
        }
        assert!(found.is_sorted_by_key(|(_, start, _)| *start));
        let own: u64 = found.iter().filter(|(tag, ..)| tag == "a__b/wait").map(|(.., of)| of.len()).sum();
        assert_eq!(own, comparison.rows[0].latency.wait.count());
    }
}
