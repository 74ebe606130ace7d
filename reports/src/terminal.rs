//! The table at the end of a run.

use harness::record::Role;

use crate::aligned::{aligned, without_controls};
use crate::carries::{figure, limit};
use crate::matrix::{completed, goodput, quantile};
use crate::table::Cell;
use crate::{Comparison, Row, callers};

const HEAD: [&str; 7] =
    ["contender", "goodput /s (blocks)", "wait p50", "wait p99", "hand-over p50", "completed", "verdict"];

/// What each carries, where that was looked for; then one line per contender, then per control, in aligned columns; ends with
/// a line feed.
#[must_use]
pub fn terminal_table(comparison: &Comparison) -> String {
    let mut out = callers::omission(comparison).map_or_else(String::new, |said| format!("{said}\n\n"));
    let carried = comparison.carried();
    if !carried.is_empty() {
        let lines = carried.iter().map(|one| {
            let Cell { text, note, .. } = figure(one);
            [one.contender.clone(), text, note, limit(one).unwrap_or_default().to_owned()]
        });
        let head = ["contender", "capacity /s", "99 % interval", "ends at"].map(str::to_owned);
        let contenders = carried.iter().filter(|one| one.role == Role::Contender).count();
        let lines: Vec<_> = std::iter::once(head).chain(lines).collect();
        out += &aligned(&lines, &[1, contenders + 1], &|column| column == 0 || column == 3);
        out.push('\n');
    }
    let mut lines = vec![HEAD.map(str::to_owned)];
    lines.extend(comparison.contenders().map(|row| line(comparison, row)));
    let first_control = lines.len();
    lines.extend(comparison.controls().map(|row| line(comparison, row)));
    // Words to the left, figures to the right.
    out + &aligned(&lines, &[1, first_control], &|column| column == 0 || column == HEAD.len() - 1)
}

fn line(comparison: &Comparison, row: &Row) -> [String; HEAD.len()] {
    let latency = &row.latency;
    let done = completed(row);
    let verdict = Cell::from(comparison.standing_of(row));
    [
        without_controls(&row.contender),
        goodput_range(row),
        quantile(&latency.wait, 0.5).text,
        quantile(&latency.wait, 0.99).text,
        quantile(&latency.hand_over, 0.5).text,
        format!("{} {}", done.text, done.note),
        format!("{} {}", verdict.icon(), verdict.text),
    ]
}

/// `980 (974–985)`.
fn goodput_range(row: &Row) -> String {
    let Cell { text, note, .. } = goodput(row);
    if note.is_empty() { text } else { format!("{text} ({note})") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn columns_align_and_controls_are_ruled_off() {
        let text = terminal_table(&fixture::small());
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 1 + 1 + 2 + 1 + 2, "head, rule, contenders, rule, controls: {text}");
        assert!(lines[2].starts_with("ring-queue") && lines[2].ends_with("✓ PASS"), "{text}");
        assert!(lines[3].ends_with("✗ 3 exclusion broken"), "{text}");
        let verdicts: Vec<_> =
            [2, 3, 5, 6].map(|line| lines[line].chars().position(|c| "✓✗".contains(c))).into();
        assert!(verdicts.iter().all(|at| *at == verdicts[0]), "{text}");
    }
}
