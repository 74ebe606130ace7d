//! What the checks answered, on how much evidence.

use harness::record::{Amount, CheckVerdict, Role, Verdict};

use crate::format::{count, duration};
use crate::matrix::CONTROLS;
use crate::sentences::{answer, blocks_named};
use crate::table::{Cell, Group, Head, Table, TableRow};
use crate::{Comparison, Row};

/// Per contender a line, per check a column: what was answered, on how much evidence.
pub(crate) fn verdicts(comparison: &Comparison) -> Table {
    let (checks, _) = asked(comparison);
    let group = |label, role| Group {
        label,
        rows: comparison
            .rows
            .iter()
            .filter(|row| row.role == role)
            .flat_map(|row| answers_of(row, &checks))
            .collect(),
    };
    let mut groups = vec![group("", Role::Contender), group(CONTROLS, Role::Control)];
    groups.retain(|group| !group.rows.is_empty());
    Table { head: checks.iter().map(|check| Head::text(check)).collect(), groups, ..Table::default() }
}

/// The checks that were put to anybody, and those that apply to nobody, each with why.
fn asked(comparison: &Comparison) -> (Vec<&str>, Vec<(&str, &str)>) {
    let answers = || comparison.records().flat_map(|run| &run.verdicts);
    let (mut asked, mut idle): (Vec<&str>, Vec<(&str, &str)>) = (Vec::new(), Vec::new());
    for answer in answers() {
        let name = answer.check.as_str();
        let of_it = || answers().filter(|other| other.check == name);
        match &answer.verdict {
            _ if asked.contains(&name) || idle.iter().any(|(known, _)| *known == name) => {}
            Verdict::NotApplicable { reason }
                if of_it().all(|other| matches!(other.verdict, Verdict::NotApplicable { .. })) =>
            {
                idle.push((name, reason));
            }
            _ => asked.push(name),
        }
    }
    (asked, idle)
}

/// A sentence on the checks that apply to nobody here; empty: there are none.
pub(crate) fn not_asked(comparison: &Comparison) -> String {
    let (_, idle) = asked(comparison);
    if idle.is_empty() {
        return String::new();
    }
    let each: Vec<String> = idle.iter().map(|(check, why)| format!("{check} ({why})")).collect();
    format!("Not applicable to anybody here: {}.", each.join("; "))
}

/// One line, and one more for every kind of answer that differs between blocks, so that none hides behind the others.
fn answers_of(row: &Row, checks: &[&str]) -> Vec<TableRow> {
    let kinds: Vec<Vec<Cell>> = checks.iter().map(|check| kinds_of_answer(row, check)).collect();
    let lines = kinds.iter().map(Vec::len).max().unwrap_or(0);
    let line = |place: usize| TableRow {
        name: row.contender.clone(),
        goes_on: place > 0,
        cells: kinds.iter().map(|cells| cells.get(place).cloned().unwrap_or_default()).collect(),
    };
    (0..lines).map(line).collect()
}

/// The answers of one check, those alike in one cell.
fn kinds_of_answer(row: &Row, check: &str) -> Vec<Cell> {
    let mut kinds: Vec<Vec<(u32, &CheckVerdict)>> = Vec::new();
    for run in &row.records {
        for each in run.verdicts.iter().filter(|answer| answer.check == check) {
            let same = kinds.iter_mut().find(|kind| {
                let (_, first) = kind[0];
                first.expected == each.expected && alike(&first.verdict, &each.verdict)
            });
            match same {
                Some(kind) => kind.push((run.block, each)),
                None => kinds.push(vec![(run.block, each)]),
            }
        }
    }
    let differs = kinds.len() > 1;
    kinds
        .iter()
        .map(|kind| {
            let (_, first) = kind[0];
            let mut cell = answer(&first.verdict, first.expected, row.role == Role::Control);
            let mut notes: Vec<String> = Vec::new();
            if differs {
                let blocks: Vec<u32> = kind.iter().map(|(block, _)| *block).collect();
                notes.push(blocks_named(&blocks));
            }
            if let Verdict::Violated { witness } = &first.verdict {
                cell.witness.clone_from(witness);
            }
            match cell.note.as_str() {
                "" => notes.push(evidence(kind)),
                reason => notes.push(reason.to_owned()),
            }
            notes.extend(figures(kind));
            cell.noted(notes.join("; "))
        })
        .collect()
}

fn evidence(kind: &[(u32, &CheckVerdict)]) -> String {
    let examined = count(kind.iter().map(|(_, each)| each.examined).sum());
    match kind.iter().map(|(_, each)| each.violations).sum() {
        0 => format!("{examined} examined"),
        violations => format!("{} of {examined}", count(violations)),
    }
}

