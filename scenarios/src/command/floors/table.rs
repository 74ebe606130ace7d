//! The table in Markdown, and whether it can be true.

use std::fmt::Write as _;

use harness::engine::machine::survey;
use harness::servers::Server;
use lock_backends::SafetyClass;

use super::hot;
use super::idle;
use super::nodes::{SESSIONS, TTL};
use super::pair::{EACH, ROUNDS, Requests};
use super::server::Measured;
use super::spread::Spread;

/// All that was measured.
#[derive(Debug)]
pub(super) struct Table {
    /// By which it is measured again.
    pub(super) command: String,
    /// A line each.
    pub(super) servers: Vec<String>,
    pub(super) rows: Vec<Measured>,
}

impl Table {
    pub(super) fn add_server(&mut self, server: &Server, requests: &Requests) {
        let settings: Vec<String> =
            server.settings().iter().map(|(name, value)| format!("{name}={value}")).collect();
        self.servers.push(format!(
            "| {} {} | {} | {} | {} |",
            server.kind().title(),
            server.version(),
            time(requests.round_trip_ns()),
            time(requests.write_ns()),
            settings.join(", ")
        ));
    }

    /// The variants that were quicker than their floor, and how much: nothing can be, so the floor was none.
    pub(super) fn impossible(&self) -> Vec<(&'static str, Spread)> {
        let ratios =
            self.rows.iter().filter_map(|row| Some((row.variant.name, row.pairs.times_its_floor()?)));
        below_their_floor(ratios)
    }

    /// With those that are impossible said first.
    pub(super) fn render(&self, impossible: &[(&'static str, Spread)]) -> Result<String, std::fmt::Error> {
        let machine = survey(&std::env::temp_dir());
        let mut text = verdict(impossible);
        writeln!(
            text,
            "Printed by `{}` on {}, {} cores, fsync p50 {}. Medians of {ROUNDS} rounds of {EACH} pairs each, in turns with their \
             floors, with the 99 % interval of the median; hot keys with the least and the most of {} rounds. Only ratios of one \
             table mean something.\n\n\
             | server | round trip p50 | write p50 | settings |\n| --- | --: | --: | --- |\n{}\n\n\
             | variant | class | token | fair | key free after a crash | pair p50 | floor | × floor | operations / pair | hot key, grants/s | operations / grant | stayed in the session | idle operations / holder-hour |\n\
             | --- | --- | --- | --- | --- | --: | --: | --: | --: | --: | --: | --: | --: |",
            self.command,
            machine.cpu,
            machine.cores,
            machine.fsync_p50_ns.map_or_else(missing, |ns| duration(ns as f64)),
            hot::ROUNDS,
            self.servers.join("\n"),
        )?;
        for Measured { variant, pairs, hot, idle_per_hour } in &self.rows {
            let class = match variant.class {
                SafetyClass::Unsafe { .. } => "U",
                SafetyClass::Timed => "T",
                SafetyClass::Fenced => "F",
                SafetyClass::Atomic => "A",
            };
            let yes = |has: bool| if has { "yes" } else { "no" };
            writeln!(
                text,
                "| `{}` | {class} | {} | {} | {} | {} | {} | {} | {:.2} | {} | {:.2} | {:.0} % | {:.0} |",
                variant.name,
                yes(variant.capabilities.token),
                yes(variant.capabilities.fair),
                variant.survives.node_crash,
                time(pairs.pair_ns()),
                time(pairs.floor_ns()),
                pairs.times_its_floor().map_or_else(missing, |ratio| ratio.to_string()),
                pairs.operations(),
                hot.grants_per_s().map_or_else(missing, |rate| rate.show(0)),
                hot.operations(),
                100.0 * hot.stayed(),
                idle_per_hour
            )?;
        }
        write!(
            text,
            "\nClass T: exclusive while clocks run at similar rates, pauses stay below the lease's margin and the server's \
             state survives. F: T with a token, exclusive at a resource that checks it. A: atomic with what it protects. Floor: \
             two round trips of a bare client one after the other, or two writes where acquire and release are writes, in \
             the same loop as the pair. Hot key: {SESSIONS} sessions with {} \
             waiters each, no hold. The waiters of a session line up in it, and one of them goes to the server; where a variant is \
             not fair, the session that gave the key back may take it again before the others ask, which costs no hand-over and \
             looks fast: see how many grants stayed in the session. Idle: a key held for {} s with a ttl of {} s, and nothing else asked.",
            hot::WAITERS,
            idle::HELD.as_secs(),
            TTL.as_secs()
        )?;
        Ok(text)
    }
}

/// Those of which even the upper end of the interval lies below 1.
fn below_their_floor(ratios: impl Iterator<Item = (&'static str, Spread)>) -> Vec<(&'static str, Spread)> {
    ratios.filter(|(_, ratio)| ratio.is_below_its_floor()).collect()
}

/// Empty where the table can be true.
fn verdict(impossible: &[(&'static str, Spread)]) -> String {
    if impossible.is_empty() {
        return String::new();
    }
    let list: Vec<String> = impossible.iter().map(|(name, ratio)| format!("`{name}` × {ratio}")).collect();
    format!(
        "**INVALID, the bench is not proven.** A floor is what nothing can go under, and below theirs are: {}.\n\n",
        list.join(", ")
    )
}

fn time(spread: Option<Spread>) -> String {
    spread.map_or_else(missing, |spread| duration(spread.median))
}

fn duration(ns: f64) -> String {
    match ns {
        ..1e3 => format!("{ns:.0} ns"),
        ..1e6 => format!("{:.0} µs", ns / 1e3),
        _ => format!("{:.2} ms", ns / 1e6),
    }
}

fn missing() -> String {
    "–".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_with_a_variant_below_its_floor_says_first_that_it_is_invalid() {
        let spread = |low, median, high| Spread { median, low, high };
        let ratios = [
            ("redis-poll", spread(1.1, 1.2, 1.3)),
            ("pg-mux", spread(0.65, 0.7, 0.75)),
            ("pg-xact", spread(0.9, 0.95, 1.02)),
        ];
        let impossible = below_their_floor(ratios.into_iter());
        assert_eq!(impossible, [ratios[1]]);
        let said = verdict(&impossible);
        assert!(said.starts_with("**INVALID") && said.contains("`pg-mux` × 0.70 (0.65–0.75)"), "{said}");
        assert!(!said.contains("pg-xact"), "{said}");
        assert_eq!(verdict(&[]), "");
    }

    #[test]
    fn a_duration_is_told_in_its_own_unit() {
        for (ns, told) in [(999.4, "999 ns"), (5_400.0, "5 µs"), (2_345_000.0, "2.35 ms")] {
            assert_eq!(duration(ns), told);
        }
    }
}
