//! The shapes of all charts: lines over an axis, the same in small panels, and one strip of dots per row.

use std::error::Error;

use plotters::prelude::*;

use super::axis::Axis;
use super::look::Look;
use super::scales::Scales;
use super::svg::{Drawing, INK, PAGE, RULE, dashed, solid};

/// Width of every chart, in the units of its view box: that of the page.
pub(super) const WIDTH: u32 = 1120;
pub(super) const LABEL: (&str, f64) = ("sans-serif", 13.0);

/// What lies around a plot.
const TOP: u32 = 12;
pub(super) const RIGHT: u32 = 34;
pub(super) const BELOW: u32 = 46;
const LEFT: u32 = 74;

/// A line of a row.
pub(super) struct Line {
    pub(super) look: Look,
    pub(super) points: Vec<(f64, f64)>,
}

/// The frame of two axes, of which the first has this name.
fn framed<'a, 'b>(
    area: &'a Drawing<'b>,
    name: &str,
    x: &Axis,
    y: &Axis,
) -> Result<ChartContext<'a, SVGBackend<'b>, Cartesian2d<Axis, Axis>>, Box<dyn Error>> {
    let mut chart = ChartBuilder::on(area)
        .margin_top(TOP)
        .margin_right(RIGHT)
        .x_label_area_size(BELOW)
        .y_label_area_size(LEFT)
        .build_cartesian_2d(x.clone(), y.clone())?;
    chart
        .configure_mesh()
        .bold_line_style(RULE)
        .light_line_style(TRANSPARENT)
        .axis_style(RULE)
        .label_style(LABEL.into_font().color(&INK))
        .x_desc(name)
        .y_desc(y.name)
        .draw()?;
    Ok(chart)
}

/// Lines over two axes, over bands of the first.
pub(super) fn lines(
    area: &Drawing<'_>,
    x: &Axis,
    y: &Axis,
    lines: &[Line],
    bands: &[(f64, f64)],
) -> Result<(), Box<dyn Error>> {
    let bands = bands.iter().map(|(from, until)| [(from.min(x.to), y.from), (until.min(x.to), y.to)]);
    lines_over(area, x, y, lines, &bands.collect::<Vec<_>>())
}

/// The same over shaded parts, by two of their corners.
pub(super) fn lines_over(
    area: &Drawing<'_>,
    x: &Axis,
    y: &Axis,
    lines: &[Line],
    shaded: &[[(f64, f64); 2]],
) -> Result<(), Box<dyn Error>> {
    let mut chart = framed(area, x.name, x, y)?;
    chart.draw_series(shaded.iter().map(|corners| Rectangle::new(*corners, RULE.mix(BAND).filled())))?;
    for line in lines {
        let style = ShapeStyle { color: dashed(line.look).to_rgba(), filled: false, stroke_width: 2 };
        chart.draw_series([PathElement::new(line.points.clone(), style)])?;
    }
    Ok(())
}

/// A line of a row along values, with its interval around it.
pub(super) struct Banded {
    pub(super) look: Look,
    pub(super) points: Vec<(f64, f64)>,
    /// Where, from and to.
    pub(super) band: Vec<(f64, f64, f64)>,
}

/// Such lines over an axis of values that has this name, and where they cross: filled where that is certain.
pub(super) fn courses(
    area: &Drawing<'_>,
    name: &str,
    x: &Axis,
    y: &Axis,
    lines: &[Banded],
    crossings: &[(f64, f64, bool)],
) -> Result<(), Box<dyn Error>> {
    let mut chart = framed(area, name, x, y)?;
    for line in lines {
        let upper = line.band.iter().map(|(at, _, high)| (*at, *high));
        let lower = line.band.iter().rev().map(|(at, low, _)| (*at, *low));
        if line.band.len() > 1 {
            let around: Vec<_> = upper.chain(lower).collect();
            chart.draw_series([Polygon::new(around, solid(line.look).mix(SHADE).filled())])?;
        }
    }
    for line in lines {
        let color = solid(line.look);
        let style = ShapeStyle { color: dashed(line.look).to_rgba(), filled: false, stroke_width: 2 };
        chart.draw_series([PathElement::new(line.points.clone(), style)])?;
        // The ends of each interval, also where there is but one.
        let stroke = |(at, low, high): &(f64, f64, f64)| {
            PathElement::new(vec![(*at, *low), (*at, *high)], color.mix(0.6).stroke_width(1))
        };
        chart.draw_series(line.band.iter().map(stroke))?;
        chart.draw_series(line.points.iter().map(|at| Circle::new(*at, 4, color.filled())))?;
    }
    for (at, value, certain) in crossings {
        let down = vec![(*at, y.from), (*at, *value)];
        chart.draw_series([PathElement::new(down, INK.stroke_width(1))])?;
        let inside = if *certain { INK } else { PAGE };
        chart.draw_series([Circle::new((*at, *value), 7, inside.filled())])?;
        chart.draw_series([Circle::new((*at, *value), 7, INK.stroke_width(2))])?;
    }
    Ok(())
}

