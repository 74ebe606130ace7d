//! The first violation of a contender with what was around it: a lane a node, who was inside and until when leases lasted, what was broken.

use std::error::Error;

use harness::record::{Role, RunRecord, Stay, StayEnd, Timeline};
use plotters::prelude::*;

use super::axis::Axis;
use super::figure::Chart;
use super::look::Look;
use super::plot::{BAND, BELOW, LABEL, RIGHT, WIDTH};
use super::scales::Scales;
use super::svg::{BAD, Drawing, INK, Named, PAGE, RULE, image, solid};
use crate::format::{self, MISSING};
use crate::table::{Cell, Group, Head, Mark, Table, TableRow};
use crate::{Comparison, ReportError};

/// One for each contender that was violated, so many at most.
const IDS: [&str; 6] = ["timeline-1", "timeline-2", "timeline-3", "timeline-4", "timeline-5", "timeline-6"];

/// Height of a lane, and what lies above them: the word of the violation and those of faults.
const LANE: u32 = 54;
const TOP: u32 = 40;
const LEFT: u32 = 84;

/// About the width of a letter, and what a bar needs for a word.
const LETTER: f64 = 7.0;

/// Those of all contenders of which a run has one, the first valid one; with how many more there are.
pub(crate) fn timelines(comparison: &Comparison) -> Result<(Vec<Chart>, usize), ReportError> {
    let looks = Look::of_rows(comparison);
    let of_row = |(row, look): (&'_ crate::Row, Look)| {
        let has = |run: &&RunRecord| run.timeline.is_some();
        let run = row.valid().find(has).or_else(|| row.records.iter().find(has))?.clone();
        (row.role == Role::Contender).then_some((run, look))
    };
    let all: Vec<(RunRecord, Look)> = comparison.rows.iter().zip(looks).filter_map(of_row).collect();
    let more = all.len().saturating_sub(IDS.len());
    let charts = all
        .iter()
        .zip(IDS)
        .filter_map(|((run, look), id)| Some(chart(id, run, run.timeline.as_ref()?, *look)));
    Ok((charts.collect::<Result<_, _>>()?, more))
}

fn chart(id: &'static str, run: &RunRecord, timeline: &Timeline, look: Look) -> Result<Chart, ReportError> {
    // Whatever a record says, the violation is within.
    let (from_ns, until_ns) = (timeline.from_ns.min(timeline.at_ns), timeline.until_ns.max(timeline.at_ns));
    let span_ns = (until_ns - from_ns).max(1_000);
    // Where it takes long, in seconds.
    let (unit_ns, name) = match span_ns {
        0..10_000_000_000 => (1e6, "ms before and after the violation"),
        _ => (1e9, "s before and after the violation"),
    };
    let around = Around { timeline, unit_ns };
    let margin_ns = span_ns / 25;
    let x =
        Axis::around(name, around.at(from_ns) - margin_ns as f64 / unit_ns, around.at(until_ns + margin_ns));
    let lanes = lanes(&timeline.stays);
    let y = Axis::strips(lanes.iter().map(|lane| lane.name.clone()));
    let height = TOP + BELOW + LANE * lanes.len() as u32;
    let title = format!("{}: {}", run.contender, words(&timeline.check));
    let caption = format!(
        "Block {}, {}, {} after the start. A lane is a node; a bar is a stay inside, as the agent saw it, with its token: filled where it \
         wrote, hollow where it had no effect or was refused, paler beyond its lease. A short upright line in a bar is where its lease ended, as was \
         known when it was granted. Shaded: broken on purpose.{}{}",
        run.block,
        timeline.resource,
        format::duration(timeline.at_ns as f64),
        match timeline.more_stays {
            0 => String::new(),
            more => format!(" Not drawn: {} more.", format::plural(more, "stay")),
        },
        if run.invalid.is_empty() { "" } else { " The run was invalid; what was seen stands." },
    );
    let scales =
        Scales { plots: vec![[LEFT, WIDTH - RIGHT, TOP, height - BELOW]], axes: vec![x.scale(), y.scale()] };
    let named = Named { id, title: &title, description: &caption, scales };
    let drawn = |area: &Drawing<'_>| around.draw(area, &x, &y, &lanes, run, look);
    let svg = image(&named, (WIDTH, height), drawn)?;
    Ok(Chart { id, title, caption, svg, legend: Vec::new(), data: around.data() })
}

