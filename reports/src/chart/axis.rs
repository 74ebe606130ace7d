//! Ticks that people would choose.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

use super::scales::Scale;
use crate::format;

/// An axis: its name, range and labelled ticks.
#[derive(Clone)]
pub(super) struct Axis {
    pub(super) name: &'static str,
    pub(super) scale: Scale,
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From 0 to past the greatest value.
    pub(super) fn from_zero(name: &'static str, greatest: f64) -> Self {
        // What is less cannot be told from none, and has no steps that could be counted.
        let greatest = if greatest > 1e-9 && greatest.is_finite() { greatest } else { 1.0 };
        let rough = greatest / 6.0;
        let decade = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|m| m * decade)
            .into_iter()
            .find(|step| *step >= rough)
            .unwrap_or(rough);
        let steps = (greatest / step).floor() as u32;
        let label = |n: u32| {
            let at = f64::from(n) * step;
            let decimals = (-step.log10().floor()).max(0.0) as usize;
            (at, if at >= 1e3 { format::significant(at) } else { format!("{at:.decimals$}") })
        };
        let ticks = (0..=steps).map(label).collect();
        Self { name, scale: Scale::Linear, from: 0.0, to: greatest * 1.05, ticks }
    }

    /// Seconds before and after something, which is at 0.
    pub(super) fn around(name: &'static str, from: f64, to: f64) -> Self {
        let right = Self::from_zero(name, to.max(-from));
        let before = right.ticks.iter().skip(1).map(|(at, text)| (-at, format!("−{text}")));
        let mut ticks: Vec<_> = before.filter(|(at, _)| *at >= from).collect();
        ticks.reverse();
        ticks.extend(right.ticks.iter().filter(|(at, _)| *at <= to).cloned());
        Self { from, to, ticks, ..right }
    }

    /// Durations on a log scale; positions are log10 of nanoseconds.
    pub(super) fn log_duration(name: &'static str, ns: impl Iterator<Item = f64>) -> Self {
        let (least, greatest) =
            ns.map(log_ns).fold((f64::MAX, f64::MIN), |(a, b), at| (a.min(at), b.max(at)));
        let (least, greatest) = if least > greatest { (3.0, 6.0) } else { (least - 0.05, greatest + 0.05) };
        let ladder: Vec<f64> =
            (1..=13).flat_map(|decade| [1.0, 2.0, 5.0].map(|m: f64| f64::from(decade) + m.log10())).collect();
        let below = ladder.iter().rev().find(|at| **at <= least);
        let above = ladder.iter().find(|at| **at >= greatest);
        let (from, to) = (*below.unwrap_or(&least), *above.unwrap_or(&greatest));
        let fine = to - from < 2.1;
        let wanted = |at: &f64| (from..=to).contains(at) && (fine || (at - at.round()).abs() < 1e-9);
        let ticks = ladder.into_iter().filter(wanted).map(|at| (at, format::tick(10_f64.powf(at)))).collect();
        Self { name, scale: Scale::LogNs, from, to, ticks }
    }

    /// Rates on a log scale; positions are log10 of the rate.
    pub(super) fn log_rate(name: &'static str, rates: impl Iterator<Item = f64>) -> Self {
        let (least, greatest) =
            rates.map(f64::log10).fold((f64::MAX, f64::MIN), |(a, b), at| (a.min(at), b.max(at)));
        let (from, to) = if least > greatest { (0.0, 3.0) } else { (least - 0.05, greatest + 0.05) };
        let ladder = (-2..=7).flat_map(|decade| [1.0, 2.0, 5.0].map(|m: f64| f64::from(decade) + m.log10()));
        let ticks = ladder.filter(|at| (from..=to).contains(at));
        let ticks = ticks.map(|at| (at, format::significant(10_f64.powf(at)))).collect();
        Self { name, scale: Scale::Log, from, to, ticks }
    }

    /// Shares from the median down on the tail's own scale: positions are log10(1 ÷ (1 − share)).
    pub(super) fn tail(name: &'static str, deepest: f64) -> Self {
        let marks = [(0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.9999, "99.99 %")];
        let more = [(0.999_99, "99.999 %"), (0.999_999, "99.9999 %")];
        let ticks = marks.into_iter().chain(more).map(|(share, text)| (tail_of(share), text.to_owned()));
        Self {
            name,
            scale: Scale::Tail,
            from: tail_of(0.5),
            to: deepest,
            ticks: ticks.filter(|(at, _)| *at <= deepest + 1e-9).collect(),
        }
    }

    /// What a position means, and the ends.
    pub(super) fn scale(&self) -> (Scale, f64, f64) {
        (self.scale, self.from, self.to)
    }

    /// Values one beside the other, whatever lies between them, each at its number.
    pub(super) fn places(values: impl ExactSizeIterator<Item = String>) -> Self {
        let last = values.len().saturating_sub(1) as f64;
        let ticks = values.enumerate().map(|(place, value)| (place as f64, value)).collect();
        Self { name: "", scale: Scale::Strips, from: -0.15, to: last + 0.15, ticks }
    }

    /// An axis of `rows` strips, named from the top down.
    pub(super) fn strips(names: impl ExactSizeIterator<Item = String>) -> Self {
        let rows = names.len() as f64;
        let ticks = names.enumerate().map(|(place, name)| (rows - place as f64 - 0.5, name)).collect();
        Self { name: "", scale: Scale::Strips, from: 0.0, to: rows, ticks }
    }
}

