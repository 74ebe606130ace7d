//! Valid input, damaged as a seed says: what a broken or hostile other end would send. For the tests of whatever reads
//! bytes that it did not write.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

/// How many damaged inputs every test tries that has one a seed, in place of its usual number.
pub const INPUTS: &str = "LOCKBENCH_DAMAGED";

/// The seed of the first of them.
pub const SEED: &str = "LOCKBENCH_DAMAGE_SEED";

/// An input that takes longer hangs: all of them are small.
const HANGS: Duration = Duration::from_secs(60);

/// Numbers at which arithmetic breaks, as texts have them.
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "255",
    "65535",
    "65536",
    "2147483648",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1e300",
    "-1e300",
    "1e-300",
    "0.5",
];

/// Draws what happens to one input.
#[derive(Debug)]
pub struct Damage(ChaCha8Rng);

/// Tries so many inputs, or as many as [`INPUTS`] says, each with a seed of its own. The seed of one that panics is printed
/// with the way to try it alone; one that hangs ends the process, with its seed.
pub fn inputs(name: &str, usual: u64, mut attempt: impl FnMut(&mut Damage)) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (count, first) = (number(INPUTS).unwrap_or(usual), number(SEED).unwrap_or(0));
    eprintln!("{name}: {count} damaged inputs from seed {first}");
    let replay = move |seed: u64| format!("{name}: seed {seed}; alone: {INPUTS}=1 {SEED}={seed}");
    let current = Arc::new(AtomicU64::new(first));
    let (over, watched) = channel::<()>();
    let (seen, hung) = (Arc::clone(&current), name.to_owned());
    let watch = thread::spawn(move || {
        let mut before = None;
        while watched.recv_timeout(HANGS) == Err(RecvTimeoutError::Timeout) {
            let seed = seen.load(Ordering::Relaxed);
            if before.replace(seed) == Some(seed) {
                eprintln!("{hung}: hangs at seed {seed}; alone: {INPUTS}=1 {SEED}={seed}");
                std::process::abort();
            }
        }
    });
    for seed in first..first.saturating_add(count) {
        current.store(seed, Ordering::Relaxed);
        let mut damage = Damage::of(seed);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| attempt(&mut damage))) {
            eprintln!("{}", replay(seed));
            resume_unwind(panic);
        }
    }
    drop(over);
    watch.join().expect("it only waits");
}