/// What a violation of a check is, for a heading.
fn words(check: &str) -> &str {
    match check {
        "exclusion" => "two were inside at once",
        "lost-update" => "an update was lost",
        "fencing" => "a stale token got in",
        other => other,
    }
}

/// The end of a long token: what tells it from its neighbours.
fn shortened(token: &str) -> String {
    let letters = token.chars().count();
    match letters {
        0..=9 => token.to_owned(),
        _ => format!("…{}", token.chars().skip(letters - 7).collect::<String>()),
    }
}

/// A node, and who was inside there; those at the same time are drawn below each other.
struct Lane<'a> {
    name: String,
    stays: Vec<(&'a Stay, usize)>,
    /// How many at one time.
    deep: usize,
}

fn lanes(stays: &[Stay]) -> Vec<Lane<'_>> {
    let mut nodes: Vec<Option<u16>> = stays.iter().map(|stay| stay.node).collect();
    // Whoever has no known node stands last.
    nodes.sort_by_key(|node| (node.is_none(), *node));
    nodes.dedup();
    let lane = |node: Option<u16>| {
        let mut free_from: Vec<u64> = Vec::new();
        let own = stays.iter().filter(|stay| stay.node == node).map(|stay| {
            let until_ns = stay.until_ns.unwrap_or(u64::MAX);
            let place = free_from.iter().position(|free| *free <= stay.from_ns).unwrap_or(free_from.len());
            match free_from.get_mut(place) {
                Some(free) => *free = until_ns,
                None => free_from.push(until_ns),
            }
            (stay, place)
        });
        let stays: Vec<_> = own.collect();
        let name = node.map_or_else(|| "node ?".to_owned(), |node| format!("node {node}"));
        Lane { name, stays, deep: free_from.len().max(1) }
    };
    nodes.into_iter().map(lane).collect()
}

/// A timeline, its times by how long before or after the violation they are.
struct Around<'a> {
    timeline: &'a Timeline,
    unit_ns: f64,
}

