//! `runs.csv`: one line per run, units in the names of the columns, missing is empty.

use harness::record::{Histogram, Quantile, Role, RunRecord};

use super::Renderer;
use crate::{Comparison, ReportError};

pub(super) const RENDERER: Renderer = Renderer { name: "csv", file: "runs.csv", render };

type Figure = fn(&RunRecord) -> Option<String>;

const COLUMNS: &[(&str, Figure)] = &[
    ("contender", |run| Some(run.contender.clone())),
    ("role", |run| Some(if run.role == Role::Control { "control" } else { "contender" }.to_owned())),
    ("block", |run| shown(run.block)),
    ("order", |run| shown(run.order)),
    ("valid", |run| shown(run.invalid.is_empty())),
    ("repeated", |run| shown(run.repeated.len())),
    ("window_ns", |run| shown(run.window_ns)),
    // Empty of an open load.
    ("closed_callers", |run| run.closed.and_then(|closed| shown(closed.callers))),
    ("closed_think_ns", |run| run.closed.and_then(|closed| shown(closed.think_ns))),
    ("goodput_per_s", |run| shown(run.goodput_per_s)),
    ("backlog_middle", |run| run.backlog.and_then(|of| shown(of.middle))),
    ("backlog_end", |run| run.backlog.and_then(|of| shown(of.end))),
    ("planned", |run| shown(run.tasks.planned)),
    ("completed", |run| shown(run.tasks.completed)),
    ("not_offered", |run| shown(run.tasks.not_offered)),
    ("partial", |run| shown(run.tasks.partial)),
    ("rejected", |run| shown(run.tasks.rejected)),
    ("refused", |run| shown(run.tasks.refused)),
    ("failed", |run| shown(run.tasks.failed)),
    ("timed_out", |run| shown(run.tasks.timed_out)),
    ("unknown", |run| shown(run.tasks.unknown)),
    ("unfinished", |run| shown(run.tasks.unfinished)),
    ("elsewhere_came", |run| shown(run.elsewhere.came)),
    ("elsewhere_returned", |run| shown(run.elsewhere.returned)),
    ("violations", |run| shown(run.verdicts.iter().map(|answer| answer.violations).sum::<u64>())),
    ("wait_count", |run| shown(run.latency.wait.count())),
    ("wait_censored", |run| shown(run.latency.wait.censored())),
    ("wait_p50_ns", |run| quantile(&run.latency.wait, 0.5)),
    ("wait_p90_ns", |run| quantile(&run.latency.wait, 0.9)),
    ("wait_p99_ns", |run| quantile(&run.latency.wait, 0.99)),
    ("wait_p999_ns", |run| quantile(&run.latency.wait, 0.999)),
    ("hand_over_p50_ns", |run| quantile(&run.latency.hand_over, 0.5)),
    ("hand_over_p99_ns", |run| quantile(&run.latency.hand_over, 0.99)),
    ("release_p50_ns", |run| quantile(&run.latency.release, 0.5)),
    ("response_censored", |run| shown(run.latency.response.censored())),
    ("response_p50_ns", |run| quantile(&run.latency.response, 0.5)),
    ("response_p99_ns", |run| quantile(&run.latency.response, 0.99)),
    ("response_failed_p99_ns", |run| quantile(&run.latency.response_failed, 0.99)),
    ("bystander_p50_ns", |run| quantile(&run.latency.bystander, 0.5)),
    ("bystander_p99_ns", |run| quantile(&run.latency.bystander, 0.99)),
    ("asked", |run| shown(run.awareness.asked)),
    ("waited_in_silence", |run| shown(run.awareness.silent)),
    ("most_waiting", |run| shown(run.awareness.most_waiting)),
    ("validity_left_p50_ns", |run| quantile(&run.awareness.validity, 0.5)),
    ("granted_expired", |run| shown(run.awareness.expired)),
    ("loss_known_count", |run| shown(run.awareness.knew.count())),
    ("loss_known_p50_ns", |run| quantile(&run.awareness.knew, 0.5)),
    ("loss_known_max_ns", |run| quantile(&run.awareness.knew, 1.0)),
    ("lag_p99_ns", |run| quantile(&run.latency.lag, 0.99)),
    ("grants", |run| shown(run.grants)),
    ("operations", |run| run.load_operations().and_then(shown)),
    ("operations_bystander", |run| run.operations.and_then(|of| shown(of.bystander))),
    ("operations_renewal", |run| run.operations.and_then(|of| shown(of.renewal))),
    ("server_cpu_ns", |run| run.server_cpu_ns.and_then(shown)),
    ("process_cpu_ns", |run| shown(run.process_cpu_ns)),
    ("timer_cpu_ns", |run| shown(run.timer_cpu_ns)),
    ("peak_connections", |run| run.peak.connections.and_then(shown)),
    ("peak_threads", |run| run.peak.threads.and_then(shown)),
    ("peak_node_bytes", |run| run.peak.node_bytes.and_then(shown)),
    ("peak_server_bytes", |run| run.peak.server_bytes.and_then(shown)),
    ("burst_p50_ns", |run| quantile(&run.latency.burst, 0.5)),
    ("burst_max_ns", |run| quantile(&run.latency.burst, 1.0)),
    ("programmed_delay_ns", |run| run.programmed_delay_ns.and_then(shown)),
];

fn render(comparison: &Comparison) -> Result<String, ReportError> {
    let mut out = COLUMNS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(",") + "\n";
    for run in comparison.records() {
        let fields: Vec<String> =
            COLUMNS.iter().map(|(_, figure)| quoted(&figure(run).unwrap_or_default())).collect();
        out.push_str(&fields.join(","));
        out.push('\n');
    }
    Ok(out)
}

fn shown(value: impl ToString) -> Option<String> {
    Some(value.to_string())
}

/// As far as it is known: a quantile that what did not finish hides is the least that it can be, and `…_censored` is not 0.
fn quantile(histogram: &Histogram, q: f64) -> Option<String> {
    histogram.quantile(q).and_then(|(Quantile::Is(ns) | Quantile::AtLeast(ns))| shown(ns))
}

/// A field as RFC 4180 has it.
pub(crate) fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn column(name: &str) -> usize {
        COLUMNS.iter().position(|(column, _)| *column == name).unwrap()
    }

    #[test]
    fn one_line_per_run_and_missing_is_empty() {
        let text = render(&fixture::small()).unwrap();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
        assert_eq!(lines.len(), 1 + 12);
        assert!(lines.iter().all(|line| line.len() == COLUMNS.len()));
        assert_eq!(lines[1][column("contender")], "ring-queue");
        assert_eq!(lines[1][column("operations")], "", "a ring has no server");
        assert_eq!(lines[4][column("operations")], "16310");
    }

    #[test]
    fn names_with_commas_and_quotes_stay_one_field() {
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert!(render(&fixture::named(&["a,b"], 1)).unwrap().contains("\n\"a,b\",contender,1,"));
    }
}
