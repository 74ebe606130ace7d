//! One key of a key-value store with append.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::super::object::Model;

/// Holds a text, at first empty. Keys are independent of each other, so each is an object of its own.
#[derive(Debug, Clone, Default)]
pub struct KeyValue {
    /// Beginnings of every text that must be seen. A text that is none of them can only be replaced, never seen, however
    /// much is appended: all of those are one state. `None`: not known.
    beginnings: Option<Arc<HashSet<Print>>>,
    /// The longest of those texts, where nothing is ever replaced: until it is seen, every text must be its beginning.
    longest: Option<Print>,
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
    /// Of no text.
    const UNSEEN: Self = Self { len: u64::MAX, sums: [0; 2] };

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
        KeyValueState { print: Print::default(), seen: self.longest.is_none_or(|longest| longest.len == 0) }
    }

    fn step(&self, state: &KeyValueState, op: &KeyValueOp) -> Option<KeyValueState> {
        let print = match op {
            KeyValueOp::Get(text) if text.print == state.print => {
                let seen = state.seen || Some(text.print) == self.longest;
                return Some(KeyValueState { seen, ..*state });
            }
            KeyValueOp::Get(_) => return None,
            KeyValueOp::Put(text) => text.print,
            KeyValueOp::Append(_) if state.print == Print::UNSEEN => return Some(*state),
            KeyValueOp::Append(text) => state.print.followed_by(text.print),
        };
        if self.beginnings.as_ref().is_none_or(|beginnings| beginnings.contains(&print)) {
            return Some(KeyValueState { print, ..*state });
        }
        state.seen.then_some(KeyValueState { print: Print::UNSEEN, ..*state })
    }

    fn changes(&self, op: &KeyValueOp) -> bool {
        !matches!(op, KeyValueOp::Get(_))
    }

    fn foresee(&mut self, must: &[&KeyValueOp], may: &[&KeyValueOp]) {
        let mut gets: Vec<_> = must
            .iter()
            .filter_map(|op| match op {
                KeyValueOp::Get(text) => Some(text),
                KeyValueOp::Put(_) | KeyValueOp::Append(_) => None,
            })
            .collect();
        let replaced = must.iter().chain(may).any(|op| matches!(op, KeyValueOp::Put(_)));
        let longest = gets.iter().map(|text| text.print).max_by_key(|print| print.len);
        self.longest = longest.filter(|_| !replaced);
        // In order, a text shares with the one before it all that it shares with any: only the rest is new.
        gets.sort_unstable_by_key(|text| &text.text);
        let mut beginnings = HashSet::from([Print::default()]);
        let (mut before, mut prints): (&[u8], _) = (&[], vec![Print::default()]);
        for text in gets {
            let bytes = text.text.as_bytes();
            let shared = bytes.iter().zip(before).take_while(|(byte, other)| byte == other).count();
            prints.truncate(shared + 1);
            for byte in &bytes[shared..] {
                let print = prints[prints.len() - 1].push(*byte);
                prints.push(print);
                beginnings.insert(print);
            }
            before = bytes;
        }
        self.beginnings = Some(Arc::new(beginnings));
    }
}

/// State of a [`KeyValue`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyValueState {
    /// Of the text, or [`Print::UNSEEN`].
    print: Print,
    /// Whether [`KeyValue::longest`] has been seen, or need not be.
    seen: bool,
}
