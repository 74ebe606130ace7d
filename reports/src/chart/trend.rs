//! A figure over commits.

use super::axis::Axis;
use super::look::Look;
use super::plot::{Line, WIDTH, lines};
use super::scales::Scales;
use super::svg::{Named, image};
use crate::ReportError;

/// A series, each value in parts of the first.
pub(crate) struct TrendLine<'a> {
    pub(crate) id: String,
    pub(crate) title: &'a str,
    pub(crate) description: &'a str,
    pub(crate) relative: Vec<f64>,
    /// Places from and until, and the level between them.
    pub(crate) levels: Vec<(usize, usize, f64)>,
}

/// Values as a line, levels dashed, a band at each change.
pub(crate) fn trend_image(line: &TrendLine<'_>) -> Result<String, ReportError> {
    let TrendLine { id, title, description, relative, levels } = line;
    let last = (relative.len() - 1) as f64;
    let greatest = relative.iter().copied().fold(0.0, f64::max);
    let mut x = Axis::from_zero("batches before this one", last);
    x.to = last.max(1.0);
    let y = Axis::from_zero("times the first", greatest);
    let look = |dash| Look { colour: 0, dash };
    let mut curves = vec![Line {
        look: look(0),
        points: relative.iter().enumerate().map(|(at, value)| (at as f64, *value)).collect(),
    }];
    curves.extend(levels.iter().map(|(from, until, level)| Line {
        look: look(1),
        points: vec![(*from as f64, *level), ((until - 1) as f64, *level)],
    }));
    let bands: Vec<_> = levels.iter().skip(1).map(|(from, ..)| (*from as f64 - 1.0, *from as f64)).collect();
    let named = Named { id, title, description, scales: Scales::default() };
    image(&named, (WIDTH, 240), |area| lines(area, &x, &y, &curves, &bands))
}
