//! `summary.md`: what a pull request or a CI summary shows.

use std::fmt::Write as _;

use super::Renderer;
use crate::table::{Cell, Table};
use crate::{Comparison, ReportError, carries, cost, format, matrix, moves, sections, sentences};

pub(super) const RENDERER: Renderer = Renderer { name: "markdown", file: "summary.md", render };

fn render(comparison: &Comparison) -> Result<String, ReportError> {
    let manifest = &comparison.manifest;
    let mut out = String::new();
    line(&mut out, &format!("# {}", escape(&manifest.scenario)));
    line(&mut out, "");
    line(
        &mut out,
        &format!("{}. {}", format::utc(&manifest.started_utc), escape(&sentences::overview(comparison))),
    );
    line(&mut out, "");
    for finding in sentences::findings(comparison) {
        let icon = finding.badge.icon();
        let badge =
            format!("{icon}{}{}", if icon.is_empty() { "" } else { " " }, escape(&finding.badge.text));
        line(
            &mut out,
            &format!("- **{}: {badge}.** {}", finding.question, escape(&finding.sentences.join(" "))),
        );
    }
    line(&mut out, "");
    if let Some(capacity) = sections::capacity(comparison) {
        line(&mut out, &escape(&carries::level(comparison)));
        line(&mut out, "");
        table(&mut out, &capacity);
        line(&mut out, "");
    }
    table(&mut out, &matrix::table(comparison));
    line(&mut out, "");
    line(
        &mut out,
        "Rates are the median of the blocks with their range; percentiles are over all blocks merged; – is missing.",
    );
    line(&mut out, "");
    let reference = comparison.manifest.reference.as_deref().unwrap_or_default();
    let beside = format!("Beside {reference}, block by block, with the 99 % interval:");
    let tables = [
        (beside.as_str(), sections::differences(comparison)),
        ("When the last of a burst was served:", cost::bursts(comparison)),
        ("What each task cost, and what was held:", Some(cost::held(comparison))),
        ("What was broken on purpose:", sections::faults(comparison)),
        ("What moved keys cost:", moves::moves(comparison)),
    ];
    for (title, cells) in tables {
        let Some(cells) = cells else { continue };
        line(&mut out, title);
        line(&mut out, "");
        table(&mut out, &cells);
        line(&mut out, "");
    }
    line(&mut out, "Again with:");
    line(&mut out, "");
    line(&mut out, &format!("    {}", sections::command(comparison).replace('\n', " ")));
    Ok(out)
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

fn table(out: &mut String, table: &Table) {
    let head: Vec<String> = table.head.iter().map(|head| escape(&head.name)).collect();
    let rule: Vec<&str> = table.head.iter().map(|head| if head.numeric { "--:" } else { "---" }).collect();
    line(out, &format!("| Contender | {} |", head.join(" | ")));
    line(out, &format!("| --- | {} |", rule.join(" | ")));
    for group in &table.groups {
        if !group.label.is_empty() {
            line(out, &format!("| *{}* |{}", group.label, " |".repeat(head.len())));
        }
        for row in &group.rows {
            write!(out, "| {} |", escape(&row.name)).expect("a string takes all");
            for cell in &row.cells {
                write!(out, " {} |", shown(cell)).expect("a string takes all");
            }
            out.push('\n');
        }
    }
}

fn shown(cell: &Cell) -> String {
    let mark = cell.mark.map_or_else(String::new, |mark| format!("{} ", mark.icon()));
    let note = if cell.note.is_empty() { String::new() } else { format!(" ({})", escape(&cell.note)) };
    format!("{mark}{}{note}", escape(&cell.text))
}

/// Text that Markdown neither formats nor takes for the end of a cell.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '#' => out.extend(['\\', c]),
            '\n' | '\r' => out.push(' '),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn every_row_of_the_matrix_has_every_column() {
        let text = render(&fixture::named(&["pi|pe", "<script>"], 2)).unwrap();
        let matrix = text.split("Rates are").next().unwrap();
        let rows: Vec<_> = matrix.lines().filter(|line| line.starts_with('|')).collect();
        assert_eq!(rows.len(), 2 + 2 + 1 + 2, "head, contenders, label, controls:\n{text}");
        let columns = |row: &str| row.replace("\\|", "").matches('|').count();
        assert!(rows.iter().all(|row| columns(row) == columns(rows[0])), "{text}");
        assert!(text.contains("pi\\|pe") && text.contains("&lt;script>"), "{text}");
    }

    #[test]
    fn says_what_was_found_and_how_to_get_it_again() {
        let text = render(&fixture::small()).unwrap();
        assert!(
            text.starts_with("# hot-volumes\n\n2026-11-22 20:15:04 UTC. 2 contenders and 2 controls"),
            "{text}"
        );
        assert!(
            text.contains("- **Correctness: ✗ 3 exclusion broken.** redis-naive violated exclusion"),
            "{text}"
        );
        assert!(text.ends_with("    lockbench run hot-volumes --seed 42\n"), "{text}");
    }
}
