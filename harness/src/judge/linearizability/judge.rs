//! What a history means to a model, and the verdict.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;

use super::history::{Call, End, History, Value, Verb};
use super::model::{
    FencedMutex, FencedMutexOp, KeyValue, KeyValueOp, Mutex, MutexOp, Register, RegisterOp, Semaphore, Text,
};
use super::object::{Budget, Decision, Model, Operation};
use super::overlap::{Overlaps, overlaps};
use super::search::decide;
use super::witness::{Core, witness};

/// Which atomic object a history is judged as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelKind {
    /// [`Register`].
    Register,
    /// [`KeyValue`], each key for itself.
    KeyValue,
    /// [`Mutex`].
    Mutex,
    /// [`FencedMutex`].
    FencedMutex,
    /// [`Semaphore`].
    Semaphore(u32),
}

impl fmt::Display for ModelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Register => f.write_str("register"),
            Self::KeyValue => f.write_str("kv"),
            Self::Mutex => f.write_str("mutex"),
            Self::FencedMutex => f.write_str("fenced-mutex"),
            Self::Semaphore(permits) => write!(f, "semaphore={permits}"),
        }
    }
}

impl FromStr for ModelKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let permits = |number: &str| number.parse().ok().filter(|permits| *permits > 0);
        Ok(match (text, text.strip_prefix("semaphore=").map(permits)) {
            ("register", _) => Self::Register,
            ("kv", _) => Self::KeyValue,
            ("mutex", _) => Self::Mutex,
            ("fenced-mutex", _) => Self::FencedMutex,
            (_, Some(Some(permits))) => Self::Semaphore(permits),
            _ => return Err("must be register, kv, mutex, fenced-mutex or semaphore=N with N ≥ 1".to_owned()),
        })
    }
}

impl ModelKind {
    /// The model that the operations of a history speak of; a lock is fenced when every grant names a fence.
    #[must_use]
    pub fn guess(history: &History) -> Self {
        match history.calls.first().map(|call| call.verb) {
            Some(Verb::Get | Verb::Put | Verb::Append) => Self::KeyValue,
            Some(Verb::Acquire | Verb::Release) => {
                let grants = history.calls.iter().filter(|call| call.verb == Verb::Acquire);
                let mut granted =
                    grants.filter_map(|call| call.ret.as_ref()).filter(|ret| ret.end == End::Ok);
                let fenced = granted.clone().next().is_some()
                    && granted.all(|ret| matches!(ret.value, Value::Fence(_)));
                if fenced { Self::FencedMutex } else { Self::Mutex }
            }
            _ => Self::Register,
        }
    }

    fn knows(self, verb: Verb) -> bool {
        match self {
            Self::Register => matches!(verb, Verb::Read | Verb::Write | Verb::Cas),
            Self::KeyValue => {
                matches!(verb, Verb::Get | Verb::Put | Verb::Append | Verb::Read | Verb::Write)
            }
            Self::Mutex | Self::FencedMutex | Self::Semaphore(_) => {
                matches!(verb, Verb::Acquire | Verb::Release)
            }
        }
    }

    /// Holders at once, for a lock.
    #[must_use]
    pub fn level(self) -> Option<u32> {
        match self {
            Self::Register | Self::KeyValue => None,
            Self::Mutex | Self::FencedMutex => Some(1),
            Self::Semaphore(permits) => Some(permits),
        }
    }
}

/// What a release that failed did. The verdict on a real history can turn on it: a lease that ran out makes the release
/// fail although nobody holds the lock any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FailedRelease {
    /// Nothing, as a failure is defined: who held the lock holds it still. The default, because it takes the history at
    /// its word.
    #[default]
    Held,
    /// After it the client does not hold the lock, whether or not it did before. Right for leases: "lease not found"
    /// says that the hold is over, "not held" that there was none.
    Released,
}

impl FromStr for FailedRelease {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "held" => Ok(Self::Held),
            "released" => Ok(Self::Released),
            _ => Err("must be held or released".to_owned()),
        }
    }
}

