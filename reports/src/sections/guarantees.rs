//! What a grant is worth when something fails.

use crate::Comparison;
use crate::matrix::by_role;
use crate::table::{Cell, Head, Table};

/// What a grant survives and how the loss of a node is noticed.
pub(crate) fn guarantees(comparison: &Comparison) -> Table {
    let head = ["Node crashes", "Server or owner is killed", "Power is lost", "Loss of a node is noticed by"]
        .map(Head::text);
    by_role(comparison, head.into(), |row| {
        let run = &row.records[0];
        let survives = &run.survives;
        [&survives.node_crash, &survives.server_kill, &survives.power_loss, &run.detection]
            .map(|text| Cell::words(text))
            .into()
    })
}
