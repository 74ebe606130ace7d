//! Stored forms: what they mean, what is refused, and that nothing makes them panic.

use allocation_counter::measure;
use proptest::prelude::*;

use super::super::read::{self, LockObject, ReadError};
use super::super::*;
use crate::damage::{self, Damage};
use crate::judge::fixture;
use crate::model::{Event, Outcome, ReleaseRet, Token, What};

fn history(text: &str) -> Result<History, ReadError> {
    read::clients(text.as_bytes(), read::format(text.as_bytes())?)
}

fn answer(text: &str, kind: ModelKind) -> Answer {
    judge(&history(text).unwrap(), kind, FailedRelease::Held, Budget::default()).unwrap().answer
}

fn violated(text: &str, kind: ModelKind) -> bool {
    matches!(answer(text, kind), Answer::Violated(_))
}

#[test]
fn a_log_has_unknown_outcomes_failed_swaps_and_other_loggers() {
    let log = "INFO  jepsen.core - Everything is up\n\
               INFO  jepsen.util - 0\t:invoke\t:write\t1\n\
               INFO  jepsen.util - 0\t:info\t:write\t:timed-out\n\
               INFO  jepsen.util - :nemesis\t:info\t:start\t\"cut\"\n\
               INFO  jepsen.util - 1   :invoke :cas    [1 2]\n\
               INFO  jepsen.util - 1   :fail   :cas    [1 2]\n\
               INFO  jepsen.util - 2\t:invoke\t:read\tnil\n\
               INFO  jepsen.util - 2\t:ok\t:read\t1\n";
    assert_eq!(answer(log, ModelKind::Register), Answer::Holds, "the write came after the cas");
    let seen_before = log.replace(":ok\t:read\t1", ":ok\t:read\t2");
    assert!(violated(&seen_before, ModelKind::Register), "a cas that failed wrote nothing");
}

#[test]
fn a_cas_that_failed_for_another_reason_saw_nothing() {
    let edn =
        "{:process 0 :type :invoke :f :cas :value [nil 2]} {:process 0 :type :fail :f :cas :value [nil 2]}";
    assert!(violated(edn, ModelKind::Register));
    let refused = edn.replace(":type :fail", ":type :fail :error :no-leader");
    assert!(matches!(answer(&refused, ModelKind::Register), Answer::Unknown { .. }), "nothing is left");
}

#[test]
fn edn_comes_in_vectors_in_lists_tagged_and_bare() {
    let calls = "{:process 0, :type :invoke, :f :put, :key \"a\", :value \"x\"}\n; noted\n\
                 #jepsen.history.Op{:process 0, :type :ok, :f :put, :key \"a\", :value \"x\", :time 1.5}\n";
    let bare = history(calls).unwrap();
    assert_eq!(bare.calls[0].ret.as_ref().unwrap().line, 3);
    assert_eq!(history(&format!("[{calls}]")).unwrap(), bare);
    assert_eq!(history(&format!("({calls})")).unwrap(), bare);
    assert_eq!(ModelKind::guess(&bare), ModelKind::KeyValue);
}

#[test]
fn fences_make_a_fenced_mutex() {
    let edn = "{:process 0 :type :invoke :f :acquire} {:process 0 :type :ok :f :acquire :value {:fence 7}}
               {:process 0 :type :invoke :f :release} {:process 0 :type :ok :f :release}
               {:process 1 :type :invoke :f :acquire} {:process 1 :type :ok :f :acquire :fence 7}";
    assert_eq!(ModelKind::guess(&history(edn).unwrap()), ModelKind::FencedMutex);
    assert!(violated(edn, ModelKind::FencedMutex));
    assert_eq!(answer(edn, ModelKind::Mutex), Answer::Holds);
    let bare = edn.replace(":value {:fence 7}", ":value 7").replace(":fence 7", ":value 7");
    assert_eq!(ModelKind::guess(&history(&bare).unwrap()), ModelKind::Mutex, "7 may be anything");
    assert!(
        violated(&bare, ModelKind::FencedMutex),
        "but is the fence where the user says that there are any"
    );
}

