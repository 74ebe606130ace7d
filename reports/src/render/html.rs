//! `report.html`: one file for a review, without network and without script.

use askama::Template;

use super::Renderer;
use crate::chart::{self, Chart, palette};
use crate::sections::{self, Facts};
use crate::sentences::{self, Finding};
use crate::table::Table;
use crate::{Comparison, ReportError, carries, cost, format, gated, matrix, moves, noise};

pub(super) const RENDERER: Renderer = Renderer { name: "html", file: "report.html", render };

/// The page; the template puts it in order and escapes every value that is not marked safe.
#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    scenario: &'a str,
    started: String,
    ended: Option<String>,
    overview: String,
    summary: &'a str,
    colours: String,
    style: &'static str,
    findings: Vec<Finding>,
    capacity: Option<Table>,
    level: String,
    matrix: Table,
    gate: Option<Table>,
    differences: Option<Table>,
    reference: &'a str,
    charts: Vec<Chart>,
    verdicts: Table,
    guarantees: Table,
    told: Table,
    tally: Table,
    faults: Option<Table>,
    moves: Option<Table>,
    noise: Option<Table>,
    calibrated: String,
    looked: Option<String>,
    bursts: Option<Table>,
    held: Table,
    bench: Facts,
    cost: Table,
    environment: Vec<Facts>,
    servers: Table,
    mechanisms: Vec<(&'a str, &'a str)>,
    order: Vec<String>,
    command: String,
    spec: &'a str,
    threats: Vec<String>,
}

fn render(comparison: &Comparison) -> Result<String, ReportError> {
    let manifest = &comparison.manifest;
    let page = Page {
        scenario: &manifest.scenario,
        started: format::utc(&manifest.started_utc),
        ended: manifest.end.as_ref().map(|end| format::utc(&end.ended_utc)),
        overview: sentences::overview(comparison),
        summary: &manifest.summary,
        colours: palette::css(),
        style: include_str!("../../templates/report.css"),
        findings: sentences::findings(comparison),
        capacity: sections::capacity(comparison).map(|table| captioned("What each carries", table)),
        level: carries::level(comparison),
        matrix: captioned("Contenders side by side", matrix::table(comparison)),
        gate: gated::thresholds(comparison).map(|table| captioned("What the gate asked", table)),
        reference: manifest.reference.as_deref().unwrap_or_default(),
        differences: sections::differences(comparison).map(|table| captioned("Beside the reference", table)),
        charts: chart::all(comparison)?,
        verdicts: captioned("Answers of the checks", sections::verdicts(comparison)),
        guarantees: captioned("What a grant survives", sections::guarantees(comparison)),
        told: captioned("What they were told", sections::told(comparison)),
        tally: captioned("Where every task went", sections::tally(comparison)),
        faults: sections::faults(comparison).map(|table| captioned("What was broken on purpose", table)),
        moves: moves::moves(comparison).map(|table| captioned("What moved keys cost", table)),
        noise: noise::noise(comparison).map(|table| captioned("Noise floor", table)),
        calibrated: manifest.calibration.as_ref().map_or_else(String::new, |of| {
            format!(
                "{}, {} of {}",
                format::utc(&of.measured_utc),
                format::plural(of.blocks.into(), "block"),
                of.scenario
            )
        }),
        looked: (!manifest.looks.is_empty()).then(|| {
            let at: Vec<String> = manifest.looks.iter().map(u32::to_string).collect();
            format!(
                "Looks were planned after {} blocks, each with its part of that 1 %; this is the one after {}.",
                at.join(", "),
                manifest.blocks
            )
        }),
        bursts: cost::bursts(comparison).map(|table| captioned("When the last of a burst was served", table)),
        held: captioned("What each task cost, and what was held", cost::held(comparison)),
        bench: sections::bench(comparison),
        cost: captioned("What the bench cost in each row", sections::bench_cost(comparison)),
        environment: sections::environment(comparison),
        servers: captioned("Servers", sections::servers(comparison)),
        mechanisms: comparison
            .rows
            .iter()
            .map(|row| (row.contender.as_str(), row.summary.as_str()))
            .collect(),
        order: sections::order(comparison),
        command: sections::command(comparison),
        spec: &manifest.spec_toml,
        threats: sentences::threats(comparison),
    };
    page.render().map_err(|error| ReportError::Render { renderer: RENDERER.name, reason: error.to_string() })
}

