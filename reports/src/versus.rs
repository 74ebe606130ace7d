//! Batches side by side: the same contender in each, or several contenders beside one.

use askama::Template;
use harness::record::difference::{Decided, How, Rule, Subject, Together, family};
use harness::record::{METRICS, Metric, Role, RunRecord};

use crate::chart::palette;
use crate::markup::{self, escape, line};
use crate::sections::{difference_cells, difference_head};
use crate::side::Side;
use crate::table::{Cell, Group, Head, Table, TableRow};
use crate::{ReportError, aligned, format};

/// What to set beside what.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// The contender of the first side that all are compared with; `None`: each with itself in the first side, or, of a single
    /// side, with the one that its manifest names.
    pub reference: Option<String>,
    /// Only these; empty: all contenders.
    pub contenders: Vec<String>,
    /// By what; empty: by what contenders are told apart by.
    pub metrics: Vec<&'static Metric>,
    /// What has to be said on everything that is shown: why the sides may not be comparable.
    pub banner: Vec<String>,
}

/// Sides beside the first of them.
#[derive(Debug)]
pub struct Versus {
    metrics: Vec<&'static Metric>,
    banner: Vec<String>,
    labels: Vec<String>,
    rows: Vec<Beside>,
    notes: Vec<String>,
}

/// One contender beside another.
#[derive(Debug)]
struct Beside {
    name: String,
    decided: Vec<Option<Decided>>,
    /// The figures themselves, by metric: own and the reference's.
    figures: Vec<Option<(f64, f64)>>,
    runs: (usize, usize),
}

impl Versus {
    /// Compares; an error where nothing of the sides can be set beside each other.
    ///
    /// # Errors
    /// Why there is nothing to compare, with the names there are.
    pub fn new(sides: &[Side], asked: &Asked) -> Result<Self, String> {
        let pairs = pairs(sides, asked)?;
        let subjects: Vec<Subject<'_>> = pairs.iter().map(|pair| pair.subject(sides)).collect();
        let metrics = metrics(sides, &asked.metrics)?;
        let decided = family(&subjects, &metrics, &Rule::default());
        let rows = pairs.iter().zip(&subjects).zip(decided).map(|((pair, subject), decided)| Beside {
            name: pair.name(sides),
            decided,
            figures: metrics.iter().map(|metric| figures(subject, metric)).collect(),
            runs: (subject.own.len(), subject.reference.len()),
        });
        let rows = rows.collect();
        Ok(Self {
            metrics,
            banner: asked.banner.clone(),
            labels: sides.iter().map(|side| side.label.clone()).collect(),
            rows,
            notes: notes(sides),
        })
    }

    /// For a terminal; ends with a line feed.
    #[must_use]
    pub fn terminal(&self) -> String {
        let mut out = String::new();
        for banner in &self.banner {
            line(&mut out, &format!("!!! NOT COMPARABLE: {}", aligned::without_controls(banner)));
        }
        out += &aligned::plain("Contender", &self.table());
        for note in &self.notes {
            line(&mut out, &aligned::without_controls(note));
        }
        out
    }

    /// For a pull request.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        line(&mut out, &format!("# {}", escape(&self.title())));
        line(&mut out, "");
        for banner in &self.banner {
            line(&mut out, &format!("> **✗ NOT COMPARABLE:** {}", escape(banner)));
            line(&mut out, "");
        }
        markup::table(&mut out, "Contender", &self.table());
        line(&mut out, "");
        for note in self.explained() {
            line(&mut out, &format!("- {}", escape(&note)));
        }
        out
    }

    /// A page without network and without script.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn html(&self) -> Result<String, ReportError> {
        let page = Page {
            title: self.title(),
            colours: palette::css(),
            style: include_str!("../templates/report.css"),
            banner: &self.banner,
            table: Table { caption: "Side by side".to_owned(), ..self.table() },
            notes: self.explained(),
        };
        page.render().map_err(|error| ReportError::Render { renderer: "compare", reason: error.to_string() })
    }

    fn title(&self) -> String {
        match &self.labels[..] {
            [one] => format!("{one}, within itself"),
            [first, others @ ..] => format!("{} beside {first}", others.join(", ")),
            [] => String::new(),
        }
    }

    fn explained(&self) -> Vec<String> {
        let how = "Each ratio is the geometric mean over blocks with its 99 % interval. Better or worse: no difference is less \
                   likely than 1 %, for all comparisons of the table together (Student's t over the logarithms, Holm), and it is \
                   beyond 5 %. The same: within 10 %, by two one-sided tests.";
        [how.to_owned()].into_iter().chain(self.notes.clone()).collect()
    }

    fn table(&self) -> Table {
        let metrics: Vec<&Metric> = self.metrics.clone();
        let mut head = difference_head(&metrics);
        head.push(Head::text("Compared"));
        let rows = self.rows.iter().map(|row| {
            let mut cells = difference_cells(&row.decided, &metrics);
            for ((cell, metric), figures) in cells.iter_mut().zip(&metrics).zip(&row.figures) {
                if let Some((own, other)) = figures {
                    let [own, other] = [own, other].map(|value| metric.unit.show(*value));
                    let words = std::mem::take(&mut cell.note);
                    let apart = if words.is_empty() { "" } else { ": " };
                    cell.note = format!("{words}{apart}{own} beside {other}");
                }
            }
            cells.push(Cell::text(how(row)));
            TableRow { name: row.name.clone(), goes_on: false, cells }
        });
        Table { head, groups: vec![Group { label: "", rows: rows.collect() }], ..Table::default() }
    }
}

