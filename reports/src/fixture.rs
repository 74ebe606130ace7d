//! Hand-made batches for tests: figures are drawn, but from one seed and in a plausible shape.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use harness::record::{
    Awareness, Calibration, CheckVerdict, Elsewhere, End, Expected, FaultFacts, FaultRecord, GateAnswer,
    GateRecord, HarnessCost, Histogram, Kept, Latency, Machine, Manifest, NoiseFloor, Operations, Peak,
    PlanFacts, Role, RunRecord, SCHEMA_VERSION, ServerFacts, Skipped, Survives, Tally, Verdict,
};

use crate::Comparison;

mod brief;
mod overtaken;
mod probed;
mod swept;

pub(crate) use self::{brief::brief, overtaken::overtaken, probed::probed, swept::swept};

/// Two contenders, one of them violated, two controls, one skipped, three blocks.
pub(crate) fn small() -> Comparison {
    static DRAWN: LazyLock<Comparison> = LazyLock::new(|| batch(&[RING, NAIVE], &[NONE, NOOP], 3));
    DRAWN.clone()
}

/// The same of so many blocks.
pub(crate) fn of_blocks(blocks: u32) -> Comparison {
    batch(&[RING, NAIVE], &[NONE, NOOP], blocks)
}

/// What a review would show: five contenders, four controls, three blocks.
pub(crate) fn rich() -> Comparison {
    static DRAWN: LazyLock<Comparison> = LazyLock::new(draw_rich);
    DRAWN.clone()
}

fn draw_rich() -> Comparison {
    let contenders = [
        RING,
        NAIVE,
        Shape { name: "redis-queue", wait_ns: 420_000, sigma: 0.9, server: Some("Redis"), ..RING },
        Shape { name: "etcd-queue", wait_ns: 3_800_000, sigma: 0.6, server: Some("etcd"), ..RING },
        Shape { name: "pg-mux", wait_ns: 900_000, sigma: 1.1, server: Some("PostgreSQL"), ..RING },
    ];
    let control = |name| Shape { name, role: Role::Control, wait_ns: 60_000, ..RING };
    batch(&contenders, &[NOOP, NONE, control("local-mutex"), control("ring-local")], 3)
}

/// The first contender's holder was paused once, and once nobody was hit.
pub(crate) fn faulted() -> Comparison {
    let mut comparison = small();
    let fault = FaultRecord {
        verb: "pause".to_owned(),
        target: "holder".to_owned(),
        node: Some(1),
        member: None,
        planned_ns: 1_000_000_000,
        from_ns: Some(1_010_000_000),
        until_ns: Some(4_010_000_000),
        misses: 1,
        hits: 1,
        regressions: 1,
        rejections: 0,
        freed_ns: Some(2_000_000_000),
        unserved_ns: Some(2_000_000_000),
        moved_keys: 3,
        stall_ns: Some(250_000_000),
        completed_before: 200,
        completed_after: 150,
        effective: true,
        failure: None,
    };
    let missed = FaultRecord {
        planned_ns: 6_000_000_000,
        from_ns: Some(6_000_000_000),
        until_ns: Some(6_500_000_000),
        misses: 2,
        hits: 0,
        regressions: 0,
        freed_ns: None,
        unserved_ns: Some(300_000_000),
        moved_keys: 0,
        stall_ns: None,
        completed_after: 190,
        effective: false,
        ..fault.clone()
    };
    let faults = &mut comparison.rows[0].records[0].faults;
    *faults = FaultFacts { planned: 2, faults: vec![fault, missed], ..FaultFacts::default() };
    comparison
}

/// The noise floor of two figures of a contender.
pub(crate) fn calibration() -> Calibration {
    let floor = |metric: &str| NoiseFloor {
        contender: "redis-naive".to_owned(),
        metric: metric.to_owned(),
        blocks: 10,
        log_ratio_sd: 0.05,
        ratio: 1.0,
        detectable_by_6: 0.16,
        detectable_by_10: 0.1,
    };
    Calibration {
        schema_version: SCHEMA_VERSION,
        machine_class: "two cores".to_owned(),
        scenario: "smoke".to_owned(),
        measured_utc: "2026-11-28T00:00:00Z".to_owned(),
        blocks: 10,
        floors: vec![floor("goodput"), floor("release_p50")],
    }
}