#[test]
fn what_makes_no_sense_is_refused_with_its_line_and_the_remedy() {
    for (text, line, word) in [
        ("hello\n", 1, "not a history"),
        (" \n\n  hello\n", 3, "not a history"),
        ("INFO  jepsen.util - 0 :invoke :read nil\nhello\n", 2, "must be `INFO"),
        ("INFO  jepsen.util - 0 invoke read nil\n", 1, "must be `INFO"),
        ("INFO  jepsen.util - 0 :invoke :jump 3\n", 1, "unknown operation `jump`; there are read"),
        ("INFO  jepsen.util - 0 :invoke :cas [1 2\n", 1, "cut off"),
        ("INFO  jepsen.util - 0 :begin :read nil\n", 1, "unknown type `:begin`"),
        ("INFO  jepsen.util - 0 :ok :read nil\n", 1, "never called"),
        ("{:process 0 :type :invoke :f :read}\n\n{:process 0 :type :ok :f :write}", 3, "is `read`"),
        ("{:process 0 :type :invoke :f :read}\n{:process 0 :type :invoke :f :read}", 2, "calls again"),
        ("[{:process 0 :type :invoke :f :read}\n", 2, "ends before its `]`"),
        ("({:process 0 :type :invoke :f :read}\n", 2, "ends before its `)`"),
        ("[{:process 0 :type :invoke :f :read}]\n{}", 2, "something follows"),
        ("{:process 0\n :type :invoke", 2, "cut off"),
        ("{:process \"a\" :type :invoke :f :read}", 1, "`:process`"),
        ("{:process 0 :f :read}", 1, "`:type`"),
        ("[1 2]", 1, "must be a map"),
    ] {
        let error = history(text).unwrap_err();
        assert!(error.line == line && error.what.contains(word), "{text}: {error}");
    }
    let log = "INFO  jepsen.util - 0 :invoke :append 3\n";
    let error = judge(&history(log).unwrap(), ModelKind::Register, FailedRelease::Held, Budget::default());
    assert!(error.unwrap_err().1.contains("no operation of a register"));
    let error = read::events(b"{\"at_ns\":1}\n").unwrap_err();
    assert!(error.line == 1 && error.what.contains("not an event"), "{error}");
    assert!(read::events(&[0x28, 0xB5, 0x2F, 0xFD, 1, 2]).unwrap_err().what.contains("cannot be unpacked"));
}

/// Deep nesting would overflow a stack, if there were recursion.
#[test]
fn deep_nesting_is_refused_or_read_but_never_fatal() {
    let deep = "[".repeat(100_000);
    assert!(history(&deep).is_err());
    let closed = format!("{{:process 0 :type :invoke :f :write :value {deep}{}}}", "]".repeat(100_000));
    assert!(history(&closed).unwrap_err().what.contains("nested"));
    let key = closed.replace(":value", ":key");
    assert!(history(&key).unwrap_err().what.contains("nested"));
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), form in 0..3) {
        let form = [Format::JepsenLog, Format::Edn, Format::Events][form as usize];
        drop(read::format(&bytes));
        drop(read::clients(&bytes, form));
        drop(read::events(&bytes));
        drop(read::events(&[&[0x28, 0xB5, 0x2F, 0xFD], &bytes[..]].concat()));
    }

    #[test]
    fn no_damage_to_a_history_makes_a_reader_panic(cuts in prop::collection::vec((0..400_usize, 0..40_usize, "[\\[\\]{}()\":;,#a-z0-9 \n\\\\]{0,4}"), 1..6), form in 0..2) {
        let mut text = [
            "INFO  jepsen.util - 0\t:invoke\t:write\t1\nINFO  jepsen.util - 0\t:info\t:write\t:timed-out\n\
             INFO  jepsen.util - 1\t:invoke\t:cas\t[1 2]\nINFO  jepsen.util - 1\t:ok\t:cas\t[1 2]\n",
            "[{:type :invoke, :f :acquire, :process 1, :time 34, :index 0}\n{:type :ok, :f :acquire, :process 1, :fence 3}\n\
             {:type :invoke, :f :release, :process 1}\n{:type :fail, :f :release, :process 1, :error [:not-found \"gone\"]}]",
        ][form as usize].to_owned();
        for (at, length, with) in cuts {
            let start = at % (text.len() + 1);
            let end = (start + length).min(text.len());
            text.replace_range(start..end, &with);
        }
        if let Ok(history) = history(&text) {
            let kind = ModelKind::guess(&history);
            for reading in [FailedRelease::Held, FailedRelease::Released] {
                let judged = judge(&history, kind, reading, Budget { steps: 100_000, ..Budget::default() });
                if let Ok(Judged { answer: Answer::Violated(violation), .. }) = judged {
                    prop_assert!(violation.describe(&history, Budget::default()).len() > 1);
                }
            }
        }
    }
}

