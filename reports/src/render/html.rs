//! `report.html`: one file for a review. It needs no network, and its script only for what is convenient.

use askama::Template;

use super::Renderer;
use crate::chart::{self, Chart, Key, palette};
use crate::sections::{self, Facts};
use crate::sentences::{self, Finding};
use crate::table::Table;
use crate::{
    Comparison, ReportError, callers, carries, cost, format, gated, matrix, moves, noise, prices, sealed,
    threats,
};

pub(super) const RENDERER: Renderer = Renderer { name: "html", file: "report.html", render };

/// The page; the template puts it in order and escapes every value that is not marked safe.
#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    scenario: String,
    omission: Option<String>,
    started: String,
    ended: Option<String>,
    overview: String,
    summary: &'a str,
    colours: String,
    style: &'static str,
    blank: &'static str,
    sealed: String,
    script: &'static str,
    script_digest: &'static str,
    findings: Vec<Finding>,
    capacity: Option<Table>,
    level: String,
    matrix: Table,
    gate: Option<Table>,
    differences: Option<Table>,
    reference: &'a str,
    charts: Vec<Chart>,
    contenders: Vec<Key>,
    timelines: Vec<Chart>,
    more_timelines: usize,
    verdicts: Table,
    not_asked: String,
    guarantees: Table,
    told: Option<Table>,
    tally: Table,
    faults: Option<Table>,
    moves: Option<Table>,
    noise: Option<Table>,
    calibrated: String,
    looked: Option<String>,
    bursts: Option<Table>,
    held: Table,
    prices: Option<Table>,
    priced: Option<Table>,
    currency: &'a str,
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
    let (timelines, more_timelines) = chart::timelines(comparison)?;
    let page = Page {
        scenario: callers::title(comparison),
        omission: callers::omission(comparison),
        started: format::utc(&manifest.started_utc),
        ended: manifest.end.as_ref().map(|end| format::utc(&end.ended_utc)),
        overview: sentences::overview(comparison),
        summary: &manifest.summary,
        colours: palette::css(),
        style: include_str!("../../templates/report.css"),
        blank: sealed::BLANK,
        sealed: sealed::data(comparison)?,
        script: SCRIPT,
        script_digest: SCRIPT_DIGEST,
        findings: sentences::findings(comparison),
        capacity: sections::capacity(comparison).map(|table| captioned("What each carries", table)),
        level: carries::level(comparison),
        matrix: captioned("Contenders side by side", matrix::table(comparison)),
        gate: gated::thresholds(comparison).map(|table| captioned("What the gate asked", table)),
        reference: manifest.reference.as_deref().unwrap_or_default(),
        differences: sections::differences(comparison).map(|table| captioned("Beside the reference", table)),
        charts: chart::all(comparison)?,
        contenders: chart::contenders(comparison),
        timelines,
        more_timelines,
        verdicts: captioned("Answers of the checks", sections::verdicts(comparison)),
        not_asked: sections::not_asked(comparison),
        guarantees: captioned("What a grant survives", sections::guarantees(comparison)),
        told: sections::told(comparison).map(|table| captioned("What they were told", table)),
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
        prices: prices::inputs(comparison).map(|table| Table { caption: "What goes into the costs".to_owned(), ..table }),
        priced: prices::costs(comparison).map(|table| captioned("What a million tasks cost", table)),
        currency: manifest.prices.as_ref().map_or("", |prices| &prices.currency),
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
        threats: threats::threats(comparison),
    };
    let page = page.render();
    let page =
        page.map_err(|error| ReportError::Render { renderer: RENDERER.name, reason: error.to_string() })?;
    Ok(sealed::seal(&page.replace(sealed::turns, "\u{fffd}")))
}

fn captioned(caption: &str, table: Table) -> Table {
    Table { caption: caption.to_owned(), cards: true, ..table.without_empty_columns() }
}

/// Hides contenders, reads values off charts, sorts tables; whoever does not run it misses nothing.
const SCRIPT: &str = include_str!("../../templates/report.js");

