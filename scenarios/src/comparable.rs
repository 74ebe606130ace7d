//! Whether batches may stand side by side: figures of different work, settings or machines are no comparison.

use std::collections::{BTreeMap, BTreeSet};

use harness::record::{RunRecord, ServerFacts};
use reports::{Comparison, Side};

use crate::spec::{Scenario, ScenarioSpec};

/// Something in which two batches differ that their figures depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// What it is.
    pub field: String,
    /// The first one's.
    pub one: String,
    /// The other's.
    pub other: String,
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} | {}", self.field, self.one, self.other)
    }
}

/// What a scenario's figures do not depend on: who takes part, how often, with which seed, what is promised, words, and what its short
/// form would be.
const ASIDE: [&str; 7] = ["contenders", "blocks", "seed", "summary", "expect", "least_faults", "small"];

/// Fields that make up the load.
const LOAD: [&str; 7] =
    ["rate_per_s", "duration_s", "burst", "burst_every_s", "tick_every_s", "arrivals", "warm_up_s"];

/// Of all batches of all sides, in which they differ from the first.
#[must_use]
pub fn mismatches(sides: &[Side]) -> Vec<Mismatch> {
    let mut batches = sides.iter().flat_map(|side| &side.batches);
    let Some(first) = batches.next() else { return Vec::new() };
    let mut all: Vec<Mismatch> = Vec::new();
    for found in batches.flat_map(|batch| between(first, batch)) {
        if !all.contains(&found) {
            all.push(found);
        }
    }
    all
}

/// Digest of what the figures of a scenario depend on, by its text.
#[must_use]
pub fn digest(spec_toml: &str) -> String {
    let mut leaves = leaves(spec_toml);
    leaves.sort();
    harness::record::digest(&leaves.iter().map(|(way, value)| format!("{way}={value}\n")).collect::<String>())
}

/// In what two batches differ.
fn between(one: &Comparison, other: &Comparison) -> Vec<Mismatch> {
    let mut all = Vec::new();
    let mut differs = |field: &str, one: String, other: String| {
        if one != other {
            all.push(Mismatch { field: field.to_owned(), one, other });
        }
    };
    let [a, b] = [&one.manifest, &other.manifest];
    differs("scenario", a.scenario.clone(), b.scenario.clone());
    differs("machine class", a.machine.class(), b.machine.class());
    let pinned = |pinning: &Option<_>| if pinning.is_some() { "pinned" } else { "not pinned" }.to_owned();
    differs("processors", pinned(&a.pinning), pinned(&b.pinning));
    for run in one.rows.iter().filter_map(|row| row.records.first()) {
        let same = |record: &&RunRecord| record.contender == run.contender;
        let Some(twin) = other.rows.iter().filter_map(|row| row.records.first()).find(same) else { continue };
        let (Some(mine), Some(theirs)) = (&run.server, &twin.server) else { continue };
        differs(&format!("version of {}", mine.name), mine.version.clone(), theirs.version.clone());
        let settings: BTreeSet<&String> = mine.settings.keys().chain(theirs.settings.keys()).collect();
        for setting in settings {
            let of = |server: &ServerFacts| {
                server.settings.get(setting).map_or("not set", String::as_str).to_owned()
            };
            differs(&format!("{setting} of {}", mine.name), of(mine), of(theirs));
        }
        differs(&format!("members of {}", mine.name), roles(mine), roles(theirs));
        let (one, other) = (round_trips(mine), round_trips(theirs));
        // Where their numbers differ, that is told above.
        if one.iter().zip(&other).any(|(one, other)| far_apart(*one, *other)) {
            let ms = |ns: &u64| format!("{:.2}", *ns as f64 / 1e6);
            let told = |all: &[u64]| format!("{} ms", all.iter().map(ms).collect::<Vec<_>>().join(", "));
            differs(&format!("round trips to {}", mine.name), told(&one), told(&other));
        }
    }
    let looked = |batch: &Comparison| match batch.manifest.service_level {
        Some(_) => "the capacity of each (`lockbench capacity`)",
        None => "one load (`lockbench run`)",
    };
    differs("what was looked for", looked(one).to_owned(), looked(other).to_owned());
    let asked = |batch: &Comparison| match batch.manifest.plan.closed {
        Some(closed) => {
            format!(
                "a closed loop of {} callers who think for {} ms",
                closed.callers,
                closed.think_ns as f64 / 1e6
            )
        }
        None => "tasks that arrive by themselves (an open load)".to_owned(),
    };
    differs("who asked", asked(one), asked(other));
    all.extend(of_specs(&a.spec_toml, &b.spec_toml));
    all
}

