//! `metrics.prom`: Prometheus' text format 0.0.4, for a node exporter's textfile collector or a push gateway.

use std::fmt::Write as _;

use harness::record::{METRICS, Metric, Role, Unit};

use super::Renderer;
use crate::estimates::estimates;
use crate::{Comparison, ReportError, callers};

pub(super) const RENDERER: Renderer = Renderer { name: "prometheus", file: "metrics.prom", render };

fn render(comparison: &Comparison) -> Result<String, ReportError> {
    let mut out = String::new();
    let scenario = escaped(&callers::title(comparison));
    // All samples of a family stand together.
    for metric in METRICS {
        let of_metric: Vec<_> = estimates(comparison).filter(|(_, of, _)| of.name == metric.name).collect();
        if of_metric.is_empty() {
            continue;
        }
        let (name, scale) = (family(metric), scale(metric.unit));
        head(&mut out, &name, &format!("{}, over the blocks of the batch.", metric.title));
        let mut bounds = Vec::new();
        for (row, _, of) in of_metric {
            let role = if row.role == Role::Control { "control" } else { "contender" };
            let labels =
                format!("scenario=\"{scenario}\",contender=\"{}\",role=\"{role}\"", escaped(&row.contender));
            sample(&mut out, &name, &labels, of.value * scale);
            for (bound, value) in
                of.interval.into_iter().flat_map(|(low, high)| [("low", low), ("high", high)])
            {
                bounds.push((format!("{labels},bound=\"{bound}\""), value * scale));
            }
        }
        if !bounds.is_empty() {
            let name = format!("{name}_interval");
            head(&mut out, &name, &format!("99 % interval of {}.", metric.title));
            bounds.iter().for_each(|(labels, value)| sample(&mut out, &name, labels, *value));
        }
    }
    head(&mut out, "lockbench_exit_code", "What the batch amounts to; 0 is a pass.");
    let exit_code = comparison.conclusion().exit_code;
    sample(&mut out, "lockbench_exit_code", &format!("scenario=\"{scenario}\""), exit_code.into());
    Ok(out)
}

/// Names end in their base unit.
fn family(metric: &Metric) -> String {
    let unit = match metric.unit {
        Unit::Ns => "_seconds",
        Unit::PerS => "_per_second",
        Unit::Count => "",
        Unit::Share => "_ratio",
    };
    format!("lockbench_{}{unit}", metric.name)
}

fn scale(unit: Unit) -> f64 {
    if unit == Unit::Ns { 1e-9 } else { 1.0 }
}

fn head(out: &mut String, name: &str, help: &str) {
    write!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n").expect("a text takes all");
}

fn sample(out: &mut String, name: &str, labels: &str, value: f64) {
    writeln!(out, "{name}{{{labels}}} {value}").expect("a text takes all");
}

/// The value of a label.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::fixture;

    /// Name, labels and value of a sample, read as the format says; a panic where it is none.
    fn read(line: &str) -> (String, Vec<(String, String)>, f64) {
        let (name, rest) = line.split_once('{').expect("labels");
        assert!(name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'), "{line}");
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{line}");
        let mut labels = Vec::new();
        let mut rest = rest;
        loop {
            let (label, quoted) = rest.split_once("=\"").expect("a label has a quoted value");
            assert!(label.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{line}");
            let (mut value, mut chars) = (String::new(), quoted.char_indices());
            let end = loop {
                match chars.next().expect("the quote ends") {
                    (at, '"') => break at,
                    (_, '\\') => value.push(match chars.next().expect("what is escaped").1 {
                        'n' => '\n',
                        c @ ('\\' | '"') => c,
                        c => panic!("\\{c}"),
                    }),
                    (_, c) => value.push(c),
                }
            };
            labels.push((label.to_owned(), value));
            match quoted[end + 1..].split_at(1) {
                (",", more) => rest = more,
                ("}", value) => return (name.to_owned(), labels, value.trim().parse().unwrap()),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn families_stand_together_each_sample_once_and_names_come_back_as_they_are() {
        let text = render(&fixture::named(&["a\"b\\c", "plain"], 3)).unwrap();
        assert!(text.ends_with('\n'));
        let (mut families, mut samples, mut contenders) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut family = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                family = rest.strip_suffix(" gauge").unwrap().to_owned();
                assert!(families.insert(family.clone()), "{family} comes twice");
            } else if !line.starts_with("# HELP ") {
                let (name, labels, value) = read(line);
                assert_eq!(name, family);
                assert!(value.is_finite());
                contenders.extend(
                    labels.iter().filter(|(name, _)| name == "contender").map(|(_, value)| value.clone()),
                );
                assert!(samples.insert((name, labels)), "{line} comes twice");
            }
        }
        assert!(contenders.contains("a\"b\\c"), "{contenders:?}");
        assert!(families.contains("lockbench_wait_p99_seconds") && families.contains("lockbench_exit_code"));
    }
}
