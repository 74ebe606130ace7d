//! Every flaw of a lock or a ring is caught by the check that is meant for it, within a stated number of seeds; the
//! honest versions never are, and what a seed shows it shows again.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::sync::Arc;
use std::time::Duration;

use harness::engine::{AgentOptions, Clock, Fencing, Mechanism, Open, WhenBusy};
use harness::judge::checks;

use harness::model::{
    Arrival, Holder, Mode, NodeId, Plan, PlanSettings, Resource, ResourceKind, StepTree, What,
};
use harness::placement::single;
use harness::placement::{Run, RunOptions};
use harness::record::Verdict;
use harness::simulation::{Flaw, Pauses, SimulatedBank, SimulatedLock, SimulatedRing, Weather, World};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest as _, Sha256};

const MS: u64 = 1_000_000;
const TTL_NS: u64 = 100 * MS;
const NODES: u16 = 3;

/// On how many seeds no honest mechanism may be caught: so many in `make test`, 5,000 in `make test-long`.
const HONEST_SEEDS: &str = "LOCKBENCH_HONEST_SEEDS";
const USUAL_SEEDS: u64 = 150;

/// What runs in which surroundings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Setting {
    /// A lock on links that delay, reorder and lose messages, with clocks that differ. Holders stop when they lose
    /// their lease; the agents do not look at tokens.
    Lock(Flaw),
    /// The same lock, and every step finds or creates its VM, which takes longer than the ttl.
    Creation(Flaw),
    /// The same as the first, and nodes pause, also while they hold: no lock can prevent what follows, so the agents look at tokens.
    PausedLock(Flaw),
    /// A ring whose members change twice; the agents look at tokens.
    Ring(Flaw),
    /// A ring whose members stay, and that promises an order.
    SteadyRing(Flaw),
    /// That ring, and every task moves money from its VM to the next.
    Bank(Flaw),
    /// The control that excludes nothing, with the delay between asked and granted.
    Open(Duration),
}

/// Tasks on three hot VMs; some hold for longer than the ttl. Half of them have a step on a host of level 2, but not
/// where holders stop: whoever loses its lease while a child runs stays inside until that has ended.
fn plan(seed: u64, holder: Holder) -> Arc<Plan> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let settings = PlanSettings { seed, nodes: NODES, window_ns: 1000 * MS, deadline_ns: 8000 * MS, holder };
    let mut step = |kind, id, level, most_ms, children| StepTree {
        resource: Resource { kind, id, level },
        mode: Mode::Exclusive,
        hold_ns: rng.random_range(5..most_ms) * MS,
        create_ns: None,
        children,
    };
    let arrivals = (0..40_u32).map(|number| {
        let host = step(ResourceKind::Host, number % 2, 2, 20, vec![]);
        let children = if number % 2 == 0 && holder != Holder::Stops { vec![host] } else { vec![] };
        let root = step(ResourceKind::Vm, number % 3, 1, 160, children);
        Arrival {
            kind: 0,
            at_ns: u64::from(number) * 25 * MS,
            entry: NodeId((number % 7) as u16 % NODES),
            root,
        }
    });
    Arc::new(Plan::new(settings, vec!["task".to_owned()], arrivals).unwrap())
}

/// Everybody asks for one of three VMs that do not exist yet.
fn creation(seed: u64) -> Arc<Plan> {
    let mut plan = Plan::clone(&plan(seed, Holder::Stops));
    plan.tasks.change(|task| {
        task.steps.iter_mut().for_each(|step| (step.hold_ns, step.create_ns) = (MS, Some(2 * TTL_NS)));
    });
    Arc::new(plan)
}

fn weather(pauses: Option<Pauses>) -> Weather {
    Weather {
        delay_ns: MS..5 * MS,
        slow: 0.06,
        slow_ns: 20 * MS..180 * MS,
        dropped: 0.02,
        clock_offset_ns: 500 * MS,
        clock_drift: 0.001,
        pauses,
    }
}