/// How many members there are of each role; one that is alone may have none. Those of a private server are not told, only how many
/// there are where it is replicated.
fn roles(server: &ServerFacts) -> String {
    let private = server.settings.get("members").and_then(|members| members.parse().ok()).unwrap_or(1);
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    server.members.iter().for_each(|member| *count.entry(&member.role).or_default() += 1);
    if count.is_empty() {
        count.insert("", private);
    }
    let told = count.iter().map(|(role, count)| match (*role, count) {
        ("", 1) => "alone".to_owned(),
        ("", several) => format!("{several} members"),
        (role, count) => format!("{count} × {role}"),
    });
    told.collect::<Vec<_>>().join(", ")
}

/// To each member that answered, the nearest first; nothing to a private server, which is on this machine.
fn round_trips(server: &ServerFacts) -> Vec<u64> {
    let mut all: Vec<u64> = server.members.iter().filter_map(|member| member.round_trip_p50_ns).collect();
    all.sort_unstable();
    if all.is_empty() { vec![0] } else { all }
}

/// Whether a round trip is another one, and not the same on another day: more than twice as long, and by more than a fifth of a ms.
fn far_apart(one_ns: u64, other_ns: u64) -> bool {
    one_ns.abs_diff(other_ns) > 200_000 && one_ns.max(other_ns) > 2 * one_ns.min(other_ns)
}

/// Field by field; what is left out counts as its default where the scenario can still be read.
fn of_specs(one: &str, other: &str) -> Vec<Mismatch> {
    let read = |text: &str| Scenario::parse("manifest.json", text, &[]).ok().map(|scenario| scenario.spec);
    let specs = (read(one), read(other));
    if let (Some(one), Some(other)) = &specs
        && essence(one) == essence(other)
    {
        return Vec::new();
    }
    let tables = [one, other].map(leaves);
    let mut fields: Vec<&String> = tables.iter().flatten().map(|(field, _)| field).collect();
    fields.sort();
    fields.dedup();
    let of = |place: usize, field: &str| {
        let written = tables[place].iter().find(|(name, _)| name == field).map(|(_, value)| value.clone());
        let spec = if place == 0 { &specs.0 } else { &specs.1 };
        written.or_else(|| default_of(spec.as_ref()?, field)).unwrap_or_else(|| "not set".to_owned())
    };
    let differing = fields.into_iter().filter_map(|field| {
        let (one, other) = (of(0, field), of(1, field));
        let top = field.split('.').next().unwrap_or(field);
        let named = match top {
            "durability" | "topology" | "placement" | "membership" | "nodes" => field.clone(),
            top if LOAD.contains(&top) => format!("load, {field}"),
            _ => format!("scenario, {field}"),
        };
        (one != other).then_some(Mismatch { field: named, one, other })
    });
    differing.filter(|mismatch| mismatch.field != "scenario, name").collect()
}

/// What the figures depend on, as a text that is equal for equal scenarios.
fn essence(spec: &ScenarioSpec) -> String {
    let spec = ScenarioSpec {
        name: String::new(),
        contenders: Vec::new(),
        blocks: 1,
        seed: None,
        summary: String::new(),
        expect: Vec::new(),
        least_faults: 0,
        small: None,
        ..spec.clone()
    };
    format!("{spec:?}")
}

fn default_of(spec: &ScenarioSpec, field: &str) -> Option<String> {
    match field {
        "durability" => Some(format!("\"{}\"", format!("{:?}", spec.durability).to_lowercase())),
        "topology" => Some(format!("\"{}\"", format!("{:?}", spec.topology).to_lowercase())),
        "placement" => Some(format!("\"{}\"", format!("{:?}", spec.placement).to_lowercase())),
        "membership" => Some(format!("\"{}\"", format!("{:?}", spec.membership).to_lowercase())),
        _ => None,
    }
}

/// Every value with the way to it, those aside left out.
fn leaves(text: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    if let Ok(table) = toml::from_str::<toml::Table>(text) {
        for (key, value) in table.iter().filter(|(key, _)| !ASIDE.contains(&key.as_str())) {
            collect(key, value, &mut all);
        }
    }
    all
}