impl Damage {
    /// That of one seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A number below the bound; 0 where that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { self.0.random_range(0..bound) }
    }

    /// Whether something happens that happens once in so many times.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of them.
    ///
    /// # Panics
    /// Where there is none.
    pub fn one_of<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// Any number, often one at which arithmetic breaks.
    pub fn number(&mut self) -> u64 {
        let near = self.below(4) as u64;
        match self.below(6) {
            0 => near,
            1 => u64::MAX - near,
            2 => (1 << self.below(64)) - near.min(1),
            3 => 1 << self.below(64),
            4 => self.below(1_000) as u64,
            _ => self.0.random(),
        }
    }

    /// Damages bytes in one place to four: other bits, other numbers, parts left out, said twice or exchanged, an early end.
    pub fn bytes(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            let part = self.below(bytes.len() - at + 1).min(64);
            match self.below(9) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                1 if !bytes.is_empty() => bytes[at] = self.number() as u8,
                2 | 3 => {
                    let width = 1 << self.below(4);
                    let mut number = self.number().to_be_bytes()[8 - width..].to_vec();
                    if self.once_in(3) {
                        number.reverse();
                    }
                    let end = (at + width).min(bytes.len());
                    bytes.splice(at..end, number);
                }
                4 => drop(bytes.drain(at..at + part)),
                5 => {
                    let again = bytes[at..at + part].to_vec();
                    bytes.splice(at..at, again);
                }
                6 => {
                    let new: Vec<u8> = (0..self.below(16)).map(|_| self.0.random()).collect();
                    bytes.splice(at..at, new);
                }
                7 if self.once_in(3) => bytes.truncate(at),
                _ => {
                    let taken: Vec<u8> = bytes.drain(at..at + part).collect();
                    let to = self.below(bytes.len() + 1);
                    bytes.splice(to..to, taken);
                }
            }
        }
    }

    /// Damages a text in one place to four: its numbers and words are exchanged for others and for `words`, lines and parts
    /// are left out or said twice.
    pub fn text(&mut self, text: &mut String, words: &[&str]) {
        for _ in 0..=self.below(4) {
            let at = boundary(text, self.below(text.len() + 1));
            let end = boundary(text, (at + self.below(40)).min(text.len())).max(at);
            match self.below(7) {
                0 | 1 => {
                    let place = word(text, at);
                    let new = if self.once_in(2) { self.one_of(NUMBERS) } else { self.one_of(words) };
                    text.replace_range(place, new);
                }
                2 => {
                    let (place, other) = (word(text, at), word(text, end));
                    let new = text[other].to_owned();
                    text.replace_range(place, &new);
                }
                3 => text.replace_range(at..end, ""),
                4 => {
                    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
                    let stop = text[at..].find('\n').map_or(text.len(), |newline| at + newline + 1);
                    let line = text[start..stop].to_owned();
                    let to = boundary(text, self.below(text.len() + 1));
                    if self.once_in(2) {
                        text.insert_str(to, &line)
                    } else {
                        text.replace_range(start..stop, "")
                    }
                }
                5 => {
                    let new = char::from_u32(self.number() as u32 % 0x300).unwrap_or('\u{0}');
                    text.insert(at, new);
                }
                _ => {
                    let part = text[at..end].repeat(1 + self.below(3));
                    text.insert_str(at, &part);
                }
            }
            if text.len() > 1 << 16 {
                text.truncate(boundary(text, 1 << 16));
            }
        }
    }

    /// Damages a document in one place to four, so that it stays one: other numbers, texts and kinds, parts left out, said
    /// twice or put where others belong.
    pub fn document(&mut self, document: &mut Value) {
        for _ in 0..=self.below(4) {
            let count = self.below(size(document));
            let other = nth(document, &mut count.clone()).map_or(Value::Null, |part| part.clone());
            let place = self.below(size(document));
            let Some(part) = nth(document, &mut place.clone()) else { continue };
            match (self.below(8), part) {
                (0 | 1, part) => *part = self.leaf(),
                (2 | 3, Value::Number(number)) if number.is_u64() => *number = self.number().into(),
                (2 | 3, Value::Number(number)) if number.is_f64() => {
                    let new = *self.one_of(&[0.0, -0.0, -1.0, 0.5, 1e-300, 1e15, 1e300, -1e300, f64::MAX]);
                    *number = serde_json::Number::from_f64(new).unwrap_or_else(|| 0.into());
                }
                (2 | 3, Value::String(text)) => self.text(text, &["null", "<script>", "\u{0}", "]]>"]),
                (4, Value::Object(fields)) if !fields.is_empty() => {
                    let name = fields.keys().nth(self.below(fields.len())).cloned().unwrap_or_default();
                    fields.remove(&name);
                }
                (4, Value::Array(items)) if !items.is_empty() => drop(items.remove(self.below(items.len()))),
                (5, Value::Array(items)) if !items.is_empty() => {
                    let again = items[self.below(items.len())].clone();
                    let times = self.below(5);
                    items.extend(vec![again; times]);
                }
                (6, part) => *part = other,
                (7, Value::Object(fields)) => drop(fields.insert("more".to_owned(), other)),
                (_, part) => *part = self.leaf(),
            }
        }
    }

    /// Damages the figures and texts of a document in one place to four, so that it keeps its form: numbers of any size, whole or not
    /// as they were.
    pub fn figures(&mut self, document: &mut Value) {
        let mut places = Vec::new();
        leaves(document, &mut 0, &mut places);
        for _ in 0..=self.below(4) {
            let mut place = places.get(self.below(places.len())).copied().unwrap_or(0);
            match nth(document, &mut place) {
                Some(Value::Number(number)) if number.is_f64() => {
                    let new = *self.one_of(&[0.0, -0.0, -1.0, 0.5, 1e-300, 5e-324, 1e15, 1e300]);
                    *number = serde_json::Number::from_f64(new).unwrap_or_else(|| 0.into());
                }
                Some(Value::Number(number)) => *number = (self.number() >> (11 * self.below(6))).into(),
                Some(Value::String(text)) => {
                    self.text(text, &["null", "<script>", "\u{0}", "]]>", "kill", "pause"])
                }
                Some(Value::Bool(value)) => *value = !*value,
                _ => {}
            }
        }
    }

    fn leaf(&mut self) -> Value {
        match self.below(7) {
            0 => Value::Null,
            1 => Value::Bool(self.once_in(2)),
            2 => json!(*self.one_of(NUMBERS)),
            3 => json!(""),
            4 => json!([]),
            5 => json!(1e300),
            _ => json!(self.number()),
        }
    }
}

