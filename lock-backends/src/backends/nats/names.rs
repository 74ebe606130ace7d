//! Keys and buckets as the server takes them.

use std::fmt::Write as _;
use std::time::Duration;

/// The bucket for leases of that ttl. Series 2.9 has one ttl for a whole bucket.
#[derive(Debug)]
pub(super) struct Bucket(String);

impl Bucket {
    pub(super) fn of(ttl: Duration) -> Self {
        Self(format!("lockbench_{}ms", ttl.as_millis()))
    }

    /// The stream that keeps it, called as the key-value stores of all client libraries are.
    pub(super) fn stream(&self) -> String {
        format!("KV_{}", self.0)
    }

    /// Where an entry is written.
    pub(super) fn subject(&self, key: &str) -> String {
        format!("$KV.{}.{}", self.0, token(key))
    }

    /// All of them.
    pub(super) fn subjects(&self) -> String {
        format!("$KV.{}.>", self.0)
    }

    /// Where the server says that an entry was written.
    pub(super) fn news(&self, key: &str) -> String {
        format!("lockbench.written.{}.{}", self.0, token(key))
    }

    /// All of them.
    pub(super) fn all_news(&self) -> String {
        format!("lockbench.written.{}.>", self.0)
    }
}

/// One word of a subject for each key: letters, digits, `-` and `_` as they are, other bytes as `=` and two digits.
fn token(key: &str) -> String {
    let mut token = String::with_capacity(key.len() + 1);
    for byte in key.bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'_' => token.push(char::from(byte)),
            _ => write!(token, "={byte:02x}").expect("a string takes everything"),
        }
    }
    // No word of a subject is empty, and nothing else ends so.
    if token.is_empty() { "=".to_owned() } else { token }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_key_is_one_word_and_no_other_key_s() {
        let keys = ["", "vm-7", "a.b", "a b", "a=2eb", "a>", "*", "=", "ü", "a#1", "a##1"];
        let tokens: BTreeSet<String> = keys.iter().map(|key| token(key)).collect();
        assert_eq!(tokens.len(), keys.len(), "{tokens:?}");
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_=".contains(c);
        assert!(tokens.iter().all(|token| !token.is_empty() && token.chars().all(plain)), "{tokens:?}");
        let bucket = Bucket::of(Duration::from_secs(2));
        assert_eq!(bucket.subject("a.b"), "$KV.lockbench_2000ms.a=2eb");
    }
}
