//! What is said about a history: names of models, which operations count and how, and the words of a violation.

use super::super::read;
use super::super::*;

fn edn(lines: &[&str]) -> History {
    let text: String = lines.iter().map(|line| format!("{{{line}}}\n")).collect();
    read::clients(text.as_bytes(), Format::Edn).unwrap()
}

/// `process`, a type, an operation and whatever else there is, for each line.
fn told(lines: &[(u32, &str, &str, &str)]) -> History {
    let lines: Vec<_> = lines
        .iter()
        .map(|(process, kind, verb, rest)| format!(":process {process} :type :{kind} :f :{verb} {rest}"))
        .collect();
    edn(&lines.iter().map(String::as_str).collect::<Vec<_>>())
}

fn judged(history: &History, kind: ModelKind, failed_release: FailedRelease) -> Judged {
    judge(history, kind, failed_release, Budget::default()).unwrap()
}

/// Whether it holds.
fn holds(lines: &[(u32, &str, &str, &str)], kind: ModelKind) -> bool {
    match judged(&told(lines), kind, FailedRelease::Held).answer {
        Answer::Holds => true,
        Answer::Violated(_) => false,
        Answer::Unknown { reason } => panic!("{reason}"),
    }
}

/// The words of a violation.
fn words(history: &History, kind: ModelKind, failed_release: FailedRelease) -> Vec<String> {
    let Answer::Violated(violation) = judged(history, kind, failed_release).answer else {
        panic!("not caught")
    };
    violation.describe(history, Budget::default())
}

#[test]
fn models_are_named_as_they_are_printed() {
    for (name, kind, level) in [
        ("register", ModelKind::Register, None),
        ("kv", ModelKind::KeyValue, None),
        ("mutex", ModelKind::Mutex, Some(1)),
        ("fenced-mutex", ModelKind::FencedMutex, Some(1)),
        ("semaphore=1", ModelKind::Semaphore(1), Some(1)),
        ("semaphore=30", ModelKind::Semaphore(30), Some(30)),
    ] {
        assert_eq!((name.parse(), kind.to_string(), kind.level()), (Ok(kind), name.to_owned(), level));
    }
    for name in ["", "lock", "semaphore", "semaphore=", "semaphore=0", "semaphore=-1", "semaphore=two"] {
        assert!(name.parse::<ModelKind>().unwrap_err().starts_with("must be register, kv"), "{name}");
    }
    assert_eq!("held".parse(), Ok(FailedRelease::Held));
    assert_eq!("released".parse(), Ok(FailedRelease::Released));
    assert_eq!("kept".parse::<FailedRelease>(), Err("must be held or released".to_owned()));
    assert_eq!(
        [Format::JepsenLog, Format::Edn, Format::Events].map(|format| format.to_string()),
        ["Jepsen log", "EDN", "lockbench history"]
    );
}

#[test]
fn a_write_or_a_swap_that_was_acknowledged_has_happened() {
    let write = [(0, "invoke", "write", ":value 1"), (0, "ok", "write", ":value 1")];
    let swap = [(0, "invoke", "cas", ":value [nil 1]"), (0, "ok", "cas", ":value [nil 1]")];
    for first in [write, swap] {
        let then = |seen| [&first[..], &[(1, "invoke", "read", ""), (1, "ok", "read", seen)]].concat();
        assert!(holds(&then(":value 1"), ModelKind::Register));
        assert!(!holds(&then(""), ModelKind::Register));
        let mut in_doubt = then("");
        in_doubt[1].1 = "info";
        assert!(holds(&in_doubt, ModelKind::Register));
        in_doubt[3].3 = ":value 1";
        assert!(holds(&in_doubt, ModelKind::Register));
    }
}

