use harness::record::capacity::{Carried, Ceiling};
use harness::record::difference::Ratio;
use harness::record::{
    Awareness, Elsewhere, FaultFacts, Histogram, Latency, OnTime, Peak, Probe, SCHEMA_VERSION, Survives,
    Tally,
};
use rand_distr::{Distribution as _, Exp};

use super::*;

#[test]
fn the_common_rate_has_two_digits() {
    let close = |rate: f64, digits: f64| (two_digits(rate) - digits).abs() < 1e-9;
    assert!(close(1234.0, 1200.0) && close(99.9, 99.0) && close(0.057, 0.057), "{}", two_digits(0.057));
}

/// Servers side by side, first come first served, with exponential service: of it the truth is known.
#[derive(Debug, Clone, Copy)]
struct Servers {
    count: u32,
    /// Mean service time.
    service_s: f64,
}

impl Servers {
    /// The probability that a task waits longer than `wait_s` at a rate (Erlang, Solution of some problems in the theory of
    /// probabilities of significance in automatic telephone exchanges, 1917).
    fn waits_longer(self, rate: f64, wait_s: f64) -> f64 {
        let (c, a) = (f64::from(self.count), rate * self.service_s);
        let (mut term, mut sum) = (1.0, 1.0);
        for k in 1..self.count {
            term *= a / f64::from(k);
            sum += term;
        }
        let last = term * a / c * c / (c - a);
        last / (sum + last) * (-(c / self.service_s - rate) * wait_s).exp()
    }

    /// The rate at which one task in a hundred waits longer than the limit.
    fn capacity(self, limit_s: f64) -> f64 {
        let (mut low, mut high) = (0.0, f64::from(self.count) / self.service_s);
        for _ in 0..100 {
            let middle = f64::midpoint(low, high);
            if self.waits_longer(middle, limit_s) < 0.01 { low = middle } else { high = middle }
        }
        low
    }

    /// Waits of the tasks that arrive within a window.
    fn waits(self, rate: f64, window_s: f64, rng: &mut ChaCha8Rng) -> Vec<f64> {
        let (gap, service) = (Exp::new(rate).unwrap(), Exp::new(1.0 / self.service_s).unwrap());
        let mut free_s = vec![0.0_f64; self.count as usize];
        let (mut at_s, mut waits) = (0.0, Vec::new());
        loop {
            at_s += gap.sample(rng);
            if at_s > window_s {
                return waits;
            }
            let first = (0..free_s.len()).min_by(|a, b| free_s[*a].total_cmp(&free_s[*b])).unwrap();
            let begins_s = free_s[first].max(at_s);
            free_s[first] = begins_s + service.sample(rng);
            waits.push(begins_s - at_s);
        }
    }
}

const LIMIT_S: f64 = 0.05;
/// Two hundred times as long as the queue remembers at its capacity, `1 ÷ (μ (1 − √ρ)²)`: in a short window the longest waits are
/// mostly missing, and the capacity seems a little higher.
const WINDOW_S: f64 = 40.0;

fn record(turn: &Turn, order: u32, waits: &[f64]) -> RunRecord {
    let mut latency = Latency::default();
    waits.iter().for_each(|wait| latency.excess.record_ns((wait * 1e9) as u64));
    latency.wait = Histogram::default();
    let tasks = Tally { planned: waits.len() as u64, completed: waits.len() as u64, ..Tally::default() };
    let probe = match turn.at {
        At::Probe { rate: rate_per_s, .. } => {
            let within = waits.iter().filter(|wait| **wait <= LIMIT_S).count() as u64;
            let on_time = OnTime { within, ..OnTime::default() };
            Some(Probe { rate_per_s, on_time, cut_ns: None, busiest: 0.0 })
        }
        At::Scenario | At::Rate(_) => None,
    };
    RunRecord {
        schema_version: SCHEMA_VERSION,
        contender: "servers".to_owned(),
        summary: String::new(),
        role: Role::Contender,
        block: turn.block,
        order,
        plan_digest: String::new(),
        rate_per_s: None,
        cell: Vec::new(),
        carries: None,
        probe,
        invalid: Vec::new(),
        repeated: Vec::new(),
        warnings: Vec::new(),
        tasks,
        window_ns: (WINDOW_S * 1e9) as u64,
        goodput_per_s: 0.0,
        backlog: None,
        latency,
        awareness: Awareness::default(),
        hosts: Vec::new(),
        elsewhere: Elsewhere::default(),
        excess_per_slice_ns: Vec::new(),
        closed: None,
        warm_up_ns: 0,
        completed_per_slice: Vec::new(),
        verdicts: Vec::new(),
        survives: Survives::default(),
        detection: String::new(),
        server: None,
        operations: None,
        grants: 0,
        server_cpu_ns: None,
        process_cpu_ns: 0,
        timer_cpu_ns: 0,
        peak: Peak::default(),
        others: None,
        programmed_delay_ns: None,
        faults: FaultFacts::default(),
        timeline: None,
        evidence: None,
    }
}