/// One run in virtual time, everything from the seed.
fn simulate(setting: Setting, seed: u64) -> Run {
    let looks = matches!(
        setting,
        Setting::PausedLock(_) | Setting::Ring(_) | Setting::SteadyRing(_) | Setting::Bank(_)
    );
    let fencing = if looks { Fencing::On } else { Fencing::Off };
    simulate_with(setting, seed, AgentOptions { fencing, ..AgentOptions::default() })
}

/// The same with such agents.
fn simulate_with(setting: Setting, seed: u64, agent: AgentOptions) -> Run {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let clock = Clock::virtual_time();
        let plan = match setting {
            Setting::Lock(_) => plan(seed, Holder::Stops),
            Setting::Creation(_) => creation(seed),
            _ => plan(seed, Holder::Checks),
        };
        let pauses = Pauses { every_ns: 500 * MS, for_ns: 50 * MS..400 * MS };
        let pauses = matches!(setting, Setting::PausedLock(_)).then_some(pauses);
        let world = Arc::new(World::new(clock.clone(), NODES, seed, weather(pauses)));
        let of_plan = Arc::clone(&plan);
        let mechanism: Arc<dyn Mechanism> = match setting {
            Setting::Lock(flaw) | Setting::Creation(flaw) | Setting::PausedLock(flaw) => {
                Arc::new(SimulatedLock::new(of_plan, world, TTL_NS, flaw))
            }
            Setting::Ring(flaw) => {
                let (change, lag) = (Duration::from_millis(400), Duration::from_millis(150));
                Arc::new(SimulatedRing::new(of_plan, world, change, lag, flaw))
            }
            Setting::SteadyRing(flaw) => Arc::new(SimulatedRing::steady(of_plan, world, flaw)),
            Setting::Bank(_) => Arc::new(SimulatedRing::steady(of_plan, world, Flaw::None)),
            Setting::Open(delay) => Arc::new(Open::new(of_plan, clock.clone(), delay)),
        };
        let options = RunOptions { agent, ..RunOptions::default() };
        let Setting::Bank(flaw) = setting else { return single::run(plan, mechanism, clock, options).await };
        let bank = Arc::new(SimulatedBank::new(Arc::clone(&plan), mechanism, flaw));
        let mut run = single::run(plan, Arc::clone(&bank) as _, clock, options).await;
        run.facts.audit = Some(bank.audit());
        run
    })
}

fn violated(run: &Run, check: &str) -> Option<Vec<String>> {
    match checks::named(check).unwrap().judge(&run.facts, &run.history.to_vec().unwrap()).verdict {
        Verdict::Violated { witness } => Some(witness),
        _ => None,
    }
}

/// Flaw, the check that is meant for it, and within how many seeds: at least four times the longest run of seeds that
/// showed nothing, of 300 (`how_many_seeds_show_each_cheat`).
const CHEATS: &[(Setting, &str, u64)] = &[
    (Setting::Lock(Flaw::NoExpiryCheck), "exclusion", 10),
    (Setting::Creation(Flaw::NoExpiryCheck), "created-once", 60),
    (Setting::Lock(Flaw::ReleaseWithoutOwnerCheck), "release-safety", 30),
    (Setting::Lock(Flaw::RenewalOutlivesRelease), "progress", 200),
    (Setting::Lock(Flaw::ExpirySetApart), "progress", 20),
    (Setting::Lock(Flaw::ExtendRecreates), "release-safety", 80),
    (Setting::Lock(Flaw::WallClockToken), "fencing", 10),
    (Setting::Ring(Flaw::RingWithoutEpoch), "exclusion", 5),
    (Setting::Lock(Flaw::ReleaseAhead), "lost-update", 10),
    (Setting::Lock(Flaw::OneNotice), "progress", 30),
    (Setting::Ring(Flaw::SendsAgain), "exactly-once", 25),
    (Setting::Ring(Flaw::AnswersOnReceipt), "conservation", 5),
    (Setting::SteadyRing(Flaw::NoQueue), "order", 10),
    (Setting::Bank(Flaw::ReadsAhead), "money", 5),
];