#[test]
fn a_key_s_text_is_put_and_added_to_and_each_key_is_for_itself() {
    fn calls(seen: &str) -> [(u32, &str, &str, &str); 10] {
        [
            (0, "invoke", "put", ":key \"a\" :value \"x\""),
            (0, "ok", "put", ":key \"a\" :value \"x\""),
            (0, "invoke", "append", ":key \"a\" :value \"yzw\""),
            (0, "ok", "append", ":key \"a\" :value \"yzw\""),
            (0, "invoke", "append", ":key \"b\" :value 7"),
            (0, "info", "append", ":key \"b\" :value 7"),
            (1, "invoke", "get", ":key \"b\""),
            (1, "ok", "get", ":key \"b\" :value \"7\""),
            (1, "invoke", "get", ":key \"a\""),
            (1, "ok", "get", seen),
        ]
    }
    assert!(holds(&calls(":key \"a\" :value \"xyzw\""), ModelKind::KeyValue));
    for wrong in ["\"x\"", "\"yzw\"", "\"xyzwyzw\"", "nil"] {
        let wrong = format!(":key \"a\" :value {wrong}");
        assert!(!holds(&calls(&wrong), ModelKind::KeyValue), "{wrong}");
    }
    let both = judged(&told(&calls(":key \"a\" :value \"xyzw\"")), ModelKind::KeyValue, FailedRelease::Held);
    assert_eq!((both.objects, both.operations, both.overlaps), (2, 5, None));
    assert_eq!(
        words(&told(&calls(":key \"a\" :value \"q\\n\"")), ModelKind::KeyValue, FailedRelease::Held),
        [
            "no order of these 1 operations of `a` explains their answers (kv), whichever of the 2 others happened",
            "lines 9–10  process 1  get: → \"q\\n\"",
        ]
    );
}

#[test]
fn a_text_may_begin_with_any_character() {
    let calls = |seen| {
        [
            (0, "invoke", "put", ":key \"a\" :value \"\u{0}\""),
            (0, "ok", "put", ":key \"a\" :value \"\u{0}\""),
            (0, "invoke", "get", ":key \"a\""),
            (0, "ok", "get", seen),
        ]
    };
    assert!(holds(&calls(":key \"a\" :value \"\u{0}\""), ModelKind::KeyValue));
    assert!(!holds(&calls(":key \"a\" :value \"\""), ModelKind::KeyValue));
}

#[test]
fn a_violation_names_its_operations_with_their_answers() {
    let wrong = told(&[
        (0, "invoke", "write", ":value 3"),
        (0, "ok", "write", ":value 3"),
        (1, "invoke", "read", ""),
        (1, "ok", "read", ":value 4"),
    ]);
    assert_eq!(
        words(&wrong, ModelKind::Register, FailedRelease::Held),
        [
            "no order of these 1 operations explains their answers (register), whichever of the 1 others happened",
            "lines 3–4  process 1  read: → 4",
        ]
    );
    let fences = told(&[
        (0, "invoke", "acquire", ""),
        (0, "ok", "acquire", ":fence 7"),
        (0, "invoke", "release", ""),
        (0, "ok", "release", ""),
        (1, "invoke", "acquire", ""),
        (1, "ok", "acquire", ":fence 7"),
    ]);
    assert_eq!(
        words(&fences, ModelKind::FencedMutex, FailedRelease::Held)[1..],
        ["lines 3–4  process 0  release: ok", "lines 5–6  process 1  acquire: ok, fence 7"]
    );
}

#[test]
fn a_violation_names_a_dozen_of_what_may_have_happened_meanwhile() {
    let may = |ways: u32, end: &[&str]| {
        let mut lines = Vec::new();
        for way in 1..=ways {
            // To 5 in so many ways, each of two steps whose outcome nobody knows.
            for (process, verb, value) in [
                (2 * way, "write", format!(":value {}", 10 + way)),
                (2 * way + 1, "cas", format!(":value [{} 5]", 10 + way)),
            ] {
                for kind in end {
                    lines.push(format!(":process {process} :type :{kind} :f :{verb} {value}"));
                }
            }
        }
        for seen in [":value 5", ""] {
            for kind in ["invoke", "ok"] {
                lines.push(format!(
                    ":process 0 :type :{kind} :f :read {}",
                    if kind == "ok" { seen } else { "" }
                ));
            }
        }
        words(
            &edn(&lines.iter().map(String::as_str).collect::<Vec<_>>()),
            ModelKind::Register,
            FailedRelease::Held,
        )
    };
    let one = may(1, &["invoke", "info"]);
    assert_eq!(
        one[1..],
        [
            "lines 5–6  process 0  read: → 5",
            "lines 7–8  process 0  read: → nil",
            "nor with these, which may have happened meanwhile:",
            "lines 1–2  process 2  write 11: outcome unknown",
            "lines 3–4  process 3  cas [11 5]: outcome unknown",
        ]
    );
    assert_eq!(may(1, &["invoke"])[4], "lines 1–  process 2  write 11: never answered");
    let dozen = may(6, &["invoke"]);
    assert_eq!((dozen.len(), dozen[15].contains("cas [16 5]")), (4 + 12, true), "{dozen:?}");
    let more = may(7, &["invoke"]);
    assert_eq!((more.len(), &*more[16]), (4 + 13, "and 2 more"), "{more:?}");
}

