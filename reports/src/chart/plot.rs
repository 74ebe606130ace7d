//! The two shapes of all charts: lines over an axis, and one strip of dots per row.

use std::error::Error;

use plotters::prelude::*;

use super::axis::Axis;
use super::palette::Look;
use super::svg::{Drawing, INK, PAGE, RULE, dashed, solid};

/// Width of every chart, in the units of its view box.
pub(super) const WIDTH: u32 = 760;
const LABEL: (&str, f64) = ("sans-serif", 13.0);

/// A line of a row.
pub(super) struct Line {
    pub(super) look: Look,
    pub(super) points: Vec<(f64, f64)>,
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
    let mut chart = ChartBuilder::on(area)
        .margin_top(12)
        .margin_right(34)
        .x_label_area_size(46)
        .y_label_area_size(74)
        .build_cartesian_2d(x.clone(), y.clone())?;
    chart
        .configure_mesh()
        .bold_line_style(RULE)
        .light_line_style(TRANSPARENT)
        .axis_style(RULE)
        .label_style(LABEL.into_font().color(&INK))
        .x_desc(x.name)
        .y_desc(y.name)
        .draw()?;
    chart.draw_series(shaded.iter().map(|corners| Rectangle::new(*corners, RULE.mix(BAND).filled())))?;
    for line in lines {
        let style = ShapeStyle { color: dashed(line.look).to_rgba(), filled: false, stroke_width: 2 };
        chart.draw_series([PathElement::new(line.points.clone(), style)])?;
    }
    Ok(())
}

/// How dense a band is; where bands of several blocks lie over each other, they add up.
const BAND: f64 = 0.35;

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

/// One strip per row, the first on top.
pub(super) fn strips(area: &Drawing<'_>, x: &Axis, rows: &[Strip]) -> Result<(), Box<dyn Error>> {
    let y = Axis::strips(rows.iter().map(|row| shortened(&row.name)));
    let longest = y.ticks.iter().map(|(_, name)| name.chars().count()).max().unwrap_or(0) as u32;
    let mut chart = ChartBuilder::on(area)
        .margin_top(12)
        .margin_right(34)
        .x_label_area_size(46)
        .y_label_area_size(24 + 8 * longest)
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
