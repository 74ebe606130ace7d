//! Our words in the library's, and back.

use etcd_client as theirs;
use etcd_client::{
    CompareOp, EventType, GetOptions, PutOptions, SortOrder, SortTarget, TxnOpResponse, TxnResponse,
    WatchOptions, WatchResponse,
};

use crate::backends::etcd::requests::{
    Answer, Change, ChangeKind, Compare, Content, Failure, Followed, KeyValue, Keys, Op, Order, Part, Read,
    Txn,
};
use crate::session::told;

pub(super) fn txn(Txn { when, then, or_else }: Txn) -> theirs::Txn {
    let ops = |ops: Vec<Op>| ops.into_iter().map(op).collect::<Vec<_>>();
    let when: Vec<_> = when.into_iter().map(compare).collect();
    theirs::Txn::new().when(when).and_then(ops(then)).or_else(ops(or_else))
}

fn compare(compare: Compare) -> theirs::Compare {
    let created = |key: String, is, revision| theirs::Compare::create_revision(key, is, revision);
    match compare {
        Compare::Absent { key } => created(key, CompareOp::Equal, 0),
        Compare::NoneUnder { prefix } => created(prefix, CompareOp::Equal, 0).with_prefix(),
        Compare::Exists { key } => created(key, CompareOp::Greater, 0),
        Compare::CreatedAt { key, revision } => created(key, CompareOp::Equal, revision),
        Compare::ModifiedAt { key, revision } => {
            theirs::Compare::mod_revision(key, CompareOp::Equal, revision)
        }
        Compare::Holds { key, value } => theirs::Compare::value(key, CompareOp::Equal, value),
    }
}

fn op(op: Op) -> theirs::TxnOp {
    match op {
        Op::Put { key, value, lease } => {
            theirs::TxnOp::put(key, value, Some(PutOptions::new().with_lease(lease.id)))
        }
        Op::Delete { key } => theirs::TxnOp::delete(key, None),
        Op::Read(of) => {
            let (key, options) = read(of);
            theirs::TxnOp::get(key, Some(options))
        }
    }
}

/// The key or prefix, and how to read it.
pub(super) fn read(Read { keys, content }: Read) -> (String, GetOptions) {
    let options = match content {
        Content::NoValue => GetOptions::new().with_keys_only(),
        Content::All => GetOptions::new(),
    };
    match keys {
        Keys::One(key) => (key, options),
        Keys::Under { prefix, order, limit } => {
            let order = match order {
                Order::Oldest => SortOrder::Ascend,
                Order::Youngest => SortOrder::Descend,
            };
            let sorted = options.with_prefix().with_sort(SortTarget::Create, order);
            (prefix, sorted.with_limit(i64::from(limit)))
        }
    }
}

/// Of a nested transaction, whose header says nothing, the revision is that of the whole.
pub(super) fn answer(answer: &TxnResponse, revision: i64) -> Answer {
    let part = |part| match part {
        TxnOpResponse::Get(mut read) => Part::Read(read.take_kvs().into_iter().map(key_value).collect()),
        TxnOpResponse::Put(_) | TxnOpResponse::Delete(_) | TxnOpResponse::Txn(_) => Part::Written,
    };
    let parts = answer.op_responses().into_iter().map(part).collect();
    Answer { succeeded: answer.succeeded(), revision, parts }
}

pub(super) fn key_value(read: theirs::KeyValue) -> KeyValue {
    let (created, modified, lease) = (read.create_revision(), read.mod_revision(), read.lease());
    let (key, value) = read.into_key_value();
    let key =
        String::from_utf8(key).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    KeyValue { key, value, created, modified, lease }
}

/// The key or prefix, and how to follow it under that id.
pub(super) fn followed(what: Followed, id: i64) -> (String, WatchOptions) {
    let options = WatchOptions::new().with_watch_id(id);
    match what {
        Followed::One(key) => (key, options),
        Followed::Under(prefix) => (prefix, options.with_prefix()),
    }
}

/// What an answer tells.
pub(super) fn changes(answer: &WatchResponse) -> Vec<Change> {
    let change = |event: &theirs::Event| {
        let kv = event.kv()?;
        let kind = match event.event_type() {
            EventType::Put => ChangeKind::Put { created: kv.create_revision() },
            EventType::Delete => ChangeKind::Deleted,
        };
        let key = String::from_utf8_lossy(kv.key()).into_owned();
        Some(Change { key, revision: kv.mod_revision(), kind })
    };
    answer.events().iter().filter_map(change).collect()
}

pub(super) fn failure(error: &theirs::Error) -> Failure {
    match error {
        theirs::Error::GRpcStatus(status) if status.message().contains("requested lease not found") => {
            Failure::LeaseGone
        }
        error => Failure::Unanswered(told(error)),
    }
}
