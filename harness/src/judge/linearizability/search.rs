//! The search for an order.
//!
//! Operations that must happen are numbered by return. The *front* is the first of them that is not yet in the order;
//! nothing called after its return can come before it. Three things keep the search small:
//!
//! * An operation that only looks, and sees what it saw, can join the order at once: that takes no choice away. So can
//!   one that does nothing in this state, when nothing that overlaps it could change that.
//! * An optional operation (unknown outcome) is used only right before one that must happen. A place that used more of
//!   them than another with the same state and front is no better, and chains of them are tried shortest first.
//! * Of equal operations that overlap, the one that returns first goes first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

use super::memo::Memo;
use super::object::{Budget, Decision, Model, Operation};
use super::part::{Need, Part, view, wakes};

/// Searches for an order of one object's operations that explains every answer (Wing and Gong's search with Lowe's
/// memory of places seen). Objects are independent: judge each alone (P-compositionality).
#[must_use]
pub fn decide<M: Model>(model: &M, ops: &[Operation<M::Op>], budget: Budget) -> Decision {
    let view = view(ops);
    match search(model, ops, &view, budget).found {
        Found::Order => Decision::Linearizable,
        Found::Stuck { at } => Decision::Violated { stuck: at },
        Found::GaveUp { reason } => Decision::Unknown { reason },
    }
}

/// How a search ended.
#[derive(Debug)]
pub(super) struct Searched {
    pub(super) found: Found,
    /// Optional operations (indices) that stood in some order that got anywhere.
    pub(super) helpful: Vec<usize>,
    pub(super) steps: u64,
}

#[derive(Debug)]
pub(super) enum Found {
    Order,
    /// No order gets past the return of this operation (index).
    Stuck {
        at: usize,
    },
    GaveUp {
        reason: String,
    },
}

pub(super) fn search<M: Model>(
    model: &M,
    ops: &[Operation<M::Op>],
    parts: &[Part],
    budget: Budget,
) -> Searched {
    let mut model = model.clone();
    let of = |part: &Part| &ops[part.index].op;
    let (must, may): (Vec<_>, Vec<_>) = parts.iter().partition(|part| matches!(part.need, Need::Must(_)));
    let (must, may): (Vec<_>, Vec<_>) =
        (must.into_iter().map(of).collect(), may.into_iter().map(of).collect());
    model.foresee(&must, &may);
    let mut search = Search::new(&model, ops, parts, budget);
    let found = search.run();
    let helpful = search.optional.iter().enumerate().filter(|(o, _)| bit(&search.helpful, *o));
    Searched {
        found,
        helpful: helpful.map(|(_, optional)| optional.index).collect(),
        steps: search.steps + search.memo.compared,
    }
}

/// An operation that must happen. Its number is its place by return.
#[derive(Debug)]
struct Certain<'a, O> {
    op: &'a O,
    index: usize,
    call: u64,
    ret: u64,
    /// Its bit among those that overlap; free again after its return.
    slot: u32,
    /// The same for equal operations.
    class: u32,
    /// Whether there is another one of its class.
    twins: bool,
    /// Whether it never changes a state.
    looks: bool,
    /// Whether nothing that overlaps it can make it do something once it does nothing.
    asleep: bool,
}

/// An operation that may have happened after its call, or never; by call.
#[derive(Debug)]
struct Optional<'a, O> {
    op: &'a O,
    index: usize,
    call: u64,
    /// If it happened, then before anything called after this.
    until: u64,
    class: u32,
    /// The one of the same class called before it, which goes first.
    elder: Option<u32>,
}

/// A place on the way from the start to where the search is.
#[derive(Debug)]
struct Frame {
    /// The place as it was reached.
    place: u32,
    /// The place from which operations are tried now: `place`, or one of `chains`.
    from: u32,
    /// First number not yet tried from there.
    next: u32,
    /// Length of the order up to here.
    order: usize,
    /// Places that optional operations alone lead to from `place`, shortest chain first; from how many of them
    /// operations have been tried, and how many chains, counting the empty one, have been made longer.
    chains: Vec<u32>,
    tried: usize,
    widened: usize,
}

