//! The tables below the charts: answers, guarantees, where tasks went, what the bench itself costs, where it ran.

use harness::record::{
    Amount, CheckVerdict, Expected, FaultFacts, FaultRecord, Role, RunRecord, Tally, Verdict,
};

use crate::format::{self, MISSING, count, duration, duration_or_missing, significant};
use crate::matrix::{CONTROLS, by_role, quantile};
use crate::sentences::{answer, blocks_named};
use crate::table::{Cell, Group, Head, Table, TableRow};
use crate::{Comparison, Row};

/// Per contender a line, per check a column: what was answered, on how much evidence.
pub(crate) fn verdicts(comparison: &Comparison) -> Table {
    let mut checks: Vec<&str> = Vec::new();
    for answer in comparison.records().flat_map(|run| &run.verdicts) {
        if !checks.contains(&answer.check.as_str()) {
            checks.push(&answer.check);
        }
    }
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

/// The promise in words.
pub(crate) fn promised(expected: Expected) -> &'static str {
    match expected {
        Expected::Holds => "holds",
        Expected::Violated => "violated",
        Expected::Either => "not judged",
    }
}

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

type Part = (&'static str, fn(&Tally) -> u64);

/// Where a task can end; planned is their sum.
const PARTS: &[Part] = &[
    ("Completed", |tally| tally.completed),
    ("Not offered", |tally| tally.not_offered),
    ("Rejected", |tally| tally.rejected),
    ("Refused", |tally| tally.refused),
    ("Failed", |tally| tally.failed),
    ("Timed out", |tally| tally.timed_out),
    ("Unknown", |tally| tally.unknown),
    ("Unfinished", |tally| tally.unfinished),
];

/// Where every planned task went, and how long those took that did not complete.
pub(crate) fn tally(comparison: &Comparison) -> Table {
    let mut head = vec![Head::number("Planned", "")];
    head.extend(PARTS.iter().map(|(name, _)| Head::number(name, "")));
    head.push(Head::text("Adds up"));
    head.push(Head::number("Not completed: p50", "intended start to returned"));
    head.push(Head::number("p99", ""));
    by_role(comparison, head, |row| {
        let planned = row.total(|run| run.tasks.planned);
        let parts: Vec<u64> = PARTS.iter().map(|(_, part)| row.total(|run| part(&run.tasks))).collect();
        let sum: u64 = parts.iter().sum();
        let mut cells = vec![Cell::count(planned)];
        cells.extend(parts.into_iter().map(Cell::count));
        cells.push(if sum == planned {
            Cell::text("yes")
        } else {
            Cell::text(format!("no: {}", count(sum)))
        });
        cells.extend([0.5, 0.99].map(|q| quantile(&row.latency.response_failed, q)));
        cells
    })
}

/// What was broken on purpose and what came of it; `None` where nothing was.
pub(crate) fn faults(comparison: &Comparison) -> Option<Table> {
    if comparison.records().all(|run| run.faults.planned == 0) {
        return None;
    }
    let head = vec![
        Head::number("Planned", ""),
        Head::number("Injected", "whose time came before the end of the run"),
        Head::number("Hit a holder", "a section was inside when its node stood still, or its key moved"),
        Head::number("Missed tries", "it had just left; tried again"),
        Head::number("Token regressions", "of those hit: wrote although a later token had entered"),
        Head::number("Writes refused", "of those hit: the agent refused"),
        Head::number("Key free after: p50", "from the fault to the next entry"),
        Head::number("Longest", ""),
        Head::number("Without service: p50", "the longest time without an entry, of each fault"),
        Head::number("Longest", ""),
        Head::text("Leaders hit, by member"),
        Head::number("Entries before", "the first fault"),
        Head::text("Last task"),
    ];
    Some(by_role(comparison, head, |row| {
        let total = |part: fn(&FaultFacts) -> u64| Cell::count(row.total(|run| part(&run.faults)));
        let each = || row.records.iter().flat_map(|run| &run.faults.faults);
        let spread = |part: fn(&FaultRecord) -> Option<u64>| {
            let mut spread: Vec<u64> = each().filter_map(part).collect();
            spread.sort_unstable();
            let median = spread.get(spread.len().saturating_sub(1) / 2);
            [median, spread.last()].map(|ns| Cell::duration(ns.copied()))
        };
        let [freed_p50, freed_longest] = spread(|fault| fault.freed_ns);
        let [unserved_p50, unserved_longest] = spread(|fault| fault.unserved_ns);
        let members: Vec<String> =
            each().filter_map(|fault| fault.member).map(|place| place.to_string()).collect();
        let came_back = row.records.iter().all(|run| run.faults.last_completed);
        vec![
            total(|faults| faults.planned),
            total(FaultFacts::injected),
            total(FaultFacts::hit_a_holder),
            Cell::count(each().map(|fault| u64::from(fault.misses)).sum()),
            total(FaultFacts::regressed),
            Cell::count(each().map(|fault| fault.rejections).sum()),
            freed_p50,
            freed_longest,
            unserved_p50,
            unserved_longest,
            Cell::words(&members.join(", ")),
            total(|faults| faults.entries_before),
            Cell::text(if came_back { "completed" } else { "did not complete" }),
        ]
    }))
}

/// What each run cost this process, and how late it was.
pub(crate) fn harness_cost(comparison: &Comparison) -> Table {
    let head = vec![
        Head::number("CPU / task", "this process, timer thread apart"),
        Head::number("Timer CPU / task", "it spins before each deadline"),
        Head::number("Start lag p99", "how late tasks started"),
        Head::number("Programmed wait", ""),
        Head::number("Measured wait p50", "start lag taken off"),
    ];
    by_role(comparison, head, |row| {
        let offered = row.total(|run| run.tasks.planned - run.tasks.not_offered.min(run.tasks.planned));
        let per_task = |ns: u64| {
            Cell::number(if offered == 0 { MISSING.to_owned() } else { duration(ns as f64 / offered as f64) })
        };
        vec![
            per_task(row.total(|run| run.process_cpu_ns)),
            per_task(row.total(|run| run.timer_cpu_ns)),
            quantile(&row.latency.lag, 0.99),
            Cell::duration(row.programmed_ns()),
            if row.programmed_ns().is_some() {
                Cell::duration(row.latency.delay_ns())
            } else {
                Cell::number(MISSING)
            },
        ]
    })
}

/// Names and values of one kind.
pub(crate) struct Facts {
    pub(crate) title: &'static str,
    pub(crate) facts: Vec<(String, String)>,
}

/// The bench's own cost before the first run, and what the plan promises of the controls.
pub(crate) fn bench(comparison: &Comparison) -> Facts {
    let (cost, plan) = (&comparison.manifest.harness, &comparison.manifest.plan);
    let fold = match plan.control_fold {
        0 | 1 => "keys as planned".to_owned(),
        n => format!("keys folded {n} to 1, since the plan alone predicts too few"),
    };
    let facts = [
        ("CPU per task, one after the other, history included", duration(cost.cpu_per_task_ns as f64)),
        (
            "Paced arrivals, without locks",
            format!(
                "{} tasks/s: {} CPU per task, {} of the timer, start lag p99 {}",
                significant(cost.rate_per_s),
                duration(cost.paced_cpu_per_task_ns as f64),
                duration(cost.timer_cpu_per_task_ns as f64),
                duration(cost.lag_p99_ns as f64)
            ),
        ),
        ("Overlaps predicted without exclusion", format!("{}; {fold}", count(plan.overlaps_predicted))),
    ];
    Facts { title: "The bench itself", facts: facts.map(|(name, value)| (name.to_owned(), value)).into() }
}

/// Machine, plan and software of the batch.
pub(crate) fn environment(comparison: &Comparison) -> Vec<Facts> {
    let manifest = &comparison.manifest;
    let (machine, plan) = (&manifest.machine, &manifest.plan);
    let named = |pairs: Vec<(&str, String)>| {
        pairs
            .into_iter()
            .map(|(name, value)| (name.to_owned(), if value.is_empty() { MISSING.to_owned() } else { value }))
            .collect()
    };
    let kinds: Vec<String> =
        plan.kinds.iter().map(|(kind, tasks)| format!("{} {kind}", count(*tasks))).collect();
    let busiest = plan.busiest.as_ref();
    let mut software = vec![
        ("lockbench".to_owned(), manifest.lockbench_version.clone()),
        ("Commit".to_owned(), manifest.commit.clone().unwrap_or_else(|| MISSING.to_owned())),
    ];
    software
        .extend(manifest.clients.iter().map(|(name, version)| (format!("Client {name}"), version.clone())));
    vec![
        Facts {
            title: "Machine",
            facts: named(vec![
                ("Processor", format!("{}, {}", machine.cpu, format::plural(machine.cores.into(), "core"))),
                ("Memory", format::bytes(machine.memory_bytes)),
                ("System", format!("{}, kernel {}", machine.os, machine.kernel)),
                ("File system of the servers' data", machine.filesystem.clone()),
                (
                    "4 KiB write with fdatasync, p50 / p99",
                    format!(
                        "{} / {}",
                        duration_or_missing(machine.fsync_p50_ns),
                        duration_or_missing(machine.fsync_p99_ns)
                    ),
                ),
                ("Loopback round trip, p50", duration_or_missing(machine.loopback_rtt_p50_ns)),
            ]),
        },
        Facts {
            title: "Plan",
            facts: named(vec![
                ("Tasks", format!("{} with {}", count(plan.tasks), format::plural(plan.steps, "step"))),
                ("Kinds", kinds.join(", ")),
                ("Nodes", count(plan.nodes.into())),
                ("Arrivals over", duration(plan.window_ns as f64)),
                (
                    "Busiest resource",
                    busiest.map_or_else(String::new, |(name, load)| {
                        format!("{name}, load {}", significant(*load))
                    }),
                ),
                ("Seed", manifest.seed.to_string()),
            ]),
        },
        Facts { title: "Software", facts: software },
    ]
}

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

/// The order in which the runs of the batch took place.
pub(crate) fn order(comparison: &Comparison) -> Vec<String> {
    let mut runs: Vec<&RunRecord> = comparison.records().collect();
    runs.sort_by_key(|run| run.order);
    runs.iter().map(|run| format!("{} (block {})", run.contender, run.block)).collect()
}

/// The command line as a shell takes it.
pub(crate) fn command(comparison: &Comparison) -> String {
    let quoted = |word: &String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    comparison.manifest.command.iter().map(quoted).collect::<Vec<_>>().join(" ")
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

    #[test]
    fn every_planned_task_is_accounted_for() {
        let mut comparison = fixture::small();
        let adds_up = |comparison: &Comparison| tally(comparison).groups[0].rows[0].cells[9].text.clone();
        assert_eq!(adds_up(&comparison), "yes");
        comparison.rows[0].records[0].tasks.unknown += 1;
        assert_eq!(adds_up(&comparison), "no: 12,001");
    }

    #[test]
    fn faults_are_counted_over_the_blocks_and_left_out_where_there_are_none() {
        let comparison = fixture::small();
        assert!(faults(&comparison).is_none());
        let comparison = fixture::faulted();
        let table = faults(&comparison).unwrap();
        let cells: Vec<_> = table.groups[0].rows[0].cells.iter().map(|cell| cell.text.as_str()).collect();
        // One of the two faults of the one block hit nobody.
        assert_eq!(cells[..6], ["2", "2", "1", "3", "1", "0"]);
        assert_eq!(cells[6..10], ["2.00\u{202f}s", "2.00\u{202f}s", "300\u{202f}ms", "2.00\u{202f}s"]);
        assert_eq!(table.groups[0].rows[1].cells[6].text, format::MISSING, "nobody was hit");
    }

    #[test]
    fn the_command_can_be_pasted_into_a_shell() {
        let mut comparison = fixture::small();
        comparison.manifest.command =
            ["lockbench", "run", "--set", "name=it's $HOME"].map(str::to_owned).into();
        assert_eq!(command(&comparison), r"lockbench run --set 'name=it'\''s $HOME'");
    }
}