#[test]
fn releases_that_failed_meanwhile_are_told_where_they_count_as_not_done() {
    let [a, b] = [":key \"a\"", ":key \"b\""];
    let history = told(&[
        (3, "invoke", "release", a),
        (3, "fail", "release", a),
        (3, "invoke", "acquire", a),
        (3, "ok", "acquire", a),
        (0, "invoke", "acquire", a),
        (3, "invoke", "release", b),
        (3, "fail", "release", b),
        (9, "invoke", "release", a),
        (9, "fail", "release", a),
        (3, "invoke", "acquire", a),
        (3, "fail", "acquire", a),
        (3, "invoke", "release", a),
        (3, "fail", "release", ":key \"a\" :error :no-lease"),
        (0, "ok", "acquire", a),
        (3, "invoke", "release", a),
        (3, "fail", "release", a),
    ]);
    assert_eq!(
        words(&history, ModelKind::Mutex, FailedRelease::Held),
        [
            "no order of these 2 operations of `a` explains their answers (mutex), whichever of the 0 others happened",
            "lines 3–4  process 3  acquire: ok",
            "lines 5–14  process 0  acquire: ok",
            "these count as not done (--failed-release held):",
            "lines 12–13  process 3  release: failed",
        ]
    );
    let released = judged(&history, ModelKind::Mutex, FailedRelease::Released);
    assert_eq!(
        (released.answer, released.overlaps),
        (Answer::Holds, Some(Overlaps { holds: 2, overlaps: 0 }))
    );
    // The same hold is taken twice, and the release between them does not help who has asked before it.
    let twice = told(&[
        (3, "invoke", "acquire", a),
        (3, "ok", "acquire", a),
        (0, "invoke", "acquire", a),
        (3, "invoke", "release", a),
        (3, "fail", "release", a),
        (3, "invoke", "acquire", a),
        (3, "ok", "acquire", a),
        (0, "ok", "acquire", a),
    ]);
    assert_eq!(
        words(&twice, ModelKind::Mutex, FailedRelease::Released)[1..],
        ["lines 3–8  process 0  acquire: ok", "lines 6–7  process 3  acquire: ok"]
    );
}

#[test]
fn a_hold_overlaps_another_until_the_release_that_follows_it() {
    let twice = |last: &[(u32, &str, &str, &str)]| {
        let first = [
            (0, "invoke", "acquire", ""),
            (0, "ok", "acquire", ""),
            (0, "invoke", "release", ""),
            (0, "ok", "release", ""),
            (0, "invoke", "acquire", ""),
            (0, "ok", "acquire", ""),
        ];
        overlaps(&told(&[&first[..], last].concat()), 1)
    };
    let (other, end) =
        ([(1, "invoke", "acquire", ""), (1, "ok", "acquire", "")], [(0, "invoke", "release", "")]);
    assert_eq!(twice(&[&other[..], &end].concat()), Overlaps { holds: 3, overlaps: 1 });
    assert_eq!(twice(&[&end[..], &other].concat()), Overlaps { holds: 3, overlaps: 0 });
    // A release that was called at the very stamp of the grant ends it.
    let mut at_once = told(&[
        (0, "invoke", "acquire", ""),
        (0, "ok", "acquire", ""),
        (0, "invoke", "release", ""),
        (1, "invoke", "acquire", ""),
        (1, "ok", "acquire", ""),
    ]);
    at_once.calls[1].at = at_once.calls[0].ret.as_ref().unwrap().at;
    assert_eq!(overlaps(&at_once, 1), Overlaps { holds: 2, overlaps: 0 });
}