/// The verdict on a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// Every object's answers can be explained, one's cannot, or the search gave up.
    pub answer: Answer,
    /// Objects judged.
    pub objects: usize,
    /// Operations that took part.
    pub operations: usize,
    /// For locks: how clients' holds overlapped.
    pub overlaps: Option<Overlaps>,
}

/// Three-valued answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Linearizable.
    Holds,
    /// Not linearizable: this object, stuck at this place.
    Violated(Violation),
    /// Not decided.
    Unknown {
        /// Why.
        reason: String,
    },
}

/// A violation, not yet shrunk to what shows it; that may take longer than to find it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    kind: ModelKind,
    object: Object,
    stuck: usize,
    failed_release: FailedRelease,
}

/// Judges a history: all objects for themselves, the shortest first. The budget is for each object.
///
/// # Errors
/// When an operation means nothing to the model: its line, and what is wrong.
pub fn judge(
    history: &History,
    kind: ModelKind,
    failed_release: FailedRelease,
    budget: Budget,
) -> Result<Judged, (usize, String)> {
    let mut objects = objects(history, kind, failed_release)?;
    objects.sort_by_key(|object| object.calls.len());
    let mut judged = Judged {
        answer: Answer::Holds,
        objects: objects.len(),
        operations: objects.iter().map(|object| object.calls.len()).sum(),
        overlaps: kind.level().map(|level| overlaps(history, level)),
    };
    if judged.operations == 0 {
        judged.answer = Answer::Unknown { reason: "there is no operation to judge".to_owned() };
    }
    for object in objects {
        match object.decide(kind, budget) {
            Decision::Linearizable => {}
            Decision::Violated { stuck } => {
                judged.answer = Answer::Violated(Violation { kind, object, stuck, failed_release });
                break;
            }
            Decision::Unknown { reason } => judged.answer = Answer::Unknown { reason },
        }
    }
    Ok(judged)
}

impl Violation {
    /// The smallest excerpt that shows the violation, one operation a line, with the lines of the file.
    #[must_use]
    pub fn describe(&self, history: &History, budget: Budget) -> Vec<String> {
        let core = self.object.witness(self.kind, self.stuck, budget);
        let of = self.object.key.as_deref().map_or(String::new(), |key| format!(" of `{key}`"));
        let others = self.object.calls.len() - core.must.len();
        let mut lines = vec![format!(
            "no order of these {} operations{of} explains their answers ({}), whichever of the {others} others happened",
            core.must.len(),
            self.kind
        )];
        lines.extend(core.must.iter().map(|index| line(history, &history.calls[self.object.calls[*index]])));
        if !core.may.is_empty() {
            lines.push("nor with these, which may have happened meanwhile:".to_owned());
            // A witness is to be read; nobody reads hundreds of lines of what may have been.
            const MOST: usize = 12;
            let may = core.may.iter().take(MOST);
            lines.extend(may.map(|index| line(history, &history.calls[self.object.calls[*index]])));
            if core.may.len() > MOST {
                lines.push(format!("and {} more", core.may.len() - MOST));
            }
        }
        if self.failed_release == FailedRelease::Held {
            lines.extend(self.failed_releases(history, &core));
        }
        lines
    }

    /// Releases by the holders of the excerpt that failed meanwhile: the verdict may turn on how they count.
    fn failed_releases(&self, history: &History, core: &Core) -> Vec<String> {
        let calls = || core.must.iter().map(|index| &history.calls[self.object.calls[*index]]);
        let ends = calls().filter_map(|call| call.ret.as_ref());
        let (start, end) = (calls().map(|call| call.at).min(), ends.map(|ret| ret.at).max());
        let failed = history.calls.iter().filter(|call| {
            let failed = call.ret.as_ref().is_some_and(|ret| matches!(ret.end, End::Fail | End::Error));
            let holder = calls().any(|other| other.process == call.process);
            let meanwhile = Some(call.at) >= start && Some(call.at) <= end;
            call.verb == Verb::Release && call.key == self.object.key && failed && holder && meanwhile
        });
        let mut lines: Vec<_> = failed.map(|call| line(history, call)).collect();
        if !lines.is_empty() {
            lines.insert(0, "these count as not done (--failed-release held):".to_owned());
        }
        lines
    }
}