/// How dense an interval is.
const SHADE: f64 = 0.16;

/// The scales of lines in an image of that height.
pub(super) fn lines_scales(height: u32, x: &Axis, y: &Axis) -> Scales {
    Scales { plots: vec![[LEFT, WIDTH - RIGHT, TOP, height - BELOW]], axes: vec![x.scale(), y.scale()] }
}

/// How dense a band is.
pub(super) const BAND: f64 = 0.35;

/// A small plot of one row among others over the same axes.
pub(super) struct Panel {
    pub(super) name: String,
    pub(super) look: Look,
    /// Thin lines, such as one a block.
    pub(super) thin: Vec<Vec<(f64, f64)>>,
    /// A heavy line over them; empty: none.
    pub(super) heavy: Vec<(f64, f64)>,
    /// A shaded part of the first axis and what it is.
    pub(super) band: Option<(f64, f64, String)>,
}

const PANEL: u32 = 210;

/// Panels side by side.
fn columns(panels: usize) -> usize {
    match panels {
        0 | 1 => 1,
        2 | 4 => 2,
        _ => 3,
    }
}

/// Height that so many panels take.
pub(super) fn panels_height(panels: usize) -> u32 {
    panels.div_ceil(columns(panels)).max(1) as u32 * PANEL
}

/// What lies around the plot of a panel: its name above, labels beside and below.
const NAME: u32 = 24;
const PANEL_LEFT: u32 = 66;
const PANEL_RIGHT: u32 = 16;

/// The scales of panels.
pub(super) fn panels_scales(panels: usize, x: &Axis, y: &Axis) -> Scales {
    let (across, width) = (columns(panels), WIDTH / columns(panels) as u32);
    let plots = (0..panels).map(|at| {
        let (left, top) = ((at % across) as u32 * width, (at / across) as u32 * PANEL);
        [left + PANEL_LEFT, left + width - PANEL_RIGHT, top + NAME + TOP, top + PANEL - BELOW]
    });
    Scales { plots: plots.collect(), axes: vec![x.scale(), y.scale()] }
}

/// One plot a panel, all over the same two axes, from the top left.
pub(super) fn panels(area: &Drawing<'_>, x: &Axis, y: &Axis, panels: &[Panel]) -> Result<(), Box<dyn Error>> {
    let (across, width) = (columns(panels.len()), WIDTH / columns(panels.len()) as u32);
    let label = || LABEL.into_font().color(&INK);
    for (at, panel) in panels.iter().enumerate() {
        let (left, top) = ((at % across) as u32 * width, (at / across) as u32 * PANEL);
        let part = area.clone().shrink((left, top), (width, PANEL));
        part.draw(&Text::new(shortened(&panel.name), ((PANEL_LEFT) as i32, 6), label()))?;
        let mut chart = ChartBuilder::on(&part)
            .margin_top(NAME + TOP)
            .margin_right(PANEL_RIGHT)
            .x_label_area_size(BELOW)
            .y_label_area_size(PANEL_LEFT)
            .build_cartesian_2d(x.clone(), y.clone())?;
        chart
            .configure_mesh()
            .bold_line_style(RULE)
            .light_line_style(TRANSPARENT)
            .axis_style(RULE)
            .label_style(label())
            .x_desc(x.name)
            .y_desc(y.name)
            .draw()?;
        if let Some((from, until, what)) = &panel.band {
            let corners = [(from.max(x.from), y.from), (until.min(x.to), y.to)];
            chart.draw_series([Rectangle::new(corners, RULE.mix(BAND).filled())])?;
            // Above the plot, where no line crosses it.
            let within = (from.max(x.from) - x.from) / (x.to - x.from);
            let plot = f64::from(width - PANEL_LEFT - PANEL_RIGHT);
            let place = PANEL_LEFT as i32 + (within * plot) as i32;
            part.draw(&Text::new(what.clone(), (place, NAME as i32 - 3), label()))?;
        }
        let thin = solid(panel.look).mix(if panel.heavy.is_empty() { 0.85 } else { 0.45 });
        for points in &panel.thin {
            let style = ShapeStyle { color: thin, filled: false, stroke_width: 1 };
            chart.draw_series([PathElement::new(points.clone(), style)])?;
        }
        if !panel.heavy.is_empty() {
            let style = ShapeStyle { color: dashed(panel.look).to_rgba(), filled: false, stroke_width: 2 };
            chart.draw_series([PathElement::new(panel.heavy.clone(), style)])?;
        }
    }
    Ok(())
}

