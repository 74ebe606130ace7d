//! Which product: a handle by name.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use super::error::ServerError;
use super::options::{Durability, Topology};
use super::parameters::Parameters;
use super::product::Product;
use super::products::ALL as PRODUCTS;
use super::tls::TlsFiles;

/// A server product that lockbench can start and ask: a line of the registry, known by its name.
#[derive(Clone, Copy)]
pub struct ServerKind(&'static dyn Product);

impl ServerKind {
    /// Every product, in the order in which they are listed.
    pub const ALL: &[Self] = &{
        let mut all = [Self(PRODUCTS[0]); PRODUCTS.len()];
        let mut place = 1;
        while place < all.len() {
            all[place] = Self(PRODUCTS[place]);
            place += 1;
        }
        all
    };

    /// The product that code names because it is about this one. What a person typed is parsed instead.
    ///
    /// # Panics
    /// When there is none of that name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        name.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    /// The word of command lines and records, such as `redis`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0.about().name
    }

    /// The product's name as it is written in prose.
    #[must_use]
    pub fn title(self) -> &'static str {
        self.0.about().title
    }

    /// The form of the URL of one that already runs.
    #[must_use]
    pub fn url(self) -> &'static str {
        self.0.about().url
    }

    /// What of TLS a client does that is told this URL, for records; nothing where there is none.
    pub(super) fn tls(self, url: &str) -> Option<&'static str> {
        let about = self.0.about();
        if about.checked.is_none() {
            let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
            return about.secured.contains(&scheme).then_some("certificate and host checked");
        }
        let parameters = Parameters::of(url);
        let mode = ["sslmode", "ssl-mode"].into_iter().find_map(|name| parameters.get(name));
        match mode.map(|mode| mode.to_ascii_lowercase()).as_deref() {
            Some("verify-full" | "verify_identity") => Some("certificate and host checked"),
            Some("verify-ca" | "verify_ca") => Some("certificate checked, not its host"),
            Some("require" | "required") => Some("on, nothing checked"),
            Some("disable" | "disabled") => None,
            _ => Some("where the server has it, nothing checked"),
        }
    }

    /// The URL over TLS with these files, checked in full where it does not say how much is to be checked.
    #[must_use]
    pub fn certified(self, url: &str, files: &TlsFiles) -> String {
        let checked = self.0.about().checked.and_then(|checked| checked.split_once('='));
        let mut parameters = Parameters::of(url);
        if let Some((name, value)) = checked.filter(|_| files.ca.is_some())
            && ["sslmode", "ssl-mode"].iter().all(|name| parameters.get(name).is_none())
        {
            parameters.set(name, value);
        }
        files.on(&parameters.url())
    }

    /// Whether it can be started as several members that agree by majority.
    #[must_use]
    pub fn can_be_replicated(self) -> bool {
        self.can_be(Topology::Replicated)
    }

    /// Whether it can be started so.
    #[must_use]
    pub fn can_be(self, topology: Topology) -> bool {
        self.0.about().topologies.contains(&topology)
    }

    /// For how many seconds of load it is slower than it will be, from a fresh start: a virtual machine compiles what it runs often.
    #[must_use]
    pub fn warms_s(self) -> f64 {
        self.0.about().warms_s
    }

    /// The titles of those that can, for people.
    #[must_use]
    pub fn replicated() -> String {
        let able = Self::ALL.iter().filter(|kind| kind.can_be_replicated());
        let able: Vec<_> = able.map(|kind| kind.title()).collect();
        match &able[..] {
            [others @ .., last] if !others.is_empty() => format!("{} and {last}", others.join(", ")),
            all => all.concat(),
        }
    }

    /// The settings that decide what an acknowledged write survives, as a private server of this durability says them.
    #[must_use]
    pub fn effective(self, durability: Durability) -> &'static [(&'static str, &'static str)] {
        self.0.effective(durability)
    }

    pub(super) fn product(self) -> &'static dyn Product {
        self.0
    }
}

impl fmt::Debug for ServerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for ServerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.title())
    }
}

impl FromStr for ServerKind {
    type Err = ServerError;

    fn from_str(name: &str) -> Result<Self, ServerError> {
        let known = || Self::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
        let unknown = || ServerError::UnknownName { name: name.to_owned(), known: known() };
        Self::ALL.iter().copied().find(|kind| kind.name() == name).ok_or_else(unknown)
    }
}

// Names are unique, which a test of the registry sees to.

impl PartialEq for ServerKind {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for ServerKind {}

impl PartialOrd for ServerKind {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ServerKind {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name().cmp(other.name())
    }
}

impl Hash for ServerKind {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}
