//! The table at the end of a run.

use harness::record::Role;

use crate::carries::{figure, limit};
use crate::matrix::{completed, goodput, quantile};
use crate::table::Cell;
use crate::{Comparison, Row};

const HEAD: [&str; 7] =
    ["contender", "goodput /s (blocks)", "wait p50", "wait p99", "hand-over p50", "completed", "verdict"];

/// What each carries, where that was looked for; then one line per contender, then per control, in aligned columns; ends with
/// a line feed.
#[must_use]
pub fn terminal_table(comparison: &Comparison) -> String {
    let mut out = String::new();
    let carried = comparison.carried();
    if !carried.is_empty() {
        let lines = carried.iter().map(|one| {
            let Cell { text, note, .. } = figure(one);
            [one.contender.clone(), text, note, limit(one).unwrap_or_default().to_owned()]
        });
        let head = ["contender", "capacity /s", "99 % interval", "ends at"].map(str::to_owned);
        let contenders = carried.iter().filter(|one| one.role == Role::Contender).count();
        aligned(&mut out, &std::iter::once(head).chain(lines).collect::<Vec<_>>(), contenders + 1);
        out.push('\n');
    }
    let mut lines = vec![HEAD.map(str::to_owned)];
    lines.extend(comparison.contenders().map(|row| line(comparison, row)));
    let first_control = lines.len();
    lines.extend(comparison.controls().map(|row| line(comparison, row)));
    aligned(&mut out, &lines, first_control);
    out
}

fn aligned<const N: usize>(out: &mut String, lines: &[[String; N]], first_control: usize) {
    let mut widths = [0; N];
    for line in lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for (place, line) in lines.iter().enumerate() {
        if place == 1 || (place == first_control && place > 1) {
            let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
            out.push_str(&rule.join("──"));
            out.push('\n');
        }
        let cells = line.iter().zip(widths).enumerate();
        // Words to the left, figures to the right.
        let cells: Vec<String> = cells
            .map(|(column, (cell, width))| match column == 0 || column == N - 1 {
                true => format!("{cell:<width$}"),
                false => format!("{cell:>width$}"),
            })
            .collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
}

fn line(comparison: &Comparison, row: &Row) -> [String; HEAD.len()] {
    let latency = &row.latency;
    let both = |cell: Cell, open: &str, close: &str| format!("{}{open}{}{close}", cell.text, cell.note);
    let verdict = Cell::from(comparison.standing_of(row));
    [
        // A name from a file must not move the cursor.
        row.contender.chars().filter(|c| !c.is_control()).collect(),
        both(goodput(row), " (", ")"),
        quantile(&latency.wait, 0.5).text,
        quantile(&latency.wait, 0.99).text,
        quantile(&latency.hand_over, 0.5).text,
        both(completed(row), " ", ""),
        format!("{} {}", verdict.icon(), verdict.text),
    ]
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