#[test]
fn no_check_is_without_a_cheat_that_it_catches() {
    for check in checks::ALL {
        assert!(CHEATS.iter().any(|(_, catches, _)| *catches == check.name), "{}: no cheat", check.name);
    }
}

#[test]
fn every_cheat_is_caught_by_the_check_meant_for_it() {
    for (setting, check, seeds) in CHEATS {
        let caught = (0..*seeds).find_map(|seed| Some((seed, violated(&simulate(*setting, seed), check)?)));
        let (seed, witness) = caught.unwrap_or_else(|| panic!("{setting:?}: {check} saw nothing"));
        // An audit is of no event.
        assert!(witness.len() >= 2 || *check == "money", "{setting:?}: {witness:?}");
        println!("{setting:?}: caught by {check} at seed {seed}\n  {}", witness.join("\n  "));
    }
}

#[test]
fn honest_mechanisms_are_never_caught() {
    let honest = [
        Setting::Lock(Flaw::None),
        Setting::Creation(Flaw::None),
        Setting::PausedLock(Flaw::None),
        Setting::Ring(Flaw::None),
        Setting::SteadyRing(Flaw::None),
        Setting::Bank(Flaw::None),
    ];
    let seeds = std::env::var(HONEST_SEEDS).map_or(USUAL_SEEDS, |text| text.parse().expect("a number"));
    for setting in honest {
        for seed in 0..seeds {
            let run = simulate(setting, seed);
            for check in checks::ALL {
                if let Some(witness) = violated(&run, check.name) {
                    panic!("{setting:?}, seed {seed}: {}\n  {}", check.name, witness.join("\n  "));
                }
            }
        }
    }
}

/// The numbers in [`CHEATS`] are no luck of the first seeds: no stretch of 300 without the cheat is half as long.
/// `-- --nocapture` shows the table.
#[test]
fn the_stated_seeds_are_enough_wherever_one_starts() {
    for (setting, check, stated) in CHEATS {
        let shown: Vec<bool> =
            (0..300).map(|seed| violated(&simulate(*setting, seed), check).is_some()).collect();
        let longest = shown.split(|caught| *caught).map(<[bool]>::len).max().unwrap_or(0);
        let count = shown.iter().filter(|caught| **caught).count();
        println!("{setting:?}: {check} in {count} of 300; longest without {longest}; stated {stated}");
        assert!(2 * longest as u64 <= *stated, "{setting:?}: {longest} of {stated} stated");
    }
}

/// What reaches the resources of what a mechanism lets through, where their agents do so about it: times that too many were inside,
/// and updates lost; and how many steps they turned away.
fn lets_through(setting: Setting, when_busy: WhenBusy) -> ([u64; 2], u64) {
    let (mut seen, mut turned_away) = ([0; 2], 0);
    for seed in 0..SEEDS_OF_DEFENCES {
        let run = simulate_with(setting, seed, AgentOptions { fencing: Fencing::Off, when_busy });
        let events = run.history.to_vec().unwrap();
        for (seen, check) in seen.iter_mut().zip(["exclusion", "lost-update"]) {
            *seen += checks::named(check).unwrap().judge(&run.facts, &events).violations;
        }
        let rejected = events.iter().filter(|event| matches!(event.what, What::Rejected { .. }));
        turned_away += rejected.count() as u64;
    }
    (seen, turned_away)
}

/// How many runs each share is of.
const SEEDS_OF_DEFENCES: u64 = 300;

