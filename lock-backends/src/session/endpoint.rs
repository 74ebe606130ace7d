//! Where a server is.

use std::fmt;

/// The URL of a server, in the form that [`Server::url`](crate::Server::url) gives; `memory:` for variants without one.
/// May hold a password: `Debug` hides it.
#[derive(Clone)]
pub struct Endpoint(pub String);

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Endpoint(…)")
    }
}

impl From<&str> for Endpoint {
    fn from(url: &str) -> Self {
        Self(url.to_owned())
    }
}