/// plotters asks the axis where a value lies and which ticks it has.
impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (low, high): (i32, i32)) -> i32 {
        let share = (value - self.from) / (self.to - self.from);
        low + (share * f64::from(high - low)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() {
            Vec::new()
        } else {
            self.ticks.iter().map(|(at, _)| *at).collect()
        }
    }

    fn range(&self) -> Range<f64> {
        self.from..self.to
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, at: &f64) -> String {
        let near = self.ticks.iter().find(|(tick, _)| (tick - at).abs() < 1e-9);
        near.map_or_else(String::new, |(_, text)| text.clone())
    }
}

/// Position of a duration on a log axis; what is below 100 ns is drawn there, where no clock of ours resolves it.
pub(super) fn log_ns(ns: f64) -> f64 {
    ns.max(100.0).log10()
}

/// Position of a share on a tail axis.
pub(super) fn tail_of(share: f64) -> f64 {
    -(1.0 - share).log10()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_around_something_has_ticks_on_both_sides() {
        assert_eq!(labels(&Axis::around("", -2.0, 6.0)), ["−2", "−1", "0", "1", "2", "3", "4", "5", "6"]);
    }

    fn labels(axis: &Axis) -> Vec<String> {
        axis.ticks.iter().map(|(_, text)| text.replace('\u{202f}', " ")).collect()
    }

    #[test]
    fn wide_log_axes_label_decades_and_narrow_ones_more() {
        assert_eq!(
            labels(&Axis::log_duration("", [6e4, 1.9e8].into_iter())),
            ["100 µs", "1 ms", "10 ms", "100 ms"]
        );
        let narrow = Axis::log_duration("", [1.5e6, 8e6].into_iter());
        assert_eq!(labels(&narrow), ["1 ms", "2 ms", "5 ms", "10 ms"]);
    }

    #[test]
    fn linear_axes_step_by_one_two_or_five() {
        assert_eq!(labels(&Axis::from_zero("", 412.0)), ["0", "100", "200", "300", "400"]);
        assert_eq!(labels(&Axis::from_zero("", 0.9)), ["0.0", "0.2", "0.4", "0.6", "0.8"]);
        for odd in [0.0, -1.0, 5e-324, 1e-300, f64::INFINITY, f64::NAN] {
            assert_eq!(labels(&Axis::from_zero("", odd)), labels(&Axis::from_zero("", 1.0)), "{odd}");
        }
    }

    #[test]
    fn the_tail_axis_spaces_each_nine_alike() {
        let axis = Axis::tail("", 4.0);
        assert_eq!(labels(&axis), ["50 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
        assert!((tail_of(0.999) - 3.0).abs() < 1e-9);
    }
}