fn line(history: &History, call: &Call) -> String {
    let (until, end) = match &call.ret {
        None => (String::new(), "never answered".to_owned()),
        Some(ret) => {
            let end = match ret.end {
                End::Ok if matches!(call.verb, Verb::Read | Verb::Get) => format!("→ {}", ret.value),
                End::Ok => match &ret.value {
                    Value::Fence(fence) => format!("ok, fence {fence}"),
                    _ => "ok".to_owned(),
                },
                End::Fail | End::Error => "failed".to_owned(),
                End::Unknown => "outcome unknown".to_owned(),
            };
            (ret.line.to_string(), end)
        }
    };
    let value = match &call.value {
        Value::Nil => String::new(),
        value => format!(" {value}"),
    };
    let process = &history.processes[call.process as usize];
    format!("lines {}–{until}  {process}  {}{value}: {end}", call.line, call.verb.name())
}

/// One object's operations, as one of the models takes them, and the call that each came from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Object {
    key: Option<Box<str>>,
    calls: Vec<usize>,
    ops: Ops,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Ops {
    Register(Vec<Operation<RegisterOp>>),
    KeyValue(Vec<Operation<KeyValueOp>>),
    Lock(Vec<Operation<FencedMutexOp>>),
}

impl Object {
    fn decide(&self, kind: ModelKind, budget: Budget) -> Decision {
        match (&self.ops, kind) {
            (Ops::Register(ops), _) => decide(&Register, ops, budget),
            (Ops::KeyValue(ops), _) => decide(&KeyValue::default(), ops, budget),
            (Ops::Lock(ops), ModelKind::FencedMutex) => decide(&FencedMutex, ops, budget),
            (Ops::Lock(ops), ModelKind::Semaphore(n)) => decide(&Unfenced(Semaphore(n)), ops, budget),
            (Ops::Lock(ops), _) => decide(&Unfenced(Mutex), ops, budget),
        }
    }

    fn witness(&self, kind: ModelKind, stuck: usize, budget: Budget) -> Core {
        match (&self.ops, kind) {
            (Ops::Register(ops), _) => witness(&Register, ops, stuck, budget),
            (Ops::KeyValue(ops), _) => witness(&KeyValue::default(), ops, stuck, budget),
            (Ops::Lock(ops), ModelKind::FencedMutex) => witness(&FencedMutex, ops, stuck, budget),
            (Ops::Lock(ops), ModelKind::Semaphore(n)) => witness(&Unfenced(Semaphore(n)), ops, stuck, budget),
            (Ops::Lock(ops), _) => witness(&Unfenced(Mutex), ops, stuck, budget),
        }
    }
}

/// A lock that takes no notice of fences.
#[derive(Debug, Clone, Copy)]
struct Unfenced<M>(M);

impl<M: Model<Op = MutexOp>> Model for Unfenced<M> {
    type Op = FencedMutexOp;
    type State = M::State;

    fn initial(&self) -> M::State {
        self.0.initial()
    }

    fn step(&self, state: &M::State, op: &FencedMutexOp) -> Option<M::State> {
        self.0.step(state, &op.op)
    }

    fn woken(&self, op: &FencedMutexOp, other: &FencedMutexOp) -> bool {
        self.0.woken(&op.op, &other.op)
    }
}