fn probing(blocks: u32, seed: u64) -> Probing {
    Probing {
        names: vec!["servers"],
        probed: vec![true],
        compared: vec![true],
        proves: vec![false],
        hurried: false,
        alone: false,
        level: ServiceLevel::default(),
        start_per_s: 300.0,
        blocks,
        seed,
    }
}

/// A whole search of the capacity of these servers.
fn searched(servers: Servers, blocks: u32, seed: u64) -> (Vec<RunRecord>, Ratio) {
    let probing = probing(blocks, seed);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut records: Vec<RunRecord> = Vec::new();
    while let Some(turn) = probing.next(&records, &[]) {
        let rate = match turn.at {
            At::Probe { rate, .. } | At::Rate(rate) => rate,
            At::Scenario => unreachable!("a batch for capacities has a rate in every turn. turn={turn:?}"),
        };
        let waits = servers.waits(rate, WINDOW_S, &mut rng);
        records.push(record(&turn, records.len() as u32, &waits));
    }
    let estimate = carried(&probing.level, 1, &[&records]).first().unwrap().estimate().unwrap();
    (records, estimate)
}

/// `LOCKBENCH_SEARCHES=100` for the night.
#[test]
fn a_known_capacity_is_found_within_10_percent_and_its_interval_covers_it() {
    let asked = std::env::var("LOCKBENCH_SEARCHES").map(|text| text.parse::<u64>().unwrap());
    let (searches, least) = asked.map_or((20, 90), |searches| (searches, 95));
    for count in [1, 8] {
        let servers = Servers { count, service_s: f64::from(count) * 0.002_5 };
        let truth = servers.capacity(LIMIT_S);
        let mut covered = 0;
        for seed in 1..=searches {
            let (_, estimate) = searched(servers, 6, seed);
            let (low, high) = estimate.interval(0.99);
            let off = (estimate.ratio() / truth - 1.0).abs();
            assert!(off < 0.1, "{count} servers, seed {seed}: {} beside {truth}", estimate.ratio());
            covered += u64::from((low..=high).contains(&truth));
        }
        println!("{count} servers: the interval covers {truth:.0}/s in {covered} of {searches}");
        assert!(covered * 100 >= searches * least, "{count} servers: {covered} of {searches}");
    }
}

#[test]
fn the_order_depends_on_the_records_alone_so_that_a_stopped_batch_goes_on_where_it_was() {
    let servers = Servers { count: 1, service_s: 0.001 };
    let (whole, _) = searched(servers, 2, 7);
    let probing = probing(2, 7);
    for done in 0..whole.len() {
        let turn = probing.next(&whole[..done], &[]).unwrap();
        assert_eq!(turn.block, whole[done].block);
        match turn.at {
            At::Probe { rate, .. } => assert_eq!(Some(rate), whole[done].probe.map(|probe| probe.rate_per_s)),
            _ => assert!(whole[done].probe.is_none()),
        }
    }
    assert!(probing.next(&whole, &[]).is_none());
}

#[test]
fn every_block_ends_with_a_run_at_half_the_least_capacity() {
    let (records, estimate) = searched(Servers { count: 1, service_s: 0.001 }, 3, 3);
    let runs: Vec<_> = records.iter().filter(|run| run.probe.is_none()).collect();
    assert_eq!(runs.len(), 3);
    let probing_rate = estimate.ratio() / 2.0;
    assert!((400.0..500.0).contains(&probing_rate), "{probing_rate}");
}

#[test]
fn where_latencies_are_compared_elsewhere_later_blocks_are_probes_alone_and_find_the_same_in_fewer() {
    let found = |alone: bool| {
        let (probing, mut records) = (Probing { alone, ..probing(6, 7) }, Vec::new());
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        while let Some(turn) = probing.next(&records, &[]) {
            let (At::Probe { rate, .. } | At::Rate(rate)) = turn.at else { unreachable!("{turn:?}") };
            let servers = Servers { count: 1, service_s: 0.002 };
            records.push(record(&turn, records.len() as u32, &servers.waits(rate, 4.0, &mut rng)));
        }
        let level = ServiceLevel::default();
        let of_block = |block| {
            let of_it: Vec<_> = records.iter().filter(|run| run.block == block).cloned().collect();
            carried(&level, 1, &[&of_it]).first().and_then(Carried::per_s)
        };
        let capacities: Vec<_> = (1..=6).filter_map(of_block).collect();
        let probes = records.iter().filter(|run| run.block == 1 && run.probe.is_some()).count();
        (records.iter().filter(|run| run.probe.is_none()).count(), probes, capacities)
    };
    let ((runs, probes, _), (runs_alone, probes_alone, capacities)) = (found(false), found(true));
    assert_eq!((runs, runs_alone), (6, 1));
    assert!(probes_alone < probes, "{probes_alone} and {probes}");
    let most = capacities.iter().copied().fold(0.0, f64::max);
    assert!(capacities.len() >= 5 && capacities.iter().all(|rate| *rate > 0.9 * most), "{capacities:?}");
}