fn captioned(caption: &str, table: Table) -> Table {
    Table { caption: caption.to_owned(), ..table }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn sections_come_in_the_order_of_a_review() {
        let html = render(&fixture::small()).unwrap();
        let ids = [
            "found",
            "matrix",
            "differences",
            "charts",
            "goodput",
            "tail",
            "throughput",
            "bystander",
            "verdicts",
            "guarantees",
            "told",
            "tally",
            "bench",
            "method",
        ];
        let places: Vec<usize> =
            ids.map(|id| html.find(&format!(" id=\"{id}\"")).unwrap_or_else(|| panic!("{id}"))).into();
        assert!(places.is_sorted(), "{places:?}");
    }

    #[test]
    fn the_page_needs_no_network_and_no_script() {
        let html = render(&fixture::rich()).unwrap();
        assert!(html.contains("default-src 'none'; style-src 'unsafe-inline'"));
        for part in ["<script", "src=", "http://", "https://", "@import", "url(", "<link"] {
            assert!(!html.contains(part), "{part}");
        }
        let targets = html.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap());
        for target in targets {
            assert!(
                target.starts_with('#') && html.contains(&format!("id=\"{}\"", &target[1..])),
                "{target}"
            );
        }
    }

    #[test]
    fn ids_are_unique_and_tags_close() {
        let html = render(&fixture::rich()).unwrap();
        let mut ids: Vec<_> =
            html.split(" id=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all);
        for tag in ["table", "svg", "details", "section", "figure", "td", "th", "tr", "div", "dl", "ul", "ol"]
        {
            let opened =
                html.matches(&format!("<{tag}>")).count() + html.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, html.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }

    #[test]
    fn twelve_contenders_in_five_blocks_stay_below_a_megabyte() {
        let names: Vec<&'static str> = (0..12).map(|n| &*format!("contender-{n}").leak()).collect();
        let html = render(&fixture::named(&names, 5)).unwrap();
        assert!(html.len() <= 1_000_000, "{} bytes", html.len());
        assert_eq!(html.matches("</svg>").count() - html.matches("class=\"key\"").count(), 5, "five charts");
    }

    #[test]
    fn names_and_settings_from_files_are_text() {
        let mut comparison = fixture::named(&["<script>alert(1)</script>"], 1);
        let server = comparison.rows[0].records[0].server.as_mut().unwrap();
        server.settings.insert("a\"b'".to_owned(), "</td><img>".to_owned());
        comparison.manifest.spec_toml = "</pre><b>".to_owned();
        let html = render(&comparison).unwrap();
        for part in ["<script", "<img", "</pre><b>", "a\"b"] {
            assert!(!html.contains(part), "{part}");
        }
        let title = html.matches("&lt;script&gt;").count() + html.matches("&#60;script&#62;").count();
        assert!(title > 8, "the name appears in tables and charts: {title}");
    }

    #[test]
    fn every_chart_is_named_and_followed_by_its_data() {
        let html = render(&fixture::small()).unwrap();
        let figures: Vec<_> =
            html.split("<figure").skip(1).map(|rest| rest.split("</figure>").next().unwrap()).collect();
        assert_eq!(figures.len(), 5);
        for figure in figures {
            for part in ["role=\"img\"", "<title id=", "<desc id=", "<details", "<table"] {
                assert!(figure.contains(part), "{part} in {figure}");
            }
            assert!(!figure.contains("#01"), "a stand-in colour is left");
        }
    }

    #[test]
    fn faults_have_a_table_and_shade_the_time_axis() {
        let (calm, faulted) = (render(&fixture::small()).unwrap(), render(&fixture::faulted()).unwrap());
        let shaded = |html: &str| {
            let chart =
                html.split("aria-labelledby=\"throughput-t").nth(1).unwrap().split("</svg>").next().unwrap();
            chart.matches("<rect").count()
        };
        assert_eq!(shaded(&faulted) - shaded(&calm), 2, "one band a fault");
        assert!(faulted.contains("id=\"faults\"") && faulted.contains("Token regressions"));
        assert!(faulted.contains("Longest stall of one") && !calm.contains("Longest stall of one"));
        assert!(!calm.contains("id=\"faults\"") && !calm.contains("#faults"));
    }

    #[test]
    fn missing_is_a_dash() {
        let mut comparison = fixture::small();
        comparison.manifest.machine.loopback_rtt_p50_ns = None;
        let html = render(&comparison).unwrap();
        assert!(html.contains("<dt>Loopback round trip, p50</dt><dd>–</dd>"));
    }
}