impl Around<'_> {
    fn at(&self, ns: u64) -> f64 {
        (ns as f64 - self.timeline.at_ns as f64) / self.unit_ns
    }

    fn draw(
        &self,
        area: &Drawing<'_>,
        x: &Axis,
        y: &Axis,
        lanes: &[Lane<'_>],
        run: &RunRecord,
        look: Look,
    ) -> Result<(), Box<dyn Error>> {
        let mut chart = ChartBuilder::on(area)
            .margin_top(TOP)
            .margin_right(RIGHT)
            .x_label_area_size(BELOW)
            .y_label_area_size(LEFT)
            .build_cartesian_2d(x.clone(), y.clone())?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .bold_line_style(RULE)
            .light_line_style(TRANSPARENT)
            .axis_style(RULE)
            .label_style(LABEL.into_font().color(&INK))
            .x_desc(x.name)
            .draw()?;
        let per_px = (x.to - x.from) / f64::from(WIDTH - LEFT - RIGHT);
        let px = |at: f64| LEFT as i32 + ((at - x.from) / per_px) as i32;
        for fault in &run.faults.faults {
            let Some(from_ns) = fault.from_ns else { continue };
            let (from, until) = (self.at(from_ns), fault.until_ns.map_or(x.to, |ns| self.at(ns)));
            let (from, until) = (from.max(x.from), until.min(x.to));
            if from < until {
                let corners = [(from, y.from), (until, y.to)];
                chart.draw_series([Rectangle::new(corners, RULE.mix(BAND).filled())])?;
                let whom = fault.node.map_or_else(|| fault.target.clone(), |node| format!("node {node}"));
                let text = format!("{} {whom}", fault.verb);
                if (until - from) / per_px > LETTER * text.len() as f64 {
                    let place = (px(from) + 4, TOP as i32 - 16);
                    area.draw(&Text::new(text, place, LABEL.into_font().color(&INK)))?;
                }
            }
        }
        for (lane, (middle, _)) in lanes.iter().zip(&y.ticks) {
            let part = 0.8 / lane.deep as f64;
            for (stay, place) in &lane.stays {
                let high = middle + 0.4 - part * *place as f64;
                let (low, high) = (high - part * 0.88, high);
                let (from, until) = (self.at(stay.from_ns), stay.until_ns.map_or(x.to, |ns| self.at(ns)));
                if from > x.to || until < x.from {
                    continue;
                }
                // However short it was, it can be seen.
                let (from, until) = (from.max(x.from), until.min(x.to).max(from + 2.0 * per_px));
                let lease = stay.lease_until_ns.map(|ns| self.at(ns));
                // Beyond its lease it is paler.
                let good = lease.map_or(until, |lease| lease.clamp(from, until));
                for (corners, density) in
                    [([(from, low), (good, high)], 1.0), ([(good, low), (until, high)], 0.45)]
                {
                    if stay.end == StayEnd::Wrote && corners[0].0 < corners[1].0 {
                        chart.draw_series([Rectangle::new(corners, solid(look).mix(density).filled())])?;
                    }
                }
                if stay.end != StayEnd::Wrote {
                    let corners = [(from, low), (until, high)];
                    chart.draw_series([Rectangle::new(corners, PAGE.filled())])?;
                    chart.draw_series([Rectangle::new(corners, solid(look).stroke_width(2))])?;
                }
                // Whoever left before his lease ended did as he should.
                let outlasted = |lease: &f64| *lease >= from && *lease < until;
                if let Some(lease) = lease.filter(outlasted) {
                    let tick = vec![(lease, low - 0.04), (lease, high + 0.04)];
                    chart.draw_series([PathElement::new(tick, INK.stroke_width(2))])?;
                }
            }
            self.tokens(area, x, lane, (px, per_px), (*middle, y.to))?;
        }
        let line = vec![(0.0, y.from), (0.0, y.to)];
        chart.draw_series([PathElement::new(line, BAD.stroke_width(2))])?;
        area.draw(&Text::new("✗ violated", (px(0.0) + 4, TOP as i32 - 32), LABEL.into_font().color(&BAD)))?;
        Ok(())
    }

    /// Tokens stand in their bars, or right of their ends where there is room until the next.
    fn tokens(
        &self,
        area: &Drawing<'_>,
        x: &Axis,
        lane: &Lane<'_>,
        (px, per_px): (impl Fn(f64) -> i32, f64),
        (middle, rows): (f64, f64),
    ) -> Result<(), Box<dyn Error>> {
        for (stay, place) in &lane.stays {
            let Some(token) = stay.token.as_deref().map(shortened) else { continue };
            let part = 0.8 / lane.deep as f64;
            let high = middle + 0.4 - part * (*place as f64 + 0.5);
            let top = TOP as i32 + ((rows - high) * f64::from(LANE)) as i32 - 7;
            let width = LETTER * (token.chars().count() + 1) as f64;
            let (from, until) =
                (self.at(stay.from_ns).max(x.from), stay.until_ns.map_or(x.to, |ns| self.at(ns)));
            if (until.min(x.to) - from) / per_px > width && stay.end == StayEnd::Wrote {
                area.draw(&Text::new(token, (px(from) + 6, top), LABEL.into_font().color(&PAGE)))?;
                continue;
            }
            let Some(until_ns) = stay.until_ns else { continue };
            let after = |other: &&(&Stay, usize)| other.1 == *place && other.0.from_ns >= until_ns;
            let next =
                lane.stays.iter().filter(after).map(|(other, _)| self.at(other.from_ns)).reduce(f64::min);
            let from = until;
            if !(x.from..=x.to).contains(&from) {
                continue;
            }
            let room = next.unwrap_or(f64::MAX) - from;
            let right = px(from) + 4;
            if room / per_px < width || f64::from(right) + width > f64::from(WIDTH) {
                continue;
            }
            area.draw(&Text::new(token, (right, top), LABEL.into_font().color(&INK)))?;
        }
        Ok(())
    }

    /// The events before and after it, and the stays that are drawn.
    fn data(&self) -> Table {
        let since = |ns: u64| {
            let after = ns as f64 - self.timeline.at_ns as f64;
            let sign = if after < 0.0 { "−" } else { "+" };
            Cell::number(format!("{sign}{:.3} ms", after.abs() / 1e6))
        };
        let node =
            |node: Option<u16>, other: &str| node.map_or_else(|| other.to_owned(), |of| format!("node {of}"));
        let moments = self.timeline.moments.iter().map(|moment| TableRow {
            name: node(moment.node, "agent"),
            goes_on: false,
            cells: vec![
                since(moment.at_ns),
                Cell::number(""),
                Cell::text(moment.what.clone()),
                match moment.shows {
                    true => Cell::marked(Mark::Bad, "shows it"),
                    false => Cell::text(""),
                },
            ],
        });
        let stays = self.timeline.stays.iter().map(|stay| {
            let slot = stay.slot.map(|slot| format!(", slot {slot}")).unwrap_or_default();
            let token = stay.token.as_ref().map(|token| format!(", token {token}")).unwrap_or_default();
            let end = match stay.end {
                StayEnd::Wrote => "wrote",
                StayEnd::NoEffect => "left without effect",
                StayEnd::Refused => "was refused",
                StayEnd::Abandoned => "its node was gone",
                StayEnd::Open => "never left",
            };
            TableRow {
                name: node(stay.node, "node ?"),
                goes_on: false,
                cells: vec![
                    since(stay.from_ns),
                    stay.until_ns.map_or_else(|| Cell::number(MISSING), since),
                    Cell::text(format!("{} inside{slot}{token}; {end}", stay.step)),
                    Cell::text(
                        stay.lease_until_ns
                            .map_or_else(String::new, |ns| format!("lease until {}", since(ns).text)),
                    ),
                ],
            }
        });
        Table {
            caption: "Five events on each side, and who was inside".to_owned(),
            head: vec![
                Head::number("From", "before − or after + the violation"),
                Head::number("Until", ""),
                Head::text("What"),
                Head::text("Beside"),
            ],
            groups: vec![
                Group { label: "Events", rows: moments.collect() },
                Group { label: "Who was inside", rows: stays.collect() },
            ],
            ..Table::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn a_violation_is_drawn_with_lanes_leases_tokens_and_what_was_broken() {
        let (charts, more) = timelines(&fixture::overtaken()).unwrap();
        assert_eq!((charts.len(), more), (1, 0));
        let chart = &charts[0];
        assert_eq!(chart.title, "redis-naive: two were inside at once");
        for part in ["node 0", "node 2", "✗ violated", "pause node 0", "0.41", "0.42", "var(--bad)"] {
            assert!(chart.svg.contains(part), "{part}");
        }
        let rows = |group: usize| &chart.data.groups[group].rows;
        assert_eq!((rows(0).len(), rows(1).len()), (11, 3));
        let shows: Vec<_> = rows(0).iter().filter(|row| row.cells[3].text == "shows it").collect();
        assert_eq!((shows.len(), shows[0].cells[0].text.as_str()), (1, "+0.000 ms"));
        assert!(rows(1)[0].cells[2].text.ends_with("token 0.41; wrote"), "{}", rows(1)[0].cells[2].text);
    }

    #[test]
    fn those_at_one_time_in_one_lane_lie_below_each_other() {
        let stay = |from_ns, until_ns| Stay {
            node: Some(1),
            step: "task 1 step 0".to_owned(),
            slot: None,
            token: None,
            from_ns,
            until_ns,
            lease_until_ns: None,
            end: StayEnd::Wrote,
        };
        let stays = [stay(0, Some(10)), stay(5, Some(20)), stay(10, Some(12)), stay(15, None)];
        let lanes = lanes(&stays);
        assert_eq!((lanes.len(), lanes[0].deep), (1, 2));
        let places: Vec<usize> = lanes[0].stays.iter().map(|(_, place)| *place).collect();
        assert_eq!(places, [0, 1, 0, 0]);
    }

    #[test]
    fn nobody_who_was_honest_has_one() {
        assert_eq!(timelines(&fixture::small()).unwrap().0.len(), 0);
    }
}