/// The second and the third line of defence, a resource's state machine and an agent that works one by one, hide every overlap of the
/// steps that they see: by their construction, so that what is measured is what they are asked to hide, and how many steps it costs.
/// `-- --nocapture` shows the shares.
#[test]
fn agents_that_turn_away_or_queue_hide_every_overlap() {
    for setting in [Setting::Ring(Flaw::RingWithoutEpoch), Setting::PausedLock(Flaw::None)] {
        let (bare, none) = lets_through(setting, WhenBusy::Admit);
        println!("{setting:?}: bare {bare:?}, turned away {none}");
        assert!(bare[0] >= 300, "{setting:?}: {bare:?}");
        for guard in [WhenBusy::Refuse, WhenBusy::Serialise] {
            let (left, turned_away) = lets_through(setting, guard);
            println!("{setting:?}, {guard:?}: {left:?}, turned away {turned_away}");
            assert_eq!(left, [0, 0], "{setting:?}, {guard:?}");
            assert_eq!(turned_away > 0, guard == WhenBusy::Refuse, "{setting:?}, {guard:?}: {turned_away}");
        }
    }
}

fn history(setting: Setting, seed: u64) -> Vec<u8> {
    serde_json::to_vec(&simulate(setting, seed).history.to_vec().unwrap()).unwrap()
}

#[test]
fn the_same_seed_gives_the_same_history_byte_by_byte() {
    for setting in [
        Setting::Lock(Flaw::None),
        Setting::PausedLock(Flaw::None),
        Setting::Ring(Flaw::None),
        Setting::SteadyRing(Flaw::None),
        Setting::Open(Duration::ZERO),
        Setting::Open(Duration::from_millis(5)),
    ] {
        let first = history(setting, 7);
        for _ in 0..2 {
            assert!(first == history(setting, 7), "{setting:?}");
        }
        assert!(first != history(setting, 8), "{setting:?}: another seed, the same history");
    }
}

/// SHA-256 of a history, as JSON, when the line was written.
const RECORDED: &str = "76be8bec2531aed8534782b87d180c97c39c4f8039128d7e2430981738f144d9";

#[test]
fn a_seed_gives_the_history_that_it_always_gave() {
    assert_eq!(hex(Sha256::new_with_prefix(history(Setting::PausedLock(Flaw::None), 7))), RECORDED);
}

fn hex(sha: Sha256) -> String {
    sha.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What all checks say of the first histories of so many cheats after those before, when the line was written: verdicts,
/// witnesses and figures. Of money they are asked since the third.
const JUDGED: &[(usize, &str)] = &[
    (8, "cc6bf0d66e0a0eeea120fc8df2edf875dbf0f8eacc8b7a82117ba66325a44ca2"),
    (5, "1081095e15d80c7fc1a884b27c13dc3c734ade4cbe98f258752f2c91f0ebfa12"),
    (1, "55a9ad74bdf8737b24520580b158809fa77dbb4c3aad24bd9d088406473886b0"),
];

#[test]
fn a_history_is_judged_as_it_always_was() {
    let mut cheats = CHEATS.iter();
    for (line, (count, judged)) in JUDGED.iter().enumerate() {
        let mut sha = Sha256::new();
        for (setting, _, _) in cheats.by_ref().take(*count) {
            for run in (0..10).map(|seed| simulate(*setting, seed)) {
                let events = run.history.to_vec().unwrap();
                for check in checks::ALL.iter().filter(|check| line >= 2 || check.name != "money") {
                    let judgement = check.judge(&run.facts, &events);
                    // Told only since the line was written.
                    let later = format!(", shown_by: {:?}", judgement.shown_by);
                    let told = format!("{judgement:?}");
                    assert!(told.contains(&later));
                    sha.update(format!("{}: {}", check.name, told.replacen(&later, "", 1)));
                }
                let figures = run.measure().unwrap();
                // Measured only since the line was written.
                let later =
                    format!(r#""excess":{},"#, serde_json::to_string(&figures.latency.excess).unwrap());
                let told = serde_json::to_string(&(figures.tasks, &figures.latency)).unwrap();
                assert!(told.contains(&later));
                sha.update(told.replacen(&later, "", 1));
                sha.update(format!("{:?}{:?}", figures.completed_per_slice, figures.implausible));
            }
        }
        assert_eq!(hex(sha), *judged);
    }
    assert_eq!(cheats.next(), None, "a cheat of which no judgement is recorded");
}
