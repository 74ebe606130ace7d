//! What a million tasks cost in money: of every input it is said whether it was measured or is assumed.

use harness::record::{Prices, RunRecord};

use crate::format::{self, MISSING};
use crate::matrix::by_role;
use crate::table::{Cell, Group, Head, Table, TableRow};
use crate::{Comparison, Row};

const HOUR_NS: f64 = 3.6e12;
const MILLION: f64 = 1e6;

/// What goes into the costs; `None` where the batch was run before there were any.
pub(crate) fn inputs(comparison: &Comparison) -> Option<Table> {
    let prices = comparison.manifest.prices.as_ref()?;
    let Prices { currency, members, server_hour, core_hour, million_requests, stated } = prices;
    let source = |field: &str| match stated.iter().any(|name| name == field) {
        true => Cell::text("assumed").noted(format!("stated by the scenario, prices.{field}")),
        false => Cell::text("assumed").noted(format!("a round figure; set prices.{field}")),
    };
    let money = |price: f64| Cell::number(format!("{} {currency}", format::significant(price)));
    let row = |name: &str, value: Cell, from: Cell| TableRow {
        name: name.to_owned(),
        goes_on: false,
        cells: vec![value, from],
    };
    let rows = vec![
        row("A server for an hour", money(*server_hour), source("server_hour")),
        row("A processor of a node for an hour", money(*core_hour), source("core_hour")),
        row("A million requests to a service", money(*million_requests), source("million_requests")),
        row(
            "Servers of a product",
            Cell::count(u64::from(*members)),
            Cell::text("measured").noted("as many as ran here"),
        ),
        row(
            "Requests, and processor time of nodes",
            Cell::number(""),
            Cell::text("measured").noted("per task, below"),
        ),
        row(
            "Tasks an hour",
            Cell::number(""),
            Cell::text("measured").noted("those that completed here, which an hour would go on with"),
        ),
    ];
    let head = vec![Head::number("Value", ""), Head::text("Measured or assumed")];
    Some(Table { head, groups: vec![Group { label: "", rows }], ..Table::default() })
}

/// What a million tasks cost each contender.
pub(crate) fn costs(comparison: &Comparison) -> Option<Table> {
    let prices = comparison.manifest.prices.as_ref()?;
    let head = vec![
        Head::number("Own servers", "servers × their price ÷ tasks an hour"),
        Head::number("As a service", "requests × their price"),
        Head::number("Nodes", "their processor time × its price"),
        Head::number("With own servers", "and with every price half as high, and half as high again"),
        Head::number("With a service", "and with every price half as high, and half as high again"),
    ];
    Some(by_role(comparison, head, |row| {
        let Cost { servers, service, nodes } = Cost::of(row, prices);
        let both = |a: Option<f64>| sum(a, nodes);
        let money =
            |cost: Option<f64>| Cell::number(cost.map_or_else(|| MISSING.to_owned(), format::significant));
        let around = |cost: Option<f64>| match cost {
            Some(cost) => money(Some(cost)).noted(format!(
                "{} to {}",
                format::significant(cost * 0.5),
                format::significant(cost * 1.5)
            )),
            None => money(None),
        };
        vec![money(servers), money(service), money(nodes), around(both(servers)), around(both(service))]
    }))
}

/// Of a million tasks. All grows with the prices alone, so that half of every price is half of it.
#[derive(Debug, PartialEq)]
struct Cost {
    /// 0 where there is no server.
    servers: Option<f64>,
    /// `None` where nobody counted requests.
    service: Option<f64>,
    nodes: Option<f64>,
}

impl Cost {
    fn of(row: &Row, prices: &Prices) -> Self {
        let valid = || row.valid();
        let completed: u64 = valid().map(|run| run.tasks.completed).sum();
        let per_task = |part: fn(&RunRecord) -> Option<u64>| {
            let sum: Option<u64> = valid().map(part).sum();
            sum.filter(|_| completed > 0).map(|sum| sum as f64 / completed as f64)
        };
        let an_hour = row.goodput_per_s.map(|spread| spread.median * 3_600.0).filter(|rate| *rate > 0.0);
        let has_server = valid().any(|run| run.server.is_some());
        let servers = match has_server {
            true => an_hour.map(|tasks| f64::from(prices.members) * prices.server_hour / tasks * MILLION),
            false => Some(0.0).filter(|_| completed > 0),
        };
        let requests = per_task(RunRecord::load_operations).filter(|_| has_server);
        let nodes = per_task(|run| Some(run.process_cpu_ns + run.timer_cpu_ns));
        Self {
            servers,
            service: requests.map(|requests| requests * prices.million_requests),
            nodes: nodes.map(|ns| ns / HOUR_NS * prices.core_hour * MILLION),
        }
    }
}

fn sum(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    Some(a? + b?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn a_cost_is_what_the_arithmetic_says_and_follows_its_prices() {
        let mut comparison = fixture::overtaken();
        let prices = comparison.manifest.prices.clone().unwrap();
        let row = comparison.rows.iter_mut().find(|row| row.contender == "redis-naive").unwrap();
        for run in &mut row.records {
            (run.process_cpu_ns, run.timer_cpu_ns) = (3_600_000_000, 0);
        }
        let completed: u64 = row.records.iter().map(|run| run.tasks.completed).sum();
        let operations: u64 = row.records.iter().filter_map(RunRecord::load_operations).sum();
        let cost = Cost::of(row, &prices);
        let near = |cost: Option<f64>, expected: f64| (cost.unwrap() / expected - 1.0).abs() < 1e-9;
        let goodput = row.goodput_per_s.unwrap().median;
        assert!(near(cost.servers, 3.0 * 0.10 / (goodput * 3_600.0) * 1e6), "{cost:?}");
        assert!(near(cost.service, operations as f64 / completed as f64 * 0.50), "{cost:?}");
        // 3 runs of 3.6 s of a processor at 0.05 an hour.
        assert!(near(cost.nodes, 3.0 * 0.001 * 0.05 / completed as f64 * 1e6), "{cost:?}");
        let twice = Prices { server_hour: 0.20, ..prices };
        assert!(near(Cost::of(row, &twice).servers, 2.0 * cost.servers.unwrap()));
    }

    #[test]
    fn what_has_no_server_pays_for_none_and_what_is_assumed_says_so() {
        assert!(inputs(&fixture::small()).is_none(), "a batch of before");
        let comparison = fixture::overtaken();
        let table = costs(&comparison).unwrap();
        let ring = &table.groups[0].rows[0];
        assert_eq!((ring.cells[0].text.as_str(), ring.cells[1].text.as_str()), ("0", MISSING));
        let inputs = inputs(&comparison).unwrap();
        let rows = &inputs.groups[0].rows;
        assert!(rows[1].cells[1].note.contains("stated by the scenario"), "{:?}", rows[1]);
        assert!(rows[0].cells[1].note.contains("set prices.server_hour"), "{:?}", rows[0]);
        assert!(rows[..3].iter().all(|row| row.cells[1].text == "assumed"));
        assert!(rows[3..].iter().all(|row| row.cells[1].text == "measured"));
    }
}