/// Its SHA-256: no other script may run on the page, whatever stands in a name.
const SCRIPT_DIGEST: &str = "sha256-l19sIdZGk6quLQgrv2fMg0dqz8SQUjI+pLf/I1e548U=";

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use harness::record::FaultRecord;
    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::fixture;

    #[test]
    fn sections_come_in_the_order_of_a_review() {
        let html = render(&fixture::faulted()).unwrap();
        let ids = [
            "found",
            "matrix",
            "differences",
            "charts",
            "tail",
            "throughput",
            "beyond",
            "bystander",
            "verdicts",
            "faults",
            "guarantees",
            "tally",
            "held",
            "bench",
            "method",
            "threats",
        ];
        let places: Vec<usize> =
            ids.map(|id| html.find(&format!(" id=\"{id}\"")).unwrap_or_else(|| panic!("{id}"))).into();
        assert!(places.is_sorted(), "{places:?}");
    }

    #[test]
    fn the_page_needs_no_network_and_runs_no_script_but_its_own() {
        let html = render(&fixture::rich()).unwrap();
        let policy = format!("default-src 'none'; style-src 'unsafe-inline'; script-src '{SCRIPT_DIGEST}'");
        assert!(html.contains(&policy));
        let script = html.split("<script>").nth(1).unwrap().split("</script>").next().unwrap();
        assert_eq!(script, SCRIPT, "its digest would be another");
        assert_eq!(html.matches("<script").count(), 2, "and its data");
        let without = html.replace(SCRIPT, "");
        for part in ["src=", "http://", "https://", "@import", "url(", "<link", "onclick", "onload"] {
            assert!(!without.contains(part), "{part}");
        }
        for part in ["fetch", "XMLHttp", "import", "http", "eval", "innerHTML", "WebSocket", "sendBeacon"] {
            assert!(!SCRIPT.contains(part), "{part}");
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
    fn the_digest_of_the_script_is_that_of_the_script() {
        let digest = base64::prelude::BASE64_STANDARD.encode(Sha256::digest(SCRIPT));
        assert_eq!(SCRIPT_DIGEST, format!("sha256-{digest}"));
        assert!(SCRIPT.len() <= 8_192 && !SCRIPT.contains("</"), "{} bytes", SCRIPT.len());
    }

    #[test]
    fn no_table_has_two_columns_of_one_name() {
        for comparison in [fixture::faulted(), fixture::probed(), fixture::bursts(), fixture::rich()] {
            let html = render(&comparison).unwrap();
            for head in html.split("<thead>").skip(1).map(|rest| rest.split("</thead>").next().unwrap()) {
                let mut names: Vec<_> = head
                    .split("<th ")
                    .skip(1)
                    .map(|cell| cell.split('>').nth(1).unwrap().split('<').next().unwrap())
                    .collect();
                let all = names.len();
                names.sort_unstable();
                names.dedup();
                assert_eq!(names.len(), all, "{head}");
            }
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
        assert!(html.matches("<figure").count() >= 4, "its charts are there");
    }

    #[test]
    fn ten_contenders_with_a_hundred_faults_each_stay_below_a_megabyte() {
        let names: Vec<&'static str> = (0..10).map(|n| &*format!("contender-{n}").leak()).collect();
        let mut comparison = fixture::named(&names, 5);
        let fault = fixture::faulted().rows[0].records[0].faults.faults[0].clone();
        for run in comparison.rows.iter_mut().flat_map(|row| &mut row.records) {
            let from = |n: u64| Some(400_000_000 * n);
            let faults =
                (0..20).map(|n| FaultRecord { from_ns: from(n), until_ns: from(n + 5), ..fault.clone() });
            run.faults.faults = faults.collect();
        }
        let html = render(&comparison).unwrap();
        assert!(html.len() <= 1_000_000, "{} bytes", html.len());
        assert!(html.contains("Of more than 40 faults only some are drawn"));
    }

    #[test]
    fn names_and_settings_from_files_are_text() {
        let mut comparison = fixture::named(&["<script>alert(1)</script>", "\u{202e}evil"], 1);
        let server = comparison.rows[0].records[0].server.as_mut().unwrap();
        server.settings.insert("a\"b'".to_owned(), "</td><img>".to_owned());
        comparison.manifest.spec_toml = "</pre><b>".to_owned();
        let html = render(&comparison).unwrap();
        let html = html.replace(SCRIPT, "");
        for part in ["<script>alert", "<img", "</pre><b>", "a\"b"] {
            assert!(!html.contains(part), "{part}");
        }
        assert!(!html.contains('\u{202e}'), "what follows would be read backwards");
        let title = html.matches("&lt;script&gt;").count() + html.matches("&#60;script&#62;").count();
        assert!(title > 8, "the name appears in tables and charts: {title}");
    }

    #[test]
    fn every_chart_is_named_and_followed_by_its_data() {
        let html = render(&fixture::rich()).unwrap();
        let figures: Vec<_> =
            html.split("<figure").skip(1).map(|rest| rest.split("</figure>").next().unwrap()).collect();
        assert!(figures.len() >= 4);
        for figure in figures {
            for part in ["role=\"img\"", "<title id=", "<desc id=", "<details", "<table"] {
                assert!(figure.contains(part), "{part} in {figure}");
            }
            assert!(!figure.contains("#01"), "a stand-in colour is left");
        }
    }

    #[test]
    fn faults_have_a_table_and_what_they_did_is_drawn_around_them() {
        let (calm, faulted) = (render(&fixture::small()).unwrap(), render(&fixture::faulted()).unwrap());
        assert!(faulted.contains("Throughput around each fault") && !faulted.contains("id=\"steady\""));
        assert!(calm.contains("Throughput over time") && calm.contains("id=\"steady\""));
        assert!(faulted.contains("id=\"faults\"") && faulted.contains("Token regressions"));
        assert!(faulted.contains("Longest stall of one") && !calm.contains("Longest stall of one"));
        assert!(!calm.contains("id=\"faults\"") && !calm.contains("#faults"));
    }

    #[test]
    fn a_violation_has_its_line_of_time_and_costs_have_prices() {
        let (calm, wrong) = (render(&fixture::small()).unwrap(), render(&fixture::overtaken()).unwrap());
        assert!(wrong.contains("id=\"timelines\"") && wrong.contains("id=\"timeline-1\""));
        assert!(wrong.contains("In money") && wrong.contains("What goes into the costs"));
        assert!(!calm.contains("#timelines") && !calm.contains("In money"), "records of before have none");
        let mut ids: Vec<_> =
            wrong.split(" id=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all);
    }

    #[test]
    fn missing_is_a_dash() {
        let mut comparison = fixture::small();
        comparison.manifest.machine.loopback_rtt_p50_ns = None;
        let html = render(&comparison).unwrap();
        assert!(html.contains("<dt>Loopback round trip, p50</dt><dd>–</dd>"));
    }
}