/// Put to a gate of two thresholds, one of them broken.
pub(crate) fn gated() -> Comparison {
    let answer = |rule: &str, kept| GateAnswer {
        contender: "redis-naive".to_owned(),
        metric: "wait_p99".to_owned(),
        rule: rule.to_owned(),
        kept,
        why: "as it came".to_owned(),
        observed: "30 ms (25 ms to 36 ms)".to_owned(),
        blocks: 3,
    };
    let gate = GateRecord {
        schema_version: SCHEMA_VERSION,
        file: "gate.toml".to_owned(),
        thresholds_toml: "[[threshold]]\n".to_owned(),
        banner: Vec::new(),
        answers: vec![answer("wait_p99 ≤ 20 ms", Kept::No), answer("wait_p50 ≤ 20 ms", Kept::Yes)],
    };
    Comparison { gate: Some(gate), ..small() }
}

/// Tasks came in bursts: the first contender's were served in 100, 200 and 900 ms, two in the first block.
pub(crate) fn bursts() -> Comparison {
    let mut comparison = small();
    for (block, ms) in [(0, 100), (0, 900), (1, 200)] {
        comparison.rows[0].records[block].latency.burst.record_ns(ms * 1_000_000);
    }
    let Comparison { manifest, rows, .. } = comparison;
    Comparison::new(manifest, rows.into_iter().flat_map(|row| row.records).collect())
}

