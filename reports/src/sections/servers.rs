//! The servers that the rows ran against.

use crate::Comparison;
use crate::matrix::by_role;
use crate::table::{Cell, Head, Table};

/// The server of each row, as it answered itself.
pub(crate) fn servers(comparison: &Comparison) -> Table {
    let head = ["Server", "Version", "Settings in effect", "Origin"].map(Head::text).into();
    by_role(comparison, head, |row| {
        let Some(server) = row.records.iter().find_map(|run| run.server.as_ref()) else {
            return vec![Cell::text("none"), Cell::words(""), Cell::words(""), Cell::words("")];
        };
        let settings: Vec<String> =
            server.settings.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        [&server.name, &server.version, &settings.join("; "), &server.origin]
            .map(|text| Cell::words(text))
            .into()
    })
}