/// What stands in histories that clients wrote.
const WORDS: &[&str] = &[
    ":invoke",
    ":ok",
    ":fail",
    ":info",
    ":read",
    ":write",
    ":cas",
    ":acquire",
    ":release",
    ":put",
    ":append",
    ":get",
    ":process",
    ":type",
    ":f",
    ":value",
    ":key",
    ":fence",
    ":token",
    ":error",
    ":nemesis",
    ":timed-out",
    "nil",
    "[1 2]",
    "{:fence 3}",
    "#inst \"2026\"",
    "#{1 2}",
    "\"",
    "[",
    "]",
    "{",
    "}",
    "(",
    ")",
    "#",
    ";",
    "\\",
    "jepsen.util",
    "INFO",
    "1/2",
    "1N",
    "1.5M",
    "\\newline",
    "true",
];

const LOG: &str = "INFO  jepsen.util - 0\t:invoke\t:write\t1\nINFO  jepsen.util - 0\t:info\t:write\t:timed-out\n\
     INFO  jepsen.util - 1\t:invoke\t:cas\t[1 2]\nINFO  jepsen.util - 1\t:ok\t:cas\t[1 2]\n\
     INFO  jepsen.util - 2\t:invoke\t:read\tnil\nINFO  jepsen.util - 2\t:ok\t:read\t2\n";

const LOCKS: &str = "[{:type :invoke, :f :acquire, :process 1, :time 34, :index 0}\n{:type :ok, :f :acquire, :process 1, :fence 3}\n\
     {:type :invoke, :f :release, :process 1}\n{:type :fail, :f :release, :process 1, :error [:not-found \"gone\"]}\n\
     {:type :invoke, :f :acquire, :process 2}\n{:type :ok, :f :acquire, :process 2, :value {:fence 4}}]";

const VALUES: &str = "{:process 0, :type :invoke, :f :put, :key \"a\", :value \"x\"}\n\
     #jepsen.history.Op{:process 0, :type :ok, :f :put, :key \"a\", :value \"x\", :time 1.5}\n\
     {:process 1, :type :invoke, :f :append, :key \"a\", :value \"y\"}\n{:process 1, :type :info, :f :append, :key \"a\", :value nil}\n\
     {:process 2, :type :invoke, :f :get, :key \"a\", :value nil}\n{:process 2, :type :ok, :f :get, :key \"a\", :value \"xy\"}\n";

/// So much may reading and judging so small a history take.
const MOST_BYTES: u64 = 64 << 20;

fn judged(history: &History) {
    let kind = ModelKind::guess(history);
    for reading in [FailedRelease::Held, FailedRelease::Released] {
        let budget = Budget { steps: 20_000, ..Budget::default() };
        if let Ok(Judged { answer: Answer::Violated(violation), .. }) = judge(history, kind, reading, budget)
        {
            assert!(violation.describe(history, budget).len() > 1);
        }
    }
}

fn tried_text(text: &str) {
    let used = measure(|| {
        if let Ok(history) = history(text) {
            judged(&history);
        }
    });
    assert!(used.bytes_max < MOST_BYTES, "{} bytes", used.bytes_max);
}

