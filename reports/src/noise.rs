//! How much figures stray on the machine of a batch, as far as somebody has measured it.

use harness::record::{Calibration, Metric, Unit};

use crate::table::{Cell, Group, Head, Table, TableRow};
use crate::{Comparison, aligned};

/// The noise floor that was known when the batch began; `None` where none was.
pub(crate) fn noise(comparison: &Comparison) -> Option<Table> {
    comparison.manifest.calibration.as_ref().map(|calibration| table(calibration, true))
}

/// All floors of a calibration for a terminal; ends with a line feed.
#[must_use]
pub fn noise_table(calibration: &Calibration) -> String {
    aligned::plain("Contender", &table(calibration, false))
}

/// A row a contender and metric; in a report those alone that contenders are told apart by.
fn table(calibration: &Calibration, primary_alone: bool) -> Table {
    let shown = |metric: &str| !primary_alone || Metric::named(metric).is_some_and(|metric| metric.primary);
    let floors = calibration.floors.iter().filter(|floor| shown(&floor.metric));
    let rows = floors.map(|floor| {
        let share = |value: f64| Cell::number(Unit::Share.show(value));
        TableRow {
            name: floor.contender.clone(),
            goes_on: false,
            cells: vec![
                Cell::text(floor.metric.clone()),
                share(floor.log_ratio_sd),
                share(floor.detectable_by_6),
                share(floor.detectable_by_10),
                Cell::count(floor.blocks.into()),
            ],
        }
    });
    let head = vec![
        Head::text("Figure"),
        Head::number("Noise", "of one block's ratio, standard deviation"),
        Head::number("6 blocks find", "least effect, 80 % power"),
        Head::number("10 blocks find", "least effect, 80 % power"),
        Head::number("Blocks", ""),
    ];
    Table { head, groups: vec![Group { label: "", rows: rows.collect() }], ..Table::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn a_report_has_the_floor_of_what_contenders_are_told_apart_by() {
        let mut comparison = fixture::small();
        assert!(noise(&comparison).is_none());
        comparison.manifest.calibration = Some(fixture::calibration());
        let table = noise(&comparison).unwrap();
        assert_eq!(table.groups[0].rows.len(), 1);
        let cells: Vec<_> = table.groups[0].rows[0].cells.iter().map(|cell| cell.text.as_str()).collect();
        assert_eq!(cells, ["goodput", "5 %", "16 %", "10 %", "10"]);
    }
}