#[derive(Debug)]
struct Search<'a, M: Model> {
    model: &'a M,
    certain: Vec<Certain<'a, M::Op>>,
    optional: Vec<Optional<'a, M::Op>>,
    /// Where optional operations have an end, sorted. With any, an operation taken in early takes choices away.
    ends: Vec<u64>,
    /// Doubly linked list by call of what is not yet in the order; the last element is its head.
    after: Vec<u32>,
    before: Vec<u32>,
    ordered: Vec<bool>,
    /// What is in the order, each with the latest call up to it.
    order: Vec<(u32, u64)>,
    front: u32,
    ahead: Vec<u64>,
    used: Vec<u64>,
    memo: Memo<M::State>,
    frames: Vec<Frame>,
    /// Numbers of the operations that could come next, by return; scratch.
    candidates: Vec<u32>,
    helpful: Vec<u64>,
    /// The furthest front so far.
    furthest: u32,
    steps: u64,
    budget: Budget,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(model: &'a M, ops: &'a [Operation<M::Op>], parts: &[Part], budget: Budget) -> Self {
        let mut classes: HashMap<&M::Op, (u32, u32)> = HashMap::new();
        for part in parts {
            let next = classes.len() as u32;
            classes.entry(&ops[part.index].op).or_insert((next, 0)).1 += 1;
        }
        let mut certain: Vec<_> = parts
            .iter()
            .filter_map(|part| {
                let Need::Must(ret) = part.need else { return None };
                let Operation { call, op, .. } = &ops[part.index];
                let (class, count) = classes[op];
                let (index, call, twins, looks) = (part.index, *call, count > 1, !model.changes(op));
                let asleep = !looks && !parts.iter().any(|other| wakes(model, ops, part, other));
                Some(Certain { op, index, call, ret, slot: 0, class, twins, looks, asleep })
            })
            .collect();
        certain.sort_by_key(|certain| (certain.ret, certain.call));
        let mut by_call: Vec<u32> = (0..certain.len() as u32).collect();
        by_call.sort_by_key(|number| (certain[*number as usize].call, *number));
        let slots = give_slots(&mut certain, &by_call);

        let mut optional: Vec<_> = parts
            .iter()
            .filter(|part| model.changes(&ops[part.index].op))
            .filter_map(|part| {
                let Need::May(until) = part.need else { return None };
                let Operation { call, op, .. } = &ops[part.index];
                let (index, until) = (part.index, until.unwrap_or(u64::MAX));
                Some(Optional { op, index, call: *call, until, class: classes[op].0, elder: None })
            })
            .collect();
        optional.sort_by_key(|optional| optional.call);
        let mut ends: Vec<_> =
            optional.iter().map(|optional| optional.until).filter(|until| *until < u64::MAX).collect();
        ends.sort_unstable();
        let mut latest = BTreeMap::new();
        for (number, optional) in optional.iter_mut().enumerate() {
            optional.elder = latest.insert(optional.class, number as u32);
        }

        let (ahead_words, used_words) = (slots.div_ceil(64), optional.len().div_ceil(64));
        let (mut after, mut before) = (vec![0; certain.len() + 1], vec![0; certain.len() + 1]);
        let mut last = certain.len() as u32;
        for number in by_call.into_iter().chain([last]) {
            (after[last as usize], before[number as usize]) = (number, last);
            last = number;
        }
        Self {
            model,
            ordered: vec![false; certain.len()],
            ends,
            certain,
            after,
            before,
            order: Vec::new(),
            front: 0,
            ahead: vec![0; ahead_words],
            used: vec![0; used_words],
            helpful: vec![0; used_words],
            optional,
            memo: Memo::new(ahead_words, used_words),
            frames: Vec::new(),
            candidates: Vec::new(),
            furthest: 0,
            steps: 0,
            budget,
        }
    }

    fn run(&mut self) -> Found {
        self.arrive(self.model.initial());
        loop {
            if self.front as usize == self.certain.len() {
                return Found::Order;
            }
            if let Some(reason) = self.spent() {
                return Found::GaveUp { reason };
            }
            let Some(frame) = self.frames.pop() else {
                return Found::Stuck { at: self.certain[self.furthest as usize].index };
            };
            self.advance(frame);
        }
    }

    /// Goes on from a frame: to a new one, or back.
    fn advance(&mut self, mut frame: Frame) {
        self.return_to(&frame);
        self.find_candidates();
        loop {
            if let Some((number, state)) = self.next_of(&frame) {
                frame.next = number + 1;
                self.used.copy_from_slice(self.memo.used(frame.from));
                self.frames.push(frame);
                self.put(number);
                self.arrive(state);
                return;
            }
            // Every chain of one length is tried before any is made longer.
            while frame.tried == frame.chains.len() {
                let from = match frame.widened.checked_sub(1) {
                    None => frame.place,
                    Some(longer) => match frame.chains.get(longer) {
                        Some(chain) => *chain,
                        None => return,
                    },
                };
                frame.widened += 1;
                self.widen(&mut frame, from);
            }
            (frame.from, frame.next) = (frame.chains[frame.tried], 0);
            frame.tried += 1;
            if self.spent().is_some() {
                self.frames.push(frame);
                return;
            }
        }
    }

    /// Takes in what only looks, and makes a frame of the place unless it has been seen.
    fn arrive(&mut self, mut state: M::State) {
        self.absorb(&mut state);
        self.furthest = self.furthest.max(self.front);
        let Some(place) = self.memo.visit(self.front, &self.ahead, &state, &self.used) else { return };
        self.helpful.iter_mut().zip(&self.used).for_each(|(helpful, used)| *helpful |= used);
        let order = self.order.len();
        self.frames.push(Frame {
            place,
            from: place,
            next: 0,
            order,
            chains: Vec::new(),
            tried: 0,
            widened: 0,
        });
    }

    fn absorb(&mut self, state: &mut M::State) {
        let head = self.certain.len();
        while let Some(limit) = self.certain.get(self.front as usize).map(|front| front.ret) {
            let front = self.front;
            let mut number = self.after[head] as usize;
            while number != head && self.certain[number].call <= limit {
                let following = self.after[number] as usize;
                let Certain { looks, asleep, op, .. } = self.certain[number];
                if (looks || asleep) && !self.ends_something(number) {
                    self.steps += 1;
                    if let Some(same) = self.model.step(state, op).filter(|next| looks || next == state) {
                        *state = same;
                        self.put(number as u32);
                    }
                }
                number = following;
            }
            if front == self.front {
                return;
            }
        }
    }

    /// Whether an optional operation could come before this one, but not after it.
    fn ends_something(&self, number: usize) -> bool {
        let (latest, call) = (self.latest(), self.certain[number].call);
        let next = self.ends.partition_point(|end| *end < latest);
        self.ends.get(next).is_some_and(|end| *end < call)
    }

    /// The latest call in the order.
    fn latest(&self) -> u64 {
        self.order.last().map_or(0, |(_, latest)| *latest)
    }

    fn find_candidates(&mut self) {
        self.candidates.clear();
        let head = self.certain.len();
        let limit = self.certain[self.front as usize].ret;
        let mut number = self.after[head] as usize;
        while number != head && self.certain[number].call <= limit {
            self.candidates.push(number as u32);
            number = self.after[number] as usize;
        }
        self.candidates.sort_unstable();
    }

    /// The next operation to try from where the frame is, and the state after it.
    fn next_of(&mut self, frame: &Frame) -> Option<(u32, M::State)> {
        let first = self.candidates.partition_point(|number| *number < frame.next);
        for place in first..self.candidates.len() {
            let number = self.candidates[place];
            let certain = &self.certain[number as usize];
            let twin = |other: &u32| self.certain[*other as usize].class == certain.class;
            if certain.twins && self.ends.is_empty() && self.candidates[..place].iter().any(twin) {
                continue;
            }
            self.steps += 1;
            if let Some(state) = self.model.step(self.memo.state(frame.from), certain.op) {
                return Some((number, state));
            }
        }
        None
    }

    /// Adds the places that one more optional operation leads to.
    fn widen(&mut self, frame: &mut Frame, from: u32) {
        let limit = self.certain[self.front as usize].ret;
        let mut state = None;
        let used = self.memo.used(from);
        let used = (0..self.optional.len()).filter(|number| bit(used, *number));
        let latest = used.map(|number| self.optional[number].call).max().max(Some(self.latest()));
        for number in 0..self.optional.len() {
            let optional = &self.optional[number];
            if optional.call > limit {
                break;
            }
            self.steps += 1;
            let used = self.memo.used(from);
            if bit(used, number) || latest > Some(optional.until) {
                continue;
            }
            let elder_waits = optional.elder.is_some_and(|elder| !bit(used, elder as usize));
            // An equal operation that must happen serves as well, and this one can still come later.
            let same = |other: &u32| self.certain[*other as usize].class == optional.class;
            if self.ends.is_empty() && (elder_waits || self.candidates.iter().any(same)) {
                continue;
            }
            let state = state.get_or_insert_with(|| self.memo.state(from).clone());
            let Some(next) = self.model.step(state, optional.op).filter(|next| next != state) else {
                continue;
            };
            self.used.copy_from_slice(used);
            self.used[number / 64] |= 1 << (number % 64);
            frame.chains.extend(self.memo.visit(self.front, &self.ahead, &next, &self.used));
        }
    }

    /// Puts an operation at the end of the order.
    fn put(&mut self, number: u32) {
        let (before, after) = (self.before[number as usize], self.after[number as usize]);
        (self.after[before as usize], self.before[after as usize]) = (after, before);
        self.ordered[number as usize] = true;
        self.order.push((number, self.latest().max(self.certain[number as usize].call)));
        let slot = self.certain[number as usize].slot as usize;
        self.ahead[slot / 64] |= 1 << (slot % 64);
        while self.ordered.get(self.front as usize) == Some(&true) {
            let slot = self.certain[self.front as usize].slot as usize;
            self.ahead[slot / 64] &= !(1 << (slot % 64));
            self.front += 1;
        }
    }

    /// Takes back what was put into the order after the frame.
    fn return_to(&mut self, frame: &Frame) {
        for (number, _) in self.order.drain(frame.order..).rev() {
            let (before, after) = (self.before[number as usize], self.after[number as usize]);
            (self.after[before as usize], self.before[after as usize]) = (number, number);
            self.ordered[number as usize] = false;
        }
        self.front = self.memo.front(frame.place);
        self.ahead.copy_from_slice(self.memo.ahead(frame.place));
    }

    fn spent(&self) -> Option<String> {
        let steps = self.steps + self.memo.compared;
        if steps > self.budget.steps {
            return Some(format!("no answer after {steps} steps"));
        }
        let bytes = self.memo.bytes();
        (bytes > self.budget.bytes).then(|| format!("no answer after {} MiB of memory", bytes >> 20))
    }
}

/// Gives operations that overlap different slots; how many are needed.
fn give_slots<O>(certain: &mut [Certain<'_, O>], by_call: &[u32]) -> usize {
    let mut open: BinaryHeap<Reverse<(u64, u32)>> = BinaryHeap::new();
    let (mut free, mut slots) = (Vec::new(), 0);
    for number in by_call {
        let certain = &mut certain[*number as usize];
        while let Some(Reverse((_, slot))) = open.peek().filter(|Reverse((ret, _))| *ret < certain.call) {
            free.push(*slot);
            open.pop();
        }
        certain.slot = free.pop().unwrap_or_else(|| {
            slots += 1;
            slots - 1
        });
        open.push(Reverse((certain.ret, certain.slot)));
    }
    slots as usize
}

fn bit(words: &[u64], place: usize) -> bool {
    words[place / 64] >> (place % 64) & 1 == 1
}