#[test]
fn no_damage_to_an_edn_history_makes_its_reader_panic() {
    damage::inputs("EDN", 20_000, |damage| {
        let mut text = (*damage.one_of(&[LOCKS, VALUES])).to_owned();
        damage.text(&mut text, WORDS);
        tried_text(&text);
    });
}

#[test]
fn no_damage_to_a_jepsen_log_makes_its_reader_panic() {
    damage::inputs("Jepsen logs", 20_000, |damage| {
        let mut text = LOG.to_owned();
        damage.text(&mut text, WORDS);
        tried_text(&text);
    });
}

#[test]
fn no_damage_to_a_stored_history_makes_its_reader_panic() {
    let token = |sequence| Some(Token { generation: 0, sequence });
    let grant = |slot, sequence| What::Granted { slot, token: token(sequence), valid_until_ns: None };
    let returned = What::Returned { outcome: Outcome::Completed };
    let table = [
        (0, 0, What::Invoked),
        (0, 1, What::Invoked),
        (1, 0, grant(Some(0), 1)),
        (1, 0, What::Entered { slot: Some(0), token: token(1), value: 0 }),
        (2, 0, fixture::left(1)),
        (2, 0, What::ReleaseSent),
        (3, 1, grant(Some(1), 2)),
        (4, 0, What::Released { ret: ReleaseRet::Released }),
        (5, 0, returned),
        (6, 1, What::Lost),
    ];
    let run = fixture::run(2, 2, &table);
    let lines: Vec<_> = run.events.iter().map(|event| serde_json::to_value(event).unwrap()).collect();
    damage::inputs("stored histories", 20_000, |damage: &mut Damage| {
        let mut lines = lines.clone();
        for _ in 0..=damage.below(3) {
            let which = damage.below(lines.len());
            damage.document(&mut lines[which]);
        }
        let mut text: Vec<u8> = lines.iter().flat_map(|line| format!("{line}\n").into_bytes()).collect();
        if damage.once_in(4) {
            damage.bytes(&mut text);
        }
        let packed = damage.once_in(8);
        if packed {
            text = zstd::encode_all(&text[..], 1).unwrap();
            damage.bytes(&mut text);
        }
        let used = measure(|| {
            let Ok(events) = read::events(&text) else { return };
            for object in [LockObject::Slot, LockObject::Resource { level: 2 }] {
                if let Ok(history) = read::locks(&events, &run.facts.plan, object) {
                    judged(&history);
                }
            }
        });
        assert!(used.bytes_max < MOST_BYTES, "{} bytes", used.bytes_max);
    });
}

fn granted(sequence: u64) -> What {
    let token = Some(Token { generation: 0, sequence });
    What::Granted { slot: Some(0), token, valid_until_ns: None }
}

/// A run's events over one resource of level 1, judged as the locks that they speak of.
fn run_answer(tasks: u32, table: &[(u64, u32, What)], reading: FailedRelease) -> (ModelKind, Judged) {
    let run = fixture::run(1, tasks, table);
    let history = read::locks(&run.events, &run.facts.plan, LockObject::Slot).unwrap();
    let kind = ModelKind::guess(&history);
    (kind, judge(&history, kind, reading, Budget::default()).unwrap())
}

