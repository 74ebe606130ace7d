//! The look of each row, the same in every chart of every report: colour *and* dash pattern. It hangs on the name alone.

use std::collections::BTreeMap;

use harness::record::Role;

use super::palette::SERIES;
use crate::Comparison;

/// Contenders by name, each at the place of its look. A name is appended and never moved, so that it looks in every report as it did
/// in all before; the first eight have a colour each.
pub const KNOWN_LOOKS: &[&str] = &[
    "ring-queue",
    "redis-queue",
    "etcd-cas",
    "pg-mux",
    "zk-seq",
    "nats-kv",
    "jobs-faithful",
    "mysql-lease",
    "pg-session",
    "redis-fenced",
    "etcd-queue",
    "ring-drain",
    "redis-pubsub",
    "zk-crate",
    "pg-lease",
    "mysql-get-lock",
    "etcd-v3lock",
    "pg-xact",
    "redis-poll",
    "jobs-skip-locked",
    "redis-naive",
    "ring-fenced",
    "redis-redlock",
    "pg-row",
    "zk-herd",
    "etcd-v3lock-checked",
    "transfer-locks",
    "transfer-saga",
    "transfer-xact",
    "transfer-2pc",
    "transfer-3pc",
    "transfer-3pc-apart",
    "zk-ephemeral",
    "transfer-mirror-locks",
    "transfer-mirror-apart",
    "pg-pool-shared",
    "pg-pool-apart",
    "pg-connection-each",
];

/// Controls in the same way; all are grey.
const CONTROLS: &[&str] = &["noop", "none", "local-mutex", "ring-local", "port-echo"];

/// SVG dash patterns; the first is solid.
pub(super) const DASHES: &[&str] =
    &["", "7 3", "2 3", "10 3 2 3", "14 4", "6 3 2 3 2 3", "4 6", "18 3 2 3", "1 5"];

/// Those that go round with the colours. One that is appended later has a round of its own, so that no look moves.
const ROUND: usize = 6;

/// Place of the colour of all controls in [`SERIES`].
const CONTROL: usize = SERIES.len() - 1;

/// Looks that contenders can have.
const LOOKS: usize = CONTROL * DASHES.len();

/// From this place on are the looks of names that nobody has listed, such as those of programs that join over the port.
const STRANGERS: usize = LOOKS - 2 * CONTROL;

/// How a row looks in every chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    /// Place in [`SERIES`].
    pub(crate) colour: usize,
    /// Place in the dash patterns.
    pub(crate) dash: usize,
}

impl Look {
    /// The look of each row, in the order of the rows.
    pub(crate) fn of_rows(comparison: &Comparison) -> Vec<Self> {
        let of = |role| comparison.rows.iter().filter(move |row| row.role == role);
        let names: Vec<&str> = of(Role::Contender).map(|row| row.contender.as_str()).collect();
        let places = places(&names);
        let look = |(role, name): (Role, &str)| match role {
            Role::Contender => Self::at(places[name]),
            Role::Control => Self::of_control(name),
        };
        comparison.rows.iter().map(|row| look((row.role, row.contender.as_str()))).collect()
    }

    /// That of each of some contenders.
    pub(crate) fn of_names(names: &[&str]) -> Vec<Self> {
        let places = places(names);
        names.iter().map(|name| Self::at(places[name])).collect()
    }

    /// That of a control, also of one that has no row.
    pub(crate) fn of_control(name: &str) -> Self {
        let place = CONTROLS.iter().position(|known| *known == name);
        Self { colour: CONTROL, dash: place.unwrap_or_else(|| digest(name)) % DASHES.len() }
    }

    /// Neighbours differ in both, as far as dashes go round.
    fn at(place: usize) -> Self {
        let (colour, round) = (place % CONTROL, place / CONTROL);
        Self { colour, dash: if round < ROUND { (colour + round) % ROUND } else { round } }
    }

    /// The class of all that is drawn in this look, by which a script may hide it.
    pub(crate) fn class(self) -> String {
        format!("k{}-{}", self.colour, self.dash)
    }

    pub(crate) fn dashes(self) -> &'static str {
        DASHES[self.dash]
    }
}

/// A place for each name: its own where it is known; else one that hangs on the name, or the next that nobody has here.
fn places<'a>(names: &[&'a str]) -> BTreeMap<&'a str, usize> {
    let known =
        |name: &&'a str| KNOWN_LOOKS.iter().position(|known| known == name).map(|place| (*name, place));
    let mut all: BTreeMap<&str, usize> = names.iter().filter_map(known).collect();
    let mut strangers: Vec<&str> = names.iter().copied().filter(|name| !all.contains_key(name)).collect();
    // By name, so that who ran first does not matter.
    strangers.sort_unstable();
    for name in strangers {
        let first = STRANGERS + digest(name) % (LOOKS - STRANGERS);
        let free = (0..LOOKS).map(|n| (first + n) % LOOKS).find(|place| !all.values().any(|of| of == place));
        all.insert(name, free.unwrap_or(first));
    }
    all
}

/// FNV-1a.
fn digest(name: &str) -> usize {
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    name.bytes().fold(0x811c_9dc5, step) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::fixture;

    fn look_of(name: &str, among: &[&'static str]) -> Look {
        let comparison = fixture::named(among, 1);
        let place = comparison.rows.iter().position(|row| row.contender == name).unwrap();
        Look::of_rows(&comparison)[place]
    }

    #[test]
    fn a_contender_looks_the_same_whoever_else_is_in_the_report() {
        let alone = look_of("pg-mux", &["pg-mux"]);
        assert_eq!(look_of("pg-mux", &["redis-fenced", "etcd-cas", "pg-mux"]), alone);
        assert_eq!(look_of("mine", &["mine"]), look_of("mine", &["redis-fenced", "mine", "pg-mux"]));
    }

    #[test]
    fn no_two_contenders_look_alike() {
        let strangers = (0..16).map(|n| &*format!("c{n}").leak());
        let names: Vec<&'static str> = KNOWN_LOOKS.iter().copied().chain(strangers).collect();
        let all: BTreeSet<String> =
            Look::of_rows(&fixture::named(&names, 1)).into_iter().map(Look::class).collect();
        assert_eq!(all.len(), names.len() + 2, "and the two controls");
        let controls: BTreeSet<String> = CONTROLS.iter().map(|name| Look::of_control(name).class()).collect();
        assert_eq!(controls.len(), CONTROLS.len());
        assert!(KNOWN_LOOKS.len() <= STRANGERS, "strangers would look like a known one");
    }

    #[test]
    fn contenders_that_are_often_compared_differ_in_colour() {
        let colours: BTreeSet<_> = (0..CONTROL).map(|place| Look::at(place).colour).collect();
        assert_eq!(colours.len(), CONTROL);
    }
}
