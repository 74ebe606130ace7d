//! One key of a key-value store with append.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::super::Model;

/// Holds a text, at first empty. Keys are independent of each other, so each is an object of its own.
#[derive(Debug, Clone, Default)]
pub struct KeyValue {
    /// Beginnings of the longest text that must still be seen, where nothing but append changes the value: a value
    /// that is none of them can no longer become it. `None` where that does not apply.
    beginnings: Option<Arc<HashSet<Print>>>,
    longest: Print,
}

/// An operation on a [`KeyValue`] and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KeyValueOp {
    /// This text was seen.
    Get(Text),
    /// The text was replaced by this.
    Put(Text),
    /// This was added at the end.
    Append(Text),
}

/// A text and its print.
#[derive(Debug, Clone)]
pub struct Text {
    print: Print,
    text: Arc<str>,
}

/// Stands for a text: its length and two polynomial hashes modulo 2^61 - 1, so that a state is small and appending to
/// it costs the same however long it is. That two texts of a megabyte have one print is as likely as 1 in 2^80.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Print {
    len: u64,
    sums: [u64; 2],
}

const MODULUS: u64 = (1 << 61) - 1;
/// Arbitrary, large and different.
const BASES: [u64; 2] = [0x0F3A_9C5D_2B71_E845, 0x1B2E_6D03_94C7_5A1F];

fn multiply(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    let folded = (product as u64 & MODULUS) + (product >> 61) as u64;
    if folded >= MODULUS { folded - MODULUS } else { folded }
}

impl Print {
    fn push(self, byte: u8) -> Self {
        let mut sums = self.sums;
        for (sum, base) in sums.iter_mut().zip(BASES) {
            *sum = (multiply(*sum, base) + u64::from(byte) + 1) % MODULUS;
        }
        Self { len: self.len + 1, sums }
    }

    fn followed_by(self, tail: Self) -> Self {
        let mut sums = self.sums;
        for ((sum, base), tail_sum) in sums.iter_mut().zip(BASES).zip(tail.sums) {
            *sum = (multiply(*sum, power(base, tail.len)) + tail_sum) % MODULUS;
        }
        Self { len: self.len + tail.len, sums }
    }
}

fn power(mut base: u64, mut exponent: u64) -> u64 {
    let mut product = 1;
    while exponent > 0 {
        if exponent & 1 == 1 {
            product = multiply(product, base);
        }
        base = multiply(base, base);
        exponent >>= 1;
    }
    product
}

impl Text {
    /// Takes the print of a text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self { print: text.bytes().fold(Print::default(), Print::push), text: text.into() }
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.print == other.print
    }
}

impl Eq for Text {}

impl Hash for Text {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.print.hash(hasher);
    }
}

impl Model for KeyValue {
    type Op = KeyValueOp;
    type State = KeyValueState;

    fn initial(&self) -> KeyValueState {
        KeyValueState { print: Print::default(), seen: self.longest.len == 0 }
    }

    fn step(&self, state: &KeyValueState, op: &KeyValueOp) -> Option<KeyValueState> {
        let next = match op {
            KeyValueOp::Get(seen) if seen.print == state.print => {
                return Some(KeyValueState { seen: state.seen || seen.print == self.longest, ..*state });
            }
            KeyValueOp::Get(_) => return None,
            KeyValueOp::Put(text) => text.print,
            KeyValueOp::Append(text) => state.print.followed_by(text.print),
        };
        let hopeless = !state.seen && self.beginnings.as_ref().is_some_and(|some| !some.contains(&next));
        (!hopeless).then_some(KeyValueState { print: next, seen: state.seen })
    }

    fn changes(&self, op: &KeyValueOp) -> bool {
        !matches!(op, KeyValueOp::Get(_))
    }

    fn foresee(&mut self, must: &[&KeyValueOp], may: &[&KeyValueOp]) {
        *self = Self::default();
        if must.iter().chain(may).any(|op| matches!(op, KeyValueOp::Put(_))) {
            return;
        }
        let gets = must.iter().filter_map(|op| match op {
            KeyValueOp::Get(text) => Some(text),
            _ => None,
        });
        let Some(longest) = gets.max_by_key(|text| text.print.len) else { return };
        let mut print = Print::default();
        let beginnings = std::iter::once(print).chain(longest.text.bytes().map(|byte| {
            print = print.push(byte);
            print
        }));
        self.beginnings = Some(Arc::new(beginnings.collect()));
        self.longest = longest.print;
    }
}

/// State of a [`KeyValue`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyValueState {
    print: Print,
    /// Whether the longest text has been seen, or need not be.
    seen: bool,
}