/// The next place at which a character ends.
fn boundary(text: &str, at: usize) -> usize {
    (at..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len())
}

/// The word or number around a place.
fn word(text: &str, at: usize) -> std::ops::Range<usize> {
    let of_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | ':');
    let start = at - text[..at].chars().rev().take_while(|c| of_word(*c)).map(char::len_utf8).sum::<usize>();
    let end = at + text[at..].chars().take_while(|c| of_word(*c)).map(char::len_utf8).sum::<usize>();
    start..end
}

/// Parts of a document, itself among them.
fn size(document: &Value) -> usize {
    1 + match document {
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(fields) => fields.values().map(size).sum(),
        _ => 0,
    }
}

/// Where the parts are that have no parts.
fn leaves(document: &Value, place: &mut usize, found: &mut Vec<usize>) {
    let here = *place;
    *place += 1;
    match document {
        Value::Array(items) => items.iter().for_each(|item| leaves(item, place, found)),
        Value::Object(fields) => fields.values().for_each(|field| leaves(field, place, found)),
        _ => found.push(here),
    }
}

fn nth<'a>(document: &'a mut Value, left: &mut usize) -> Option<&'a mut Value> {
    if *left == 0 {
        return Some(document);
    }
    *left -= 1;
    match document {
        Value::Array(items) => items.iter_mut().find_map(|item| nth(item, left)),
        Value::Object(fields) => fields.values_mut().find_map(|field| nth(field, left)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_does_the_same_damage_again_and_another_seed_another() {
        let damaged = |seed| {
            let (mut bytes, mut text) = (b"length 4, then more".to_vec(), "a = 1\nb = 22\n".to_owned());
            let mut document = json!({ "count": 7, "parts": [1, 2.5, "three"] });
            let mut damage = Damage::of(seed);
            damage.bytes(&mut bytes);
            damage.text(&mut text, &["c"]);
            damage.document(&mut document);
            damage.figures(&mut document);
            (bytes, text, document)
        };
        let all: Vec<_> = (0..1_000).map(damaged).collect();
        assert!((0..1_000).map(damaged).eq(all.iter().cloned()));
        let mut texts: Vec<_> =
            all.iter().map(|(bytes, text, document)| (bytes, text, document.to_string())).collect();
        texts.sort();
        texts.dedup();
        assert!(texts.len() > 990, "{}", texts.len());
    }

    #[test]
    fn the_input_that_panics_is_told_from_others() {
        let mut tried = 0;
        let caught = catch_unwind(AssertUnwindSafe(|| {
            inputs("told", 50, |_| {
                tried += 1;
                assert!(tried < 20);
            });
        }));
        assert!(caught.is_err() || std::env::var_os(INPUTS).is_some());
        assert!(tried == 20 || std::env::var_os(INPUTS).is_some());
    }
}