/// On what a row rests.
fn how(row: &Beside) -> String {
    match row.decided.iter().flatten().next().map(|decided| (decided.ratio.how(), decided.ratio.blocks())) {
        Some((How::Paired, blocks)) => format!("paired, {}", format::plural(blocks.into(), "block")),
        Some((How::TwoSamples, _)) => {
            format!("two samples (Welch), {} and {} blocks: no plan in common", row.runs.0, row.runs.1)
        }
        None => "too few blocks that count: 2 at least, 6 are usual".to_owned(),
    }
}

/// The median over runs of either side; never beside a bound.
fn figures(subject: &Subject<'_>, metric: &Metric) -> Option<(f64, f64)> {
    let median = |runs: &[&RunRecord]| {
        crate::Spread::of(runs.iter().filter_map(|run| metric.known(run))).map(|spread| spread.median)
    };
    Some((median(&subject.own)?, median(&subject.reference)?))
}

/// (side, contender) beside (side, contender).
struct Pair {
    own: (usize, String),
    reference: (usize, String),
}

impl Pair {
    fn subject<'a>(&self, sides: &'a [Side]) -> Subject<'a> {
        let runs = |(side, contender): &(usize, String)| sides[*side].valid(contender);
        let one_batch = self.own.0 == self.reference.0 && sides[self.own.0].batches.len() == 1;
        Subject {
            own: runs(&self.own),
            reference: runs(&self.reference),
            together: if one_batch { Together::OfOneBatch } else { Together::OfSeveral },
        }
    }

    fn name(&self, sides: &[Side]) -> String {
        let of = |(side, contender): &(usize, String)| match sides {
            [_] => contender.clone(),
            _ => format!("{contender} ({})", sides[*side].label),
        };
        let (own, reference) = (of(&self.own), of(&self.reference));
        match self.own.1 == self.reference.1 && sides.len() == 2 {
            true => self.own.1.clone(),
            false => format!("{own} beside {reference}"),
        }
    }
}

