//! What only some may know: the password of a server, the pass of a run's nodes. Random, and shown by no `Debug`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The environment variable that has a run's secret for its nodes: an argument would show in the process list.
pub const SECRET: &str = "LOCKBENCH_SECRET";

/// 32 random bytes, as text, that those share who may talk to each other. Most are sent in the clear, so it is no
/// protection from who can read the network.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// One that nobody had before.
    #[must_use]
    pub fn fresh() -> Self {
        Self(rand::random::<[u8; 32]>().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// As it is told to who may know it: of a fresh one, 64 hexadecimal digits.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The bytes of a fresh one; none of any other text.
    #[must_use]
    pub fn bytes(&self) -> Option<[u8; 32]> {
        let mut bytes = [0; 32];
        if self.0.len() != 2 * bytes.len() || !self.0.is_ascii() {
            return None;
        }
        for (place, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&self.0[2 * place..2 * place + 2], 16).ok()?;
        }
        Some(bytes)
    }

    /// Takes the same time wherever the first difference is.
    pub(crate) fn matches(&self, other: &str) -> bool {
        let differences = self.0.bytes().zip(other.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b));
        self.0.len() == other.len() && differences == 0
    }
}

impl From<String> for Secret {
    fn from(secret: String) -> Self {
        Self(secret)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Data that is handed on unread, and in which there may be passwords.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(pub serde_json::Value);

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_another_and_none_is_shown() {
        let (one, two) = (Secret::fresh(), Secret::fresh());
        assert!(one != two && one.bytes() != two.bytes() && one.bytes().is_some());
        assert!(one.matches(one.text()) && !one.matches(two.text()) && !one.matches(""));
        let sealed = Sealed(serde_json::json!({ "url": one.text() }));
        assert!(!format!("{one:?} {sealed:?}").contains(one.text()));
    }

    #[test]
    fn only_a_fresh_one_has_bytes() {
        let text = "00ff".repeat(16);
        assert_eq!(Secret::from(text).bytes(), Some([[0, 0xff]; 16].concat().try_into().unwrap()));
        for text in [String::new(), "s3cret".to_owned(), "é".repeat(32), "zz".repeat(32)] {
            assert_eq!(Secret::from(text.clone()).bytes(), None, "{text}");
        }
    }
}