/// A search among `servers` and the controls that could be ceilings, each with a server of its own; everybody's runs.
fn beside_ceilings(hurried: bool, service_s: [f64; 3]) -> Vec<RunRecord> {
    let probing = Probing {
        names: vec!["servers", "noop", "local-mutex"],
        probed: vec![true; 3],
        compared: vec![true, false, false],
        proves: vec![false, true, false],
        hurried,
        ..probing(3, 7)
    };
    let (mut rng, mut records) = (ChaCha8Rng::seed_from_u64(7), Vec::new());
    while let Some(turn) = probing.next(&records, &[]) {
        let (At::Probe { rate, .. } | At::Rate(rate)) = turn.at else { unreachable!("{turn:?}") };
        let servers = Servers { count: 1, service_s: service_s[turn.contender] };
        let mut run = record(&turn, records.len() as u32, &servers.waits(rate, 4.0, &mut rng));
        run.contender = probing.names[turn.contender].to_owned();
        if turn.contender > 0 {
            run.role = Role::Control;
        }
        run.programmed_delay_ns = (run.contender == "noop").then_some(0);
        records.push(run);
    }
    records
}

fn of(records: &[RunRecord], name: &str) -> Vec<RunRecord> {
    records.iter().filter(|run| run.contender == name).cloned().collect()
}

#[test]
fn where_time_is_short_ceilings_are_told_as_far_as_anybody_comes_near_and_run_once() {
    let service_s = [0.002, 0.000_02, 0.000_2];
    let [whole, hurried] = [false, true].map(|hurried| beside_ceilings(hurried, service_s));
    let counts = |records: &[RunRecord], name: &str| {
        let own = of(records, name);
        let probes = own.iter().filter(|run| run.probe.is_some()).count();
        (probes, own.len() - probes)
    };
    assert_eq!(counts(&whole, "noop").1, 3);
    assert_eq!(counts(&whole, "local-mutex").1, 3);
    assert_eq!(counts(&hurried, "noop").1, 3, "a block without it proves nothing");
    assert_eq!(counts(&hurried, "local-mutex").1, 1);
    assert!(counts(&hurried, "noop").0 + 4 <= counts(&whole, "noop").0, "{:?}", counts(&hurried, "noop"));
    let level = ServiceLevel::default();
    let noop = &carried(&level, 1, &[&of(&hurried, "noop")])[0];
    let servers = &carried(&level, 1, &[&of(&hurried, "servers")])[0];
    assert!(noop.per_s().is_none() && noop.at_least >= servers.per_s().map(|rate| 1.9 * rate), "{noop:?}");
    let noop = &carried(&level, 1, &[&of(&whole, "noop")])[0];
    assert!(noop.per_s() > Some(10_000.0) && noop.at_least.is_none(), "{noop:?}");
}

#[test]
fn whoever_carries_as_much_as_a_lock_that_costs_nothing_ends_at_the_workload() {
    let limited = |service_s: [f64; 3]| {
        let records = beside_ceilings(true, service_s);
        let rows = ["servers", "noop", "local-mutex"].map(|name| of(&records, name));
        let all = carried(&ServiceLevel::default(), 1, &rows.each_ref().map(Vec::as_slice));
        all.iter().map(|one| one.limited).collect::<Vec<_>>()
    };
    assert_eq!(limited([0.002, 0.000_02, 0.001_9]), [Some(Ceiling::Workload), None, None]);
    assert_eq!(limited([0.002, 0.001_9, 0.001_8]), [Some(Ceiling::Workload), None, None], "both");
    assert_eq!(limited([0.002, 0.001_9, 0.000_5]), [Some(Ceiling::Bench), None, None]);
    assert_eq!(limited([0.002, 0.000_02, 0.000_5]), [None; 3]);
}

#[test]
fn a_probe_that_the_machine_spoiled_is_made_again_and_not_for_ever() {
    let probing = probing(1, 7);
    let mut records: Vec<RunRecord> = Vec::new();
    while let Some(turn @ Turn { at: At::Probe { rate, .. }, .. }) = probing.next(&records, &[]) {
        assert!((rate - 300.0).abs() < 1e-9, "nothing has been learnt yet");
        let mut spoiled = record(&turn, records.len() as u32, &[0.0; 1_000]);
        spoiled.invalid.push("the machine was too busy".to_owned());
        records.push(spoiled);
    }
    assert_eq!(records.len(), 40);
}