/// Those asked for. Batches that looked for capacities have each a rate of its own at which all else was measured, so that of several
/// the capacity alone can be compared.
fn metrics(sides: &[Side], asked: &[&'static Metric]) -> Result<Vec<&'static Metric>, String> {
    let batches = || sides.iter().flat_map(|side| &side.batches);
    let looked_for = batches().any(|batch| batch.manifest.service_level.is_some());
    let across = looked_for && batches().count() > 1;
    if let Some(metric) = asked.iter().find(|metric| !metric.goes_across(across)) {
        return Err(format!("{}: {}", metric.name, Metric::RATE_OF_ITS_OWN));
    }
    let usual = METRICS.iter().filter(|metric| metric.primary || looked_for && metric.goes_across(true));
    match asked {
        [] => Ok(usual.filter(|metric| metric.goes_across(across)).collect()),
        asked => Ok(asked.to_vec()),
    }
}

fn pairs(sides: &[Side], asked: &Asked) -> Result<Vec<Pair>, String> {
    let wanted = |(name, role): &(&str, Role)| match asked.contenders.is_empty() {
        true => *role == Role::Contender,
        false => asked.contenders.iter().any(|contender| contender == name),
    };
    let there = |side: &Side| {
        format!(
            "{} has {}",
            side.label,
            side.names().iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
        )
    };
    let has = |side: &Side, contender: &str| side.names().iter().any(|(name, _)| *name == contender);
    for contender in &asked.contenders {
        if !sides.iter().any(|side| has(side, contender)) {
            return Err(format!("no side has the contender `{contender}`; {}", there(&sides[0])));
        }
    }
    let named = match (&asked.reference, sides) {
        (None, [one]) => Some(one.batches[0].manifest.reference.clone().ok_or_else(|| {
            format!("{} names no reference: give one with --reference; {}", one.label, there(one))
        })?),
        (reference, _) => reference.clone(),
    };
    if let Some(named) = named.as_ref().filter(|named| !has(&sides[0], named)) {
        return Err(format!("there is no `{named}` to be the reference; {}", there(&sides[0])));
    }
    let mut pairs = Vec::new();
    for (place, side) in sides.iter().enumerate() {
        for (name, _) in side.names().iter().filter(|name| wanted(name)) {
            let reference = named.as_deref().unwrap_or(name);
            if (place, *name) != (0, reference) && has(&sides[0], reference) {
                pairs.push(Pair { own: (place, (*name).to_owned()), reference: (0, reference.to_owned()) });
            }
        }
    }
    match pairs.is_empty() {
        true => {
            Err(format!("nothing to compare: {}", sides.iter().map(there).collect::<Vec<_>>().join("; ")))
        }
        false => Ok(pairs),
    }
}

/// What a reader must know of the sides.
fn notes(sides: &[Side]) -> Vec<String> {
    let mut notes = Vec::new();
    for side in sides {
        for batch in &side.batches {
            let conclusion = batch.conclusion();
            if conclusion.exit_code != 0 {
                let first =
                    conclusion.reasons.first().map(|reason| format!(": {reason}")).unwrap_or_default();
                notes.push(format!(
                    "{}: the batch of {} ended with exit code {}{first}",
                    side.label,
                    format::utc(&batch.manifest.started_utc),
                    conclusion.exit_code
                ));
            }
        }
    }
    let (from, until) = sides[0].span();
    for side in &sides[1..] {
        let other = side.span();
        if other.0 >= until || from >= other.1 {
            notes.push(format!(
                "{} and {} ran one after the other and not by turns: what changed on the machine between them counts as a difference.",
                sides[0].label, side.label
            ));
        }
    }
    notes
}

#[derive(Template)]
#[template(path = "compare.html")]
struct Page<'a> {
    title: String,
    colours: String,
    style: &'static str,
    banner: &'a [String],
    table: Table,
    notes: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Comparison;
    use crate::fixture;

    /// A side whose plans have these names, and whose goodput is so many times as high.
    fn side(label: &str, plans: &str, times: f64) -> Side {
        let mut comparison = fixture::of_blocks(6);
        for run in comparison.rows.iter_mut().flat_map(|row| &mut row.records) {
            run.plan_digest = format!("{plans}{}", run.block);
            run.goodput_per_s = times * (100.0 + f64::from(run.block));
        }
        let Comparison { manifest, rows, .. } = comparison;
        let records = rows.into_iter().flat_map(|row| row.records).collect();
        Side {
            label: label.to_owned(),
            batches: vec![Comparison::new(manifest, records)],
            folders: Vec::new(),
        }
    }

    fn goodput(versus: &Versus, row: usize) -> String {
        versus.table().groups[0].rows[row].cells[0].note.clone()
    }

    #[test]
    fn the_same_contender_of_two_batches_is_paired_by_its_plans() {
        let versus = Versus::new(&[side("a", "p", 1.0), side("b", "p", 1.5)], &Asked::default()).unwrap();
        assert_eq!(
            versus.rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(),
            ["ring-queue", "redis-naive"]
        );
        assert!(
            goodput(&versus, 0).starts_with("better: 155.2 /s beside 103.5 /s"),
            "{}",
            goodput(&versus, 0)
        );
        assert!(versus.terminal().contains("paired, 6 blocks"), "{}", versus.terminal());
    }

    #[test]
    fn without_a_common_plan_they_are_two_samples_and_it_is_said() {
        let versus = Versus::new(&[side("a", "p", 1.0), side("b", "q", 1.5)], &Asked::default()).unwrap();
        assert!(goodput(&versus, 0).starts_with("better"), "{}", goodput(&versus, 0));
        assert!(versus.markdown().contains("two samples (Welch), 6 and 6 blocks: no plan in common"));
    }

    #[test]
    fn several_contenders_stand_beside_one_of_the_first_batch() {
        let asked = Asked { reference: Some("redis-naive".to_owned()), ..Asked::default() };
        let versus = Versus::new(&[side("a", "p", 1.0), side("b", "p", 1.0)], &asked).unwrap();
        let names: Vec<_> = versus.rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(
            names,
            ["ring-queue (a) beside redis-naive (a)", "ring-queue (b) beside redis-naive (a)", "redis-naive"]
        );
        assert!(goodput(&versus, 0).starts_with("the same"), "{}", goodput(&versus, 0));
        let one = Versus::new(&[side("a", "p", 1.0)], &Asked::default()).unwrap();
        assert_eq!(one.rows[0].name, "ring-queue beside redis-naive", "the manifest's own reference");
    }

    #[test]
    fn a_banner_is_on_everything() {
        let asked = Asked { banner: vec!["durability: durable | memory".to_owned()], ..Asked::default() };
        let versus = Versus::new(&[side("a", "p", 1.0), side("b", "p", 1.0)], &asked).unwrap();
        for shown in [versus.terminal(), versus.markdown(), versus.html().unwrap()] {
            let place = shown.find("NOT COMPARABLE").unwrap();
            assert!(place < shown.find("Goodput").unwrap(), "before any figure: {shown}");
        }
    }

    #[test]
    fn batches_that_did_not_take_turns_say_so() {
        let mut later = side("b", "p", 1.0);
        later.batches[0].manifest.started_utc = "2027-01-01T00:00:00Z".to_owned();
        let apart = Versus::new(&[side("a", "p", 1.0), later], &Asked::default()).unwrap();
        assert!(apart.terminal().contains("one after the other"), "{}", apart.terminal());
        let turns = Versus::new(&[side("a", "p", 1.0), side("b", "p", 1.0)], &Asked::default()).unwrap();
        assert!(!turns.terminal().contains("one after the other"));
    }

    #[test]
    fn who_is_not_there_is_refused_with_the_names_there_are() {
        let sides = [side("a", "p", 1.0), side("b", "p", 1.0)];
        let asked = Asked { contenders: vec!["redis".to_owned()], ..Asked::default() };
        assert!(Versus::new(&sides, &asked).unwrap_err().contains("a has ring-queue, redis-naive"));
        let asked = Asked { reference: Some("redis".to_owned()), ..Asked::default() };
        assert!(Versus::new(&sides, &asked).unwrap_err().contains("no `redis`"));
    }

    #[test]
    fn batches_that_looked_for_capacities_are_compared_by_them_and_by_nothing_at_a_rate_of_its_own() {
        let probed = |label: &str| Side { batches: vec![fixture::probed()], ..side(label, "p", 1.0) };
        let sides = [probed("a"), probed("b")];
        let versus = Versus::new(&sides, &Asked::default()).unwrap();
        assert_eq!(versus.metrics.iter().map(|metric| metric.name).collect::<Vec<_>>(), ["capacity"]);
        assert!(goodput(&versus, 0).starts_with("the same: "), "{}", goodput(&versus, 0));
        let asked = Asked { metrics: vec![Metric::named("response_p99").unwrap()], ..Asked::default() };
        let why = Versus::new(&sides, &asked).unwrap_err();
        assert!(why.contains("another rate in each") && why.contains("lockbench run"), "{why}");
        // Within one they are all at the same rate.
        let one = Versus::new(&sides[..1], &Asked::default()).unwrap();
        assert_eq!(one.metrics.len(), 4);
        assert_eq!(one.metrics[0].name, "capacity");
        Versus::new(&sides[..1], &asked).unwrap();
    }

    #[test]
    fn the_page_needs_no_network_and_no_script() {
        let html = Versus::new(&[side("<a>", "p", 1.0), side("b", "p", 1.0)], &Asked::default())
            .unwrap()
            .html()
            .unwrap();
        assert!(html.contains("default-src 'none'; style-src 'unsafe-inline'") && !html.contains("<a>"));
        for part in ["<script", "src=", "http://", "https://", "@import", "url(", "<link"] {
            assert!(!html.contains(part), "{part}");
        }
    }
}
