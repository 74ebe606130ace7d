//! What is seen of a run, in words for one line.

use clap::builder::styling::{AnsiColor, Style};

use super::seen::Seen;

/// Whether words have colours; they say the same without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    Colours,
    Plain,
}

impl Paint {
    fn paint(self, words: String, colour: AnsiColor) -> String {
        match self {
            Self::Plain => words,
            Self::Colours => {
                let style = Style::new().fg_color(Some(colour.into())).bold();
                format!("{style}{words}{style:#}")
            }
        }
    }
}

/// Places of the bar.
const PLACES: usize = 12;

/// `block 1/6 redis  ████░░░░░░░░  offered 300/s, done 298/s, 14 in flight, p99 12 ms, 0 violations, 8 s left, 4 min of all`.
/// What matters most stands first, since a narrow terminal cuts the rest off.
pub(super) fn words(seen: &Seen, paint: Paint) -> String {
    let Seen { run, at_s, over, offered_per_s, achieved_per_s, in_flight, .. } = seen;
    let left = match seen.all_left_s {
        Some(all_s) => format!("{} left, {} of all", span(seen.left_s), span(all_s)),
        None => format!("{} left", span(seen.left_s)),
    };
    if *at_s < 0.0 {
        return format!("{run:<28} getting ready, {left}");
    }
    let full = (over * PLACES as f64) as usize;
    let bar = "█".repeat(full) + &"░".repeat(PLACES - full);
    let p99 = seen.response_p99_ms.map_or_else(|| "–".to_owned(), |ms| span(ms / 1e3));
    let mut parts = vec![
        format!("{run:<28} {bar} offered {offered_per_s:.0}/s"),
        format!("done {achieved_per_s:.0}/s"),
        format!("{in_flight} in flight"),
        format!("p99 {p99}"),
        wrong(seen, paint),
    ];
    parts.extend(seen.fault.clone().map(|fault| paint.paint(format!("now: {fault}"), AnsiColor::Yellow)));
    parts.push(left);
    parts.join(", ")
}

/// Overlaps and lost updates together: one entry that should not have been often shows as both.
fn wrong(seen: &Seen, paint: Paint) -> String {
    let count = seen.overlaps.max(seen.lost_updates);
    match (count, seen.control) {
        (0, false) => "0 violations".to_owned(),
        (1, false) => paint.paint("1 violation".to_owned(), AnsiColor::Red),
        (_, false) => paint.paint(format!("{count} violations"), AnsiColor::Red),
        (_, true) => format!("{count} overlaps of a control"),
    }
}

/// A time as short as may be: it is about.
fn span(s: f64) -> String {
    match s {
        ..0.000_000_5 => "0 s".to_owned(),
        ..0.001 => format!("{:.0} µs", s * 1e6),
        ..0.9995 => format!("{:.0} ms", s * 1e3),
        ..90.0 => format!("{s:.0} s"),
        ..5400.0 => format!("{:.0} min", s / 60.0),
        _ => format!("{:.1} h", s / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Seen {
        Seen {
            run: "block 1/3 redis-fenced".to_owned(),
            at_s: 5.0,
            over: 0.5,
            returned: 1_400,
            tasks: 3_000,
            offered_per_s: 300.4,
            achieved_per_s: 298.2,
            in_flight: 14,
            response_p99_ms: Some(12.3),
            overlaps: 0,
            lost_updates: 0,
            control: false,
            fault: None,
            left_s: 5.0,
            all_left_s: Some(252.0),
        }
    }

    #[test]
    fn a_line_says_what_goes_on() {
        assert_eq!(
            words(&seen(), Paint::Plain),
            "block 1/3 redis-fenced       ██████░░░░░░ offered 300/s, done 298/s, 14 in flight, p99 12 ms, \
             0 violations, 5 s left, 4 min of all"
        );
    }

    #[test]
    fn what_is_wrong_and_what_is_broken_is_coloured_only_where_colours_are_wanted() {
        let broken = Seen { overlaps: 2, lost_updates: 3, fault: Some("pause node 1".to_owned()), ..seen() };
        let plain = words(&broken, Paint::Plain);
        assert!(
            plain.contains("3 violations, now: pause node 1, 5 s left") && !plain.contains('\x1b'),
            "{plain}"
        );
        let coloured = words(&broken, Paint::Colours);
        assert!(coloured.contains("\x1b[31m") && coloured.contains("\x1b[33m"), "{coloured:?}");
        let control = words(&Seen { control: true, ..broken }, Paint::Colours);
        assert!(control.contains("3 overlaps of a control") && !control.contains("\x1b[31m"), "{control:?}");
    }

    #[test]
    fn a_run_that_is_being_prepared_has_no_figures() {
        let early = Seen { at_s: -1.0, all_left_s: None, left_s: 10.0, ..seen() };
        assert_eq!(words(&early, Paint::Plain), "block 1/3 redis-fenced       getting ready, 10 s left");
    }

    #[test]
    fn spans_are_rounded_to_what_a_reader_needs() {
        let spans = [0.0, 0.0004, 0.012, 0.9996, 89.0, 252.0, 7200.0].map(span);
        assert_eq!(spans, ["0 s", "400 µs", "12 ms", "1 s", "89 s", "4 min", "2.0 h"]);
    }
}