/// `contenders` × `blocks` with the given names, for size and escaping.
pub(crate) fn named(contenders: &[&'static str], blocks: u32) -> Comparison {
    let shapes: Vec<Shape> = contenders.iter().map(|name| Shape { name, ..NAIVE }).collect();
    batch(&shapes, &[NONE, NOOP], blocks)
}

/// Writes a batch directory as a run leaves it.
pub(crate) fn store(comparison: &Comparison, dir: &Path) {
    fs::write(dir.join("manifest.json"), serde_json::to_vec(&comparison.manifest).unwrap()).unwrap();
    for record in comparison.records().chain(&comparison.probes) {
        let probe = record.probe.map_or_else(String::new, |_| format!("-probe-{}", record.order));
        let run = dir.join(format!("{}-{}{probe}", record.block, record.contender));
        fs::create_dir_all(&run).unwrap();
        fs::write(run.join("record.json"), serde_json::to_vec(record).unwrap()).unwrap();
    }
}

#[derive(Clone, Copy)]
struct Shape {
    name: &'static str,
    role: Role,
    wait_ns: u64,
    sigma: f64,
    server: Option<&'static str>,
    answer: Answer,
}

#[derive(Clone, Copy, PartialEq)]
enum Answer {
    Holds,
    ViolatedOncePerBlock,
    Caught,
    Exempt,
}

const RING: Shape = Shape {
    name: "ring-queue",
    role: Role::Contender,
    wait_ns: 210_000,
    sigma: 1.2,
    server: None,
    answer: Answer::Holds,
};
const NAIVE: Shape = Shape {
    name: "redis-naive",
    wait_ns: 2_400_000,
    sigma: 1.4,
    server: Some("Redis"),
    answer: Answer::ViolatedOncePerBlock,
    ..RING
};
const NONE: Shape =
    Shape { name: "none", role: Role::Control, wait_ns: 50_000, answer: Answer::Caught, ..RING };
const NOOP: Shape = Shape {
    name: "noop",
    role: Role::Control,
    wait_ns: 5_030_000,
    sigma: 0.004,
    answer: Answer::Exempt,
    ..RING
};

const TASKS: u64 = 4_000;
const WINDOW_NS: u64 = 10_000_000_000;

fn batch(contenders: &[Shape], controls: &[Shape], blocks: u32) -> Comparison {
    let mut records = Vec::new();
    let mut draw = Draw(7);
    for block in 1..=blocks {
        // Controls run first here, so that the order of the rows is not the order of the runs.
        for shape in controls.iter().chain(contenders) {
            records.push(run(shape, block, records.len() as u32, &mut draw));
        }
    }
    Comparison::new(manifest(blocks), records)
}

fn run(shape: &Shape, block: u32, order: u32, draw: &mut Draw) -> RunRecord {
    let caught = shape.answer == Answer::Caught;
    let failed = if shape.name == "redis-naive" { 12 + u64::from(block - 1) * 5 } else { 0 };
    let tasks = Tally { planned: TASKS, completed: TASKS - failed, timed_out: failed, ..Tally::default() };
    let base = shape.wait_ns as f64;
    let latency = Latency {
        response: draw.durations(TASKS, base + 9e6, shape.sigma * 0.6),
        excess: draw.durations(TASKS, base, shape.sigma * 0.6),
        response_failed: draw.durations(failed, 2e9, 0.01),
        wait: draw.durations(TASKS * 2, base, shape.sigma),
        release: draw.durations(TASKS * 2, base * 0.3, shape.sigma * 0.5),
        hand_over: draw.durations(
            if shape.role == Role::Control { 0 } else { 900 },
            base * 0.5,
            shape.sigma * 0.7,
        ),
        bystander: draw.durations(800, base * 0.25, shape.sigma * 0.6),
        lag: draw.durations(TASKS, 40_000.0, 0.7),
        burst: Histogram::default(),
    };
    let completed_per_slice =
        (0..104).map(|at| if at < 100 { (40.0 + 6.0 * draw.normal()) as u64 } else { 9 }).collect();
    RunRecord {
        schema_version: SCHEMA_VERSION,
        contender: shape.name.to_owned(),
        summary: format!("How {} works, in one sentence.", shape.name),
        role: shape.role,
        block,
        order,
        plan_digest: "5f0c2a".to_owned(),
        rate_per_s: None,
        cell: Vec::new(),
        carries: None,
        probe: None,
        invalid: Vec::new(),
        repeated: Vec::new(),
        warnings: if block == 2 && failed > 0 {
            vec!["17 tasks timed out: raise the deadline or lower the rate".to_owned()]
        } else {
            Vec::new()
        },
        tasks,
        window_ns: WINDOW_NS,
        others: Some(harness::record::Others {
            stolen_ns: 0,
            foreign_ns: 10_000_000,
            capacity_ns: 20_000_000_000,
        }),
        backlog: Some(harness::record::Backlog { middle: 3, end: 4 }),
        goodput_per_s: tasks.completed as f64 / 10.0 + draw.normal() * 1.5,
        latency,
        awareness: Awareness::default(),
        elsewhere: Elsewhere::default(),
        closed: None,
        completed_per_slice,
        // Cold for a second and a half.
        excess_per_slice_ns: (0..100)
            .map(|at| Some(if at < 15 { 3_000_000 } else { 1_000_000 } + at * 37 % 11 * 20_000))
            .collect(),
        warm_up_ns: 500_000_000,
        verdicts: answers(shape),
        survives: Survives {
            node_crash: "the lease ends after 2 s".to_owned(),
            server_kill: if caught { String::new() } else { "lost: nothing is written to disk".to_owned() },
            power_loss: "lost".to_owned(),
        },
        hosts: Vec::new(),
        detection: "ttl 2 s asked, 2 s granted".to_owned(),
        server: shape.server.map(server),
        operations: shape.server.map(|_| Operations { load: TASKS * 4 + 310, bystander: 400, renewal: 100 }),
        grants: TASKS * 2,
        server_cpu_ns: shape.server.map(|_| 96_000_000),
        process_cpu_ns: 61_000_000,
        timer_cpu_ns: 800_000_000,
        peak: Peak { connections: shape.server.map(|_| 12), threads: Some(18), ..Peak::default() },
        programmed_delay_ns: (shape.answer == Answer::Exempt).then_some(5_000_000),
        faults: FaultFacts::default(),
        timeline: None,
        evidence: None,
    }
}

fn answers(shape: &Shape) -> Vec<CheckVerdict> {
    let witness = || Verdict::Violated {
        witness: vec![
            "12.004 ms  node 1  task 81   entered  volume/3".to_owned(),
            "12.011 ms  node 0  task 94   entered  volume/3  <- two inside, level 1".to_owned(),
            "17.020 ms  node 1  task 81   left     volume/3".to_owned(),
        ],
    };
    let answer = |check: &str, verdict: Verdict, violations| CheckVerdict {
        check: check.to_owned(),
        counted: format!("{check} broken"),
        verdict,
        examined: TASKS * 2,
        violations,
        expected: if shape.answer == Answer::Caught && check != "conservation" {
            Expected::Violated
        } else {
            Expected::Holds
        },
        figures: Vec::new(),
    };
    let exempt = || Verdict::NotApplicable { reason: "excludes nothing by design".to_owned() };
    let exclusion = match shape.answer {
        Answer::Holds => answer("exclusion", Verdict::Holds, 0),
        Answer::ViolatedOncePerBlock => answer("exclusion", witness(), 1),
        Answer::Caught => answer("exclusion", witness(), 112),
        Answer::Exempt => answer("exclusion", exempt(), 0),
    };
    let lost_update = match shape.answer {
        Answer::Caught => answer("lost-update", witness(), 97),
        Answer::Exempt => answer("lost-update", exempt(), 0),
        Answer::Holds | Answer::ViolatedOncePerBlock => answer("lost-update", Verdict::Holds, 0),
    };
    vec![exclusion, lost_update, answer("conservation", Verdict::Holds, 0)]
}

fn server(name: &str) -> ServerFacts {
    ServerFacts {
        name: name.to_owned(),
        version: "8.0.2".to_owned(),
        settings: BTreeMap::from([
            ("appendonly".to_owned(), "no".to_owned()),
            ("save".to_owned(), "\"\" <none> & 'off'".to_owned()),
        ]),
        origin: "started for this run".to_owned(),
        members: Vec::new(),
    }
}

fn manifest(blocks: u32) -> Manifest {
    Manifest {
        schema_version: SCHEMA_VERSION,
        scenario: "hot-volumes".to_owned(),
        summary: "Snapshots pile up on a few hot volumes. Every contender gets the same arrivals; locks pay their round \
                  trips and so does the ring."
            .to_owned(),
        spec_toml: "name = \"hot-volumes\"\nnodes = 4\nrate_per_s = 400\n\n[hold]\nmedian_ms = 5\n".to_owned(),
        seed: 42,
        started_utc: "2026-11-22T20:15:04.120Z".to_owned(),
        command: ["lockbench", "run", "hot-volumes", "--seed", "42"].map(str::to_owned).into(),
        lockbench_version: "0.1.0".to_owned(),
        commit: Some("4be1c02-dirty".to_owned()),
        clients: BTreeMap::from([("etcd-client".to_owned(), "0.21.1".to_owned()), ("redis".to_owned(), "1.8.1".to_owned())]),
        programs: BTreeMap::new(),
        machine: Machine {
            cpu: "Example CPU 3.0 GHz".to_owned(),
            cores: 2,
            memory_bytes: 8 << 30,
            kernel: "6.12.9".to_owned(),
            os: "Debian GNU/Linux 13".to_owned(),
            filesystem: "ext4".to_owned(),
            fsync_p50_ns: Some(1_210_000),
            fsync_p99_ns: None,
            loopback_rtt_p50_ns: Some(31_000),
        },
        pinning: None,
        plan: PlanFacts {
            nodes: 4,
            tasks: TASKS,
            steps: TASKS * 2,
            window_ns: WINDOW_NS,
            kinds: vec![("snapshot".to_owned(), 3_000), ("start-vm".to_owned(), 1_000)],
            busiest: Some(("volume/3".to_owned(), 0.62)),
            saturating: false,
            closed: None,
            unlimited: false,
            overlaps_predicted: 118,
            control_fold: 4,
            control_hold_ns: 0,
        },
        blocks,
        prices: None,
        cell: Vec::new(),
        harness: HarnessCost {
            rate_per_s: 5_000.0,
            cpu_per_task_ns: 4_100,
            paced_cpu_per_task_ns: 51_000,
            timer_cpu_per_task_ns: 99_000,
            lag_p99_ns: 310_000,
        },
        contenders: Vec::new(),
        service_level: None,
        reference: Some("redis-naive".to_owned()),
        looks: Vec::new(),
        calibration: None,
        failed: Vec::new(),
        skipped: vec![Skipped {
            contender: "zk-seq".to_owned(),
            reason: "no ZooKeeper on this machine: apt-get install zookeeper, or --zookeeper HOST:PORT".to_owned(),
        }],
        threats: vec!["The processor frequency is not pinned.".to_owned()],
        end: Some(End {
            exit_code: 3,
            reasons: vec!["redis-naive violated exclusion, which had to hold".to_owned()],
            ended_utc: "2026-11-22T20:19:31Z".to_owned(),
        }),
    }
}

/// Repeatable draws: a splitmix generator and the Box–Muller transform.
struct Draw(u64);

impl Draw {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    fn durations(&mut self, n: u64, median_ns: f64, sigma: f64) -> Histogram {
        let mut histogram = Histogram::default();
        for _ in 0..n {
            histogram.record_ns((median_ns * (sigma * self.normal()).exp()) as u64);
        }
        histogram
    }
}
