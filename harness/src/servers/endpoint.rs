//! Where a server is, as its clients are told.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::url::redact;

/// The URL of a server, or several separated by commas. May hold a password, which `Debug` hides.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Endpoint(String);

impl Endpoint {
    /// As a client is told it, password and all.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Endpoint {
    fn from(url: String) -> Self {
        Self(url)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Endpoint").field(&redact(&self.0)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_shown_and_the_password_is_not() {
        let endpoint = Endpoint::from("redis://:s3cret@db:6379".to_owned());
        assert_eq!(format!("{endpoint:?}"), r#"Endpoint("redis://:***@db:6379")"#);
    }
}