/// What was measured beside the answers; nothing measured is not worth a word.
fn figures(kind: &[(u32, &CheckVerdict)]) -> Vec<String> {
    let mut sums: Vec<(&str, Amount)> = Vec::new();
    for figure in kind.iter().flat_map(|(_, each)| &each.figures) {
        match (sums.iter_mut().find(|(name, _)| *name == figure.name), figure.amount) {
            (Some((_, Amount::Count(sum))), Amount::Count(more)) => *sum += more,
            (Some((_, Amount::Ns(longest))), Amount::Ns(ns)) => *longest = ns.max(*longest),
            (_, amount) => sums.push((&figure.name, amount)),
        }
    }
    let text = |(name, amount): (&str, Amount)| match amount {
        Amount::Count(0) | Amount::Ns(0) => None,
        Amount::Count(n) => Some(format!("{name} {}", count(n))),
        Amount::Ns(ns) => Some(format!("{name} {}", duration(ns as f64))),
    };
    sums.into_iter().filter_map(text).collect()
}

/// The same answer for a reader: witnesses differ from run to run, reasons must not.
fn alike(a: &Verdict, b: &Verdict) -> bool {
    match (a, b) {
        (Verdict::Violated { .. }, Verdict::Violated { .. }) => true,
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use harness::record::CheckFigure;

    use super::*;
    use crate::fixture;

    #[test]
    fn controls_that_are_violated_were_caught_as_they_must_be() {
        let table = verdicts(&fixture::small());
        assert_eq!(table.groups[1].label, CONTROLS);
        let none = &table.groups[1].rows[0];
        assert_eq!((none.name.as_str(), none.cells[0].text.as_str()), ("none", "caught (as it must be)"));
        assert!(
            none.cells[0].note.starts_with("336 of "),
            "112 in each of three blocks: {:?}",
            none.cells[0]
        );
    }

    #[test]
    fn every_check_has_a_column_and_every_contender_a_line() {
        let table = verdicts(&fixture::small());
        let checks: Vec<_> = table.head.iter().map(|head| head.name.as_str()).collect();
        assert_eq!(checks, ["exclusion", "lost-update", "conservation"]);
        assert!(table.groups.iter().all(|group| group.rows.len() == 2), "{table:?}");
    }

    #[test]
    fn a_check_that_applies_to_nobody_is_a_sentence_and_no_column() {
        let mut comparison = fixture::small();
        for run in comparison.rows.iter_mut().flat_map(|row| &mut row.records) {
            run.verdicts[1].verdict = Verdict::NotApplicable { reason: "no values".to_owned() };
        }
        let table = verdicts(&comparison);
        let checks: Vec<_> = table.head.iter().map(|head| head.name.as_str()).collect();
        assert_eq!(checks, ["exclusion", "conservation"]);
        assert_eq!(not_asked(&comparison), "Not applicable to anybody here: lost-update (no values).");
        assert_eq!(not_asked(&fixture::small()), "");
    }

    #[test]
    fn a_block_that_differs_has_its_own_line() {
        let mut comparison = fixture::small();
        comparison.rows[0].records[1].verdicts[0].verdict = Verdict::Unknown { reason: "too few".to_owned() };
        let rows = &verdicts(&comparison).groups[0].rows;
        assert!(rows[0].cells[0].note.starts_with("blocks 1, 3; "), "{:?}", rows[0].cells[0]);
        assert_eq!(rows[1].cells[0].note, "block 2; too few");
        assert_eq!((rows[1].goes_on, rows[1].cells[1].text.as_str()), (true, ""));
    }

    #[test]
    fn counts_of_blocks_add_up_and_of_times_the_longest_is_shown() {
        let mut comparison = fixture::small();
        for (run, (n, ns)) in
            comparison.rows[0].records.iter_mut().zip([(1, 5_000_000), (2, 9_000_000), (0, 0)])
        {
            let figure = |name: &str, amount| CheckFigure { name: name.to_owned(), amount };
            run.verdicts[0].figures = vec![
                figure("overlaps", Amount::Count(n)),
                figure("longest", Amount::Ns(ns)),
                figure("none", Amount::Count(0)),
            ];
        }
        let note = verdicts(&comparison).groups[0].rows[0].cells[0].note.replace('\u{202f}', " ");
        assert!(note.ends_with("examined; overlaps 3; longest 9.00 ms"), "{note}");
    }
}
