//! How much each contender carries, beside the ceilings.

use harness::record::capacity::Carried;
use harness::record::difference::{Ratio, Rule, decide};
use harness::record::{Better, Role};

use crate::Comparison;
use crate::carries::{figure, limit};
use crate::format::{self, MISSING};
use crate::sections::differences::cell as difference_cell;
use crate::table::{Cell, Group, Head, Table, TableRow};

/// The label of the rows that are not compared.
const CEILINGS: &str = "Ceilings: what the bench itself carries";

/// Every contender's capacity; `None` where none was looked for.
pub(crate) fn capacity(comparison: &Comparison) -> Option<Table> {
    let all = comparison.carried();
    if all.is_empty() {
        return None;
    }
    let compared = beside(comparison, &all);
    let group = |label, role| Group {
        label,
        rows: all
            .iter()
            .zip(&compared)
            .filter(|(carried, _)| carried.role == role)
            .map(|(carried, beside)| TableRow {
                name: carried.contender.clone(),
                goes_on: false,
                cells: cells(carried, beside.clone()),
            })
            .collect(),
    };
    let mut groups = vec![group("", Role::Contender), group(CEILINGS, Role::Control)];
    groups.retain(|group| !group.rows.is_empty());
    let head = vec![
        Head::number("Capacity /s", "99 % interval"),
        Head::number("Beside the reference", "times, 99 % interval"),
        Head::text("Ends at"),
        Head::number("Hottest resource /s", "were it never idle"),
        Head::number("Server", "of all processors"),
        Head::number("Nodes", "and driver"),
        Head::number("Timer", ""),
    ];
    Some(Table { head, groups, ..Table::default() })
}

fn cells(carried: &Carried, beside: Cell) -> Vec<Cell> {
    let percent = |share: Option<f64>| {
        Cell::number(share.map_or_else(|| MISSING.to_owned(), |share| format!("{:.0} %", 100.0 * share)))
    };
    let processors = carried.processors;
    vec![
        figure(carried),
        beside,
        Cell::words(limit(carried).unwrap_or("")),
        Cell::number(carried.workload_per_s.map_or_else(|| MISSING.to_owned(), format::significant)),
        percent(processors.and_then(|of| of.server)),
        percent(processors.map(|of| of.nodes)),
        percent(processors.map(|of| of.timer)),
    ]
}

/// Each beside the reference, block by block. What ends at a ceiling is not its own, so it is not compared.
fn beside(comparison: &Comparison, all: &[Carried]) -> Vec<Cell> {
    let own = |carried: &&Carried| carried.role == Role::Contender && carried.limited.is_none();
    let name = comparison.manifest.reference.as_deref().unwrap_or_default();
    let reference = all.iter().filter(own).find(|carried| carried.contender == name);
    let paired: Vec<Option<Ratio>> = all
        .iter()
        .map(|carried| {
            let reference =
                reference.filter(|other| own(&carried) && other.contender != carried.contender)?;
            let of = |block: u32| reference.blocks.iter().find(|(other, _)| *other == block);
            Ratio::paired(carried.blocks.iter().filter_map(|(block, rate)| Some((*rate, of(*block)?.1))))
        })
        .collect();
    let family: Vec<Ratio> = paired.iter().flatten().copied().collect();
    let mut decided = decide(&family, &Rule::default()).into_iter();
    paired
        .iter()
        .map(|paired| match paired.and_then(|_| decided.next()) {
            Some(decided) => difference_cell(&decided, Better::More),
            None => Cell::number(MISSING),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn cells<'a>(table: &'a Table, name: &str) -> &'a [Cell] {
        let mut rows = table.groups.iter().flat_map(|group| &group.rows);
        &rows.find(|row| row.name == name).unwrap().cells
    }

    #[test]
    fn each_has_a_capacity_with_its_interval_and_is_compared() {
        let table = capacity(&fixture::probed()).unwrap();
        let own = cells(&table, "ring-queue");
        assert!(own[0].note.contains("3 blocks") && own[0].note.contains('–'), "{own:?}");
        assert_eq!(own[1].note, "worse", "{own:?}");
        assert_eq!(cells(&table, "redis-queue")[1].text, MISSING, "nobody is compared with himself");
    }

    #[test]
    fn what_ends_at_a_ceiling_is_neither_its_own_nor_compared() {
        for (bench, ceiling) in [(true, "the bench"), (false, "the workload")] {
            let mut comparison = fixture::probed();
            let controls = comparison.probes.iter_mut().filter(|run| run.role == Role::Control);
            for run in controls.filter(|run| run.programmed_delay_ns.is_some() == bench) {
                let probe = run.probe.as_mut().unwrap();
                probe.rate_per_s /= 8.0;
            }
            let table = capacity(&comparison).unwrap();
            let near = cells(&table, "pg-mux");
            assert_eq!((near[2].text.as_str(), near[1].text.as_str()), (ceiling, MISSING));
            assert_eq!(cells(&table, "ring-queue")[2].text, MISSING);
        }
    }

    #[test]
    fn a_batch_without_probes_has_none() {
        assert!(capacity(&fixture::small()).is_none());
    }
}