/// A row of dots: values on one axis, their range as a bar.
pub(super) struct Strip {
    pub(super) name: String,
    pub(super) look: Look,
    /// Filled dots.
    pub(super) dots: Vec<f64>,
    /// Hollow dots.
    pub(super) rings: Vec<f64>,
    /// A short bar across.
    pub(super) middle: Option<f64>,
}

const STRIP: u32 = 34;

/// Height that so many strips take.
pub(super) fn strips_height(rows: usize) -> u32 {
    rows as u32 * STRIP + 58
}

/// Width of the names beside the strips.
fn beside(rows: &[Strip]) -> u32 {
    24 + 8 * rows.iter().map(|row| shortened(&row.name).chars().count()).max().unwrap_or(0) as u32
}

/// The scales of strips.
pub(super) fn strips_scales(x: &Axis, rows: &[Strip]) -> Scales {
    let y = Axis::strips(rows.iter().map(|row| row.name.clone()));
    let plot = [beside(rows), WIDTH - RIGHT, TOP, strips_height(rows.len()) - BELOW];
    Scales { plots: vec![plot], axes: vec![x.scale(), y.scale()] }
}

/// One strip per row, the first on top.
pub(super) fn strips(area: &Drawing<'_>, x: &Axis, rows: &[Strip]) -> Result<(), Box<dyn Error>> {
    let y = Axis::strips(rows.iter().map(|row| shortened(&row.name)));
    let mut chart = ChartBuilder::on(area)
        .margin_top(TOP)
        .margin_right(RIGHT)
        .x_label_area_size(BELOW)
        .y_label_area_size(beside(rows))
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
    for (row, (y, _)) in rows.iter().zip(&y.ticks) {
        let y = *y;
        let color = solid(row.look);
        let all = || row.dots.iter().chain(&row.rings).copied();
        let (least, greatest) = all().fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(v), b.max(v)));
        if least > greatest {
            continue;
        }
        let bar = ShapeStyle { color: dashed(row.look).to_rgba(), filled: false, stroke_width: 2 };
        chart.draw_series([PathElement::new(vec![(least, y), (greatest, y)], bar)])?;
        if let Some(middle) = row.middle {
            let tick = vec![(middle, y - 0.28), (middle, y + 0.28)];
            chart.draw_series([PathElement::new(tick, color.stroke_width(3))])?;
        }
        chart.draw_series(row.dots.iter().map(|dot| Circle::new((*dot, y), 4, color.filled())))?;
        chart.draw_series(row.rings.iter().map(|dot| Circle::new((*dot, y), 5, PAGE.filled())))?;
        chart.draw_series(row.rings.iter().map(|dot| Circle::new((*dot, y), 5, color.stroke_width(2))))?;
    }
    Ok(())
}

/// A name that fits beside its strip; the table below has it whole.
fn shortened(name: &str) -> String {
    const MOST: usize = 22;
    if name.chars().count() <= MOST {
        return name.to_owned();
    }
    name.chars().take(MOST - 1).chain(['…']).collect()
}
