//! Columns of a terminal.

use crate::table::{Cell, Table};

/// Lines in aligned columns, ruled off before some of them; columns of words stand to the left, of figures to the right. Ends
/// with a line feed.
pub(crate) fn aligned<L: AsRef<[String]>>(
    lines: &[L],
    ruled_before: &[usize],
    words: &dyn Fn(usize) -> bool,
) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for line in lines {
        for (column, cell) in line.as_ref().iter().enumerate() {
            let width = cell.chars().count();
            match widths.get_mut(column) {
                Some(widest) => *widest = (*widest).max(width),
                None => widths.push(width),
            }
        }
    }
    let mut out = String::new();
    for (place, line) in lines.iter().enumerate() {
        if place > 0 && ruled_before.contains(&place) {
            let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
            out.push_str(&rule.join("──"));
            out.push('\n');
        }
        let pad = |(column, (cell, width)): (usize, (&String, &usize))| {
            if words(column) { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        };
        let cells: Vec<String> = line.as_ref().iter().zip(&widths).enumerate().map(pad).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

/// A whole table, notes in brackets behind their cells.
pub(crate) fn plain(first: &str, table: &Table) -> String {
    let mut lines = vec![vec![first.to_owned()]];
    lines[0].extend(table.head.iter().map(|head| head.name.clone()));
    let mut ruled = vec![1];
    for group in &table.groups {
        ruled.push(lines.len());
        for row in &group.rows {
            let mut line = vec![without_controls(&row.name)];
            line.extend(row.cells.iter().map(|cell| without_controls(&shown(cell))));
            lines.push(line);
        }
    }
    aligned(&lines, &ruled, &|column| column == 0 || !table.head[column - 1].numeric)
}

fn shown(cell: &Cell) -> String {
    let mark = cell.mark.map_or_else(String::new, |mark| format!("{} ", mark.icon()));
    let note = if cell.note.is_empty() { String::new() } else { format!("  {}", cell.note) };
    format!("{mark}{}{note}", cell.text)
}

/// A name from a file must not move the cursor.
pub(crate) fn without_controls(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}
