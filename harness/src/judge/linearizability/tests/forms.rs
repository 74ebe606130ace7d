//! Forms of stored histories at their edges: what is told apart, what stands where, and how much there may be.

use super::super::read::{self, LockObject, ReadError};
use super::super::*;
use crate::judge::fixture;
use crate::model::{Token, What};

fn history(text: &str) -> Result<History, ReadError> {
    read::clients(text.as_bytes(), read::format(text.as_bytes())?)
}

#[test]
fn a_file_that_is_no_text_is_refused_with_the_line_of_its_first_other_byte() {
    let bytes = b"INFO  jepsen.util - 0 :invoke :read nil\n\nINFO \xFF";
    let error = read::clients(bytes, Format::JepsenLog).unwrap_err();
    assert_eq!((error.line, error.what.contains("UTF-8")), (3, true));
}

#[test]
fn forms_are_told_by_how_they_begin() {
    let packed = zstd::encode_all(&b"{}"[..], 1).unwrap();
    for (bytes, form) in [
        (&packed[..], Format::Events),
        (b" {\"at_ns\":1}", Format::Events),
        (b"{:process 0}", Format::Edn),
        (b"; noted", Format::Edn),
        (b"", Format::JepsenLog),
        (b"2026 WARN other - words", Format::JepsenLog),
        (b"jepsen.util - 0", Format::JepsenLog),
    ] {
        assert_eq!(read::format(bytes).unwrap(), form, "{:?}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn the_nemesis_is_no_client_and_a_fence_is_a_grant_s_alone() {
    let edn = "{:process :nemesis :type :info :f :start}
               {:process 0 :type :invoke :f :write :value 1 :fence 9} {:process 0 :type :ok :f :write :value 1 :fence 9}";
    let history = history(edn).unwrap();
    assert_eq!((history.processes.len(), history.calls.len()), (1, 1));
    assert_eq!(history.calls[0].value, Value::Int(1));
}

#[test]
fn whatever_a_log_calls_a_request_without_an_answer_nobody_knows_its_outcome() {
    let end = |rest: &str| {
        let log = format!("INFO  jepsen.util - 0 :invoke :write 1\nINFO  jepsen.util - 0 {rest}\n");
        history(&log).unwrap().calls[0].ret.as_ref().map(|ret| (ret.end, ret.value.clone()))
    };
    assert_eq!(end(":fail :write :timed-out"), Some((End::Unknown, Value::Nil)));
    assert_eq!(end(":info :write :timed-out"), Some((End::Unknown, Value::Nil)));
    assert_eq!(end(":ok :write :timed-out"), Some((End::Ok, Value::Nil)));
    assert_eq!(end(":fail :write 1"), Some((End::Fail, Value::Int(1))));
    assert_eq!(end(":fail :write 1 :no-leader"), Some((End::Error, Value::Int(1))));
}

#[test]
fn a_value_is_nested_a_hundred_deep_at_most_whatever_it_is_made_of() {
    let value = |open: &str, within: &str, close: &str, depth: usize| {
        let value = format!("{}{within}{}", open.repeat(depth), close.repeat(depth));
        history(&format!("{{:process 0 :type :invoke :f :write :value {value}}}"))
    };
    for (open, within, close) in [
        ("[", "1", "]"),
        ("(", "1", ")"),
        ("#{", "1", "}"),
        ("{:a ", "1", "}"),
        ("{", "1", " 1}"),
        ("#a ", "1", ""),
    ] {
        assert!(value(open, within, close, 100).is_ok(), "{open}");
        assert!(value(open, within, close, 101).unwrap_err().what.contains("nested"), "{open}");
    }
}

#[test]
fn the_locks_of_a_run_are_its_slots_and_a_grant_has_the_line_and_the_fence_of_its_event() {
    let keys = |run: &fixture::Told| {
        let history = read::locks(&run.events, &run.facts.plan, LockObject::Slot).unwrap();
        assert_eq!(history.format, Format::Events);
        let acquired = history.calls.iter().filter(|call| call.verb == Verb::Acquire);
        let keys: Vec<_> = acquired.map(|call| (call.line, call.key.clone().unwrap().to_string())).collect();
        (keys, history)
    };
    let grant = |slot, token| What::Granted { slot, token, valid_until_ns: None };
    let token = Some(Token { generation: 2, sequence: 5 });
    let (named, history) = keys(&fixture::run(3, 1, &[(0, 0, What::Invoked), (1, 0, grant(Some(1), token))]));
    assert_eq!(named, [(1, "vm-7#1".to_owned())]);
    let ret = history.calls[0].ret.clone().unwrap();
    assert_eq!((ret.line, ret.value), (2, Value::Fence(2 << 64 | 5)));
    let (only, _) = keys(&fixture::run(1, 1, &[(0, 0, What::Invoked), (1, 0, grant(None, None))]));
    assert_eq!(only, [(1, "vm-7#0".to_owned())], "the only slot there is");
    let (any, _) = keys(&fixture::run(2, 1, &[(0, 0, What::Invoked)]));
    assert_eq!(any, [(1, "vm-7#0".to_owned()), (1, "vm-7#1".to_owned())]);
    let (none, unlimited) = keys(&fixture::run(0, 1, &[(0, 0, What::Invoked)]));
    assert_eq!((none, unlimited.processes.len()), (Vec::new(), 0));
    let modes = [crate::model::Mode::Shared, crate::model::Mode::Exclusive];
    let table = [(0, 0, What::Invoked), (0, 1, What::Invoked)];
    assert_eq!(keys(&fixture::run_of(1, &modes, &table)).0, [], "shared steps say nothing of a mutex");
}

#[test]
fn an_event_takes_up_to_a_mebibyte() {
    let event = br#"{"at_ns":7,"node":0,"task":3,"step":1,"event":"invoked"}"#;
    let line = |bytes: usize| {
        let mut line = event.to_vec();
        line.resize(bytes - 1, b' ');
        line.push(b'\n');
        read::events(&line)
    };
    assert_eq!(line(1 << 20).unwrap().len(), 1);
    assert!(line((1 << 20) + 1).unwrap_err().what.contains("1048576 bytes"));
}
