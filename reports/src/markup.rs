//! Markdown as GitHub reads it.

use std::fmt::Write as _;

use crate::table::{Cell, Table};

/// Adds a line.
pub(crate) fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

/// A table as GitHub draws it; the first column has this name.
pub(crate) fn table(out: &mut String, first: &str, table: &Table) {
    let head: Vec<String> = table.head.iter().map(|head| escape(&head.name)).collect();
    let rule: Vec<&str> = table.head.iter().map(|head| if head.numeric { "--:" } else { "---" }).collect();
    line(out, &format!("| {first} | {} |", head.join(" | ")));
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
pub(crate) fn escape(text: &str) -> String {
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