#[test]
fn a_run_is_read_as_its_locks_by_their_acknowledged_ends() {
    let (sent, released) = (What::ReleaseSent, |ret| What::Released { ret });
    let returned = What::Returned { outcome: Outcome::Completed };
    let honest = [
        (0, 0, What::Invoked),
        (0, 1, What::Invoked),
        (1, 0, granted(1)),
        (2, 0, sent.clone()),
        (3, 1, granted(2)),
        (4, 0, released(ReleaseRet::Released)),
    ];
    let (kind, judged) = run_answer(2, &honest, FailedRelease::Held);
    assert_eq!((kind, judged.answer), (ModelKind::FencedMutex, Answer::Holds));
    let mut late = honest.clone();
    late[3].0 = 4;
    late.sort_by_key(|event| event.0);
    let (_, judged) = run_answer(2, &late, FailedRelease::Held);
    assert!(matches!(judged.answer, Answer::Violated(_)), "granted before the release was sent");
    let mut lost = honest.clone();
    lost[5].2 = released(ReleaseRet::AlreadyLost);
    assert!(matches!(run_answer(2, &lost, FailedRelease::Held).1.answer, Answer::Violated(_)));
    assert_eq!(run_answer(2, &lost, FailedRelease::Released).1.answer, Answer::Holds);
    // A queue has no release; the leave that the agent saw stands for it.
    let queue = [
        (0, 0, What::Invoked),
        (1, 0, granted(1)),
        (2, 0, fixture::left(1)),
        (3, 1, What::Invoked),
        (3, 1, granted(2)),
        (9, 0, returned),
    ];
    assert_eq!(run_answer(2, &queue, FailedRelease::Held).1.answer, Answer::Holds);
}

/// Found by damage: no resource has so many slots, and the next one has no number.
#[test]
fn a_grant_of_the_last_slot_of_all_is_no_overflow() {
    let grant = What::Granted { slot: Some(u32::MAX), token: None, valid_until_ns: None };
    let run = fixture::run(2, 1, &[(0, 0, What::Invoked), (1, 0, grant)]);
    assert!(read::locks(&run.events, &run.facts.plan, LockObject::Slot).unwrap().calls.is_empty());
}

#[test]
fn a_history_of_another_plan_is_refused() {
    let run = fixture::run(1, 1, &[(0, 0, What::Invoked)]);
    let events = [Event {
        step: crate::model::StepRef { task: crate::model::TaskId(5), step: 0 },
        ..run.events[0].clone()
    }];
    let error = read::locks(&events, &run.facts.plan, LockObject::Slot).unwrap_err();
    assert!(error.line == 1 && error.what.contains("not in the plan"), "{error}");
}

#[test]
fn a_run_without_exclusion_is_caught_in_its_own_history() {
    use crate::engine::{Clock, Open};
    use crate::model as plan;
    use crate::placement::{RunOptions, single};
    let resource = plan::Resource { kind: plan::ResourceKind::Vm, id: 1, level: 1 };
    let root = plan::StepTree {
        resource,
        mode: plan::Mode::Exclusive,
        hold_ns: 5_000_000,
        create_ns: None,
        children: vec![],
    };
    let arrival = |number: u64| plan::Arrival {
        kind: 0,
        at_ns: number * 1_000_000,
        entry: plan::NodeId(0),
        root: root.clone(),
    };
    let settings = plan::PlanSettings {
        seed: 1,
        nodes: 1,
        window_ns: 1,
        deadline_ns: 1_000_000_000,
        holder: plan::Holder::Oblivious,
    };
    let plan = plan::Plan::new(settings, vec!["vm".into()], (0..20).map(arrival)).unwrap();
    let (plan, clock) = (std::sync::Arc::new(plan), Clock::virtual_time());
    let mechanism = std::sync::Arc::new(Open::new(plan.clone(), clock.clone(), std::time::Duration::ZERO));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let run = runtime.block_on(single::run(plan.clone(), mechanism, clock, RunOptions::default()));
    let events = run.history.to_vec().unwrap();
    let history = read::locks(&events, &plan, LockObject::Slot).unwrap();
    let judged = judge(&history, ModelKind::guess(&history), FailedRelease::Held, Budget::default()).unwrap();
    assert!(judged.overlaps.unwrap().overlaps > 10);
    let Answer::Violated(violation) = judged.answer else { panic!("not caught") };
    assert_eq!(violation.describe(&history, Budget::default()).len(), 3, "two grants show it");
    let wide = read::locks(&events, &plan, LockObject::Resource { level: 1 }).unwrap();
    let judged = judge(&wide, ModelKind::Semaphore(20), FailedRelease::Held, Budget::default()).unwrap();
    assert_eq!(judged.answer, Answer::Holds, "twenty permits are enough for twenty tasks");
}