/// Translates calls into operations. What did not happen, and what was only to look and has no answer, is left out.
fn objects(
    history: &History,
    kind: ModelKind,
    failed_release: FailedRelease,
) -> Result<Vec<Object>, (usize, String)> {
    let mut by_key: BTreeMap<Option<&str>, usize> = BTreeMap::new();
    let mut objects: Vec<Object> = Vec::new();
    let mut values = HashMap::from([(Value::Nil, 0)]);
    for (number, call) in history.calls.iter().enumerate() {
        if !kind.knows(call.verb) {
            let what = format!("`{}` is no operation of a {kind}; give another --model", call.verb.name());
            return Err((call.line, what));
        }
        let object = *by_key.entry(call.key.as_deref()).or_insert_with(|| {
            let ops = match kind {
                ModelKind::Register => Ops::Register(Vec::new()),
                ModelKind::KeyValue => Ops::KeyValue(Vec::new()),
                _ => Ops::Lock(Vec::new()),
            };
            objects.push(Object { key: call.key.clone(), calls: Vec::new(), ops });
            objects.len() - 1
        });
        let object = &mut objects[object];
        let (end, answer) = match &call.ret {
            Some(ret) => (ret.end, &ret.value),
            None => (End::Unknown, &Value::Nil),
        };
        let ret = call.ret.as_ref().filter(|_| end != End::Unknown).map(|ret| ret.at);
        let taken = match &mut object.ops {
            Ops::Register(ops) => {
                let op = register_op(call, end, answer, &mut values).map_err(|what| (call.line, what))?;
                op.map(|(op, certain)| {
                    ops.push(Operation { call: call.at, ret: ret.filter(|_| certain), op })
                })
            }
            Ops::KeyValue(ops) => {
                key_value_op(call, end, answer).map(|op| ops.push(Operation { call: call.at, ret, op }))
            }
            Ops::Lock(ops) => lock_op(call, end, answer, kind, failed_release)
                .map(|op| ops.push(Operation { call: call.at, ret, op })),
        };
        if taken.is_some() {
            object.calls.push(number);
        }
    }
    objects.retain(|object| !object.calls.is_empty());
    Ok(objects)
}

/// The operation, and whether its outcome is certain.
fn register_op(
    call: &Call,
    end: End,
    answer: &Value,
    values: &mut HashMap<Value, u32>,
) -> Result<Option<(RegisterOp, bool)>, String> {
    let mut value = |value: &Value| {
        let next = values.len() as u32;
        *values.entry(value.clone()).or_insert(next)
    };
    Ok(match (call.verb, end) {
        (Verb::Read, End::Ok) => Some((RegisterOp::Read(value(answer)), true)),
        (Verb::Write, End::Ok | End::Unknown) => {
            Some((RegisterOp::Write(value(&call.value)), end == End::Ok))
        }
        (Verb::Cas, _) => {
            let Value::Pair(pair) = &call.value else {
                return Err("a cas needs two values, [expected new]".to_owned());
            };
            let (from, to) = (value(&pair.0), value(&pair.1));
            match end {
                End::Ok | End::Unknown => Some((RegisterOp::Swap(from, to), end == End::Ok)),
                End::Fail => Some((RegisterOp::NoSwap(from), true)),
                // "It did not happen" is all that is known: nothing was seen.
                End::Error => None,
            }
        }
        _ => None,
    })
}

fn key_value_op(call: &Call, end: End, answer: &Value) -> Option<KeyValueOp> {
    let text = |value: &Value| match value {
        Value::Nil => Text::new(""),
        Value::Text(text) => Text::new(text),
        other => Text::new(&other.to_string()),
    };
    match (call.verb, end) {
        (Verb::Get | Verb::Read, End::Ok) => Some(KeyValueOp::Get(text(answer))),
        (Verb::Put | Verb::Write, End::Ok | End::Unknown) => Some(KeyValueOp::Put(text(&call.value))),
        (Verb::Append, End::Ok | End::Unknown) => Some(KeyValueOp::Append(text(&call.value))),
        _ => None,
    }
}

fn lock_op(
    call: &Call,
    end: End,
    answer: &Value,
    kind: ModelKind,
    failed_release: FailedRelease,
) -> Option<FencedMutexOp> {
    let fence = match answer {
        Value::Fence(fence) => Some(*fence),
        // A bare number is one only where the user says that there are fences.
        Value::Int(number) if kind == ModelKind::FencedMutex => u128::try_from(*number).ok(),
        _ => None,
    };
    match (call.verb, end, failed_release) {
        (Verb::Acquire, End::Ok | End::Unknown, _) => {
            Some(FencedMutexOp { op: MutexOp::Acquire(call.process), fence })
        }
        (Verb::Release, End::Ok | End::Unknown, _) => {
            Some(FencedMutexOp { op: MutexOp::Release(call.process), fence: None })
        }
        (Verb::Release, End::Fail | End::Error, FailedRelease::Released) => {
            Some(FencedMutexOp { op: MutexOp::NotHeldAfter(call.process), fence: None })
        }
        _ => None,
    }
}