fn collect(way: &str, value: &toml::Value, all: &mut Vec<(String, String)>) {
    match value {
        toml::Value::Table(table) => {
            table.iter().for_each(|(key, value)| collect(&format!("{way}.{key}"), value, all));
        }
        toml::Value::Array(items) if items.iter().any(toml::Value::is_table) => {
            items.iter().enumerate().for_each(|(at, value)| collect(&format!("{way}[{at}]"), value, all));
        }
        toml::Value::Integer(whole) => {
            all.push((way.to_owned(), toml::Value::Float(*whole as f64).to_string()))
        }
        value => all.push((way.to_owned(), value.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use harness::record::MemberFacts;

    use super::*;
    use crate::catalog;

    fn with(settings: &[(&str, &str)]) -> String {
        let settings: Vec<_> =
            settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        catalog::load("smoke", &settings).unwrap().text
    }

    fn fields(one: &str, other: &str) -> Vec<String> {
        of_specs(one, other).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn who_takes_part_how_often_and_with_which_seed_does_not_matter() {
        let other =
            with(&[("blocks", "7"), ("seed", "5"), ("contenders", "[\"noop\", \"none\"]"), ("summary", "x")]);
        assert_eq!(fields(&with(&[]), &other), Vec::<String>::new());
    }

    #[test]
    fn a_member_more_and_a_longer_way_are_told_and_a_little_noise_is_not() {
        let member = |role: &str, ns: u64| MemberFacts {
            place: "10.0.0.1:1".to_owned(),
            role: role.to_owned(),
            round_trip_p50_ns: Some(ns),
            clock: None,
            failure: None,
        };
        let server = |members: Vec<MemberFacts>| ServerFacts {
            name: "Redis".to_owned(),
            version: "7".to_owned(),
            settings: BTreeMap::new(),
            origin: String::new(),
            members,
        };
        let pair = server(vec![member("primary", 150_000), member("replica", 900_000)]);
        assert_eq!(roles(&pair), "1 × primary, 1 × replica");
        assert_eq!(roles(&server(vec![member("", 1)])), roles(&server(Vec::new())));
        // etcd, ZooKeeper and NATS do not say who leads.
        assert_eq!(roles(&server(vec![member("", 1), member("", 2), member("", 3)])), "3 members");
        assert_eq!(round_trips(&pair), [150_000, 900_000]);
        assert!(far_apart(900_000, 2_000_000) && far_apart(0, 300_000));
        assert!(!far_apart(60_000, 190_000), "loopback under load");
        assert!(!far_apart(20_000_000, 30_000_000), "the same way on another day");
    }

    #[test]
    fn a_default_that_is_written_down_is_no_difference() {
        let durability = format!("{:?}", catalog::load("smoke", &[]).unwrap().spec.durability).to_lowercase();
        assert_eq!(fields(&with(&[]), &with(&[("durability", &durability)])), Vec::<String>::new());
        assert_eq!(
            fields(&with(&[]), &with(&[("hold_ms", "5.0"), ("rtt_ms", "0.0")])),
            ["scenario, hold_ms: not set | 5.0", "scenario, rtt_ms: not set | 0.0"]
        );
    }

    #[test]
    fn load_durability_topology_and_tasks_are_told_by_name_with_both_values() {
        let other = if format!("{:?}", catalog::load("smoke", &[]).unwrap().spec.durability) == "Memory" {
            "durable"
        } else {
            "memory"
        };
        let told = fields(
            &with(&[]),
            &with(&[
                ("rate_per_s", "200"),
                ("durability", other),
                ("topology", "replicated"),
                ("resources.vm.count", "60"),
            ]),
        );
        assert_eq!(told.len(), 4, "{told:?}");
        assert!(told.iter().any(|one| one == "load, rate_per_s: 250.0 | 200.0"), "{told:?}");
        assert!(told.iter().any(|one| one == "topology: \"single\" | \"replicated\""), "{told:?}");
        assert!(told.iter().any(|one| one.starts_with("durability: ")), "{told:?}");
        assert!(told.iter().any(|one| one == "scenario, resources.vm.count: 50.0 | 60.0"), "{told:?}");
    }
}
