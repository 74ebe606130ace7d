//! The registry: every server in this build, and every variant on it.

use super::names::NoVariant;
use crate::session::{Server, Variant};

/// Every server in this build, each with its variants.
pub const SERVERS: &[&Server] = &[
    #[cfg(feature = "redis")]
    &super::redis::SERVER,
    #[cfg(feature = "postgres")]
    &super::postgres::SERVER,
    #[cfg(feature = "etcd")]
    &super::etcd::SERVER,
    #[cfg(feature = "zookeeper")]
    &super::zookeeper::SERVER,
    #[cfg(feature = "mariadb")]
    &super::mariadb::SERVER,
    #[cfg(feature = "nats")]
    &super::nats::SERVER,
];

/// The variants that need no server.
pub const LOCAL: &[&Variant] = &[&super::local_mutex::VARIANT];

/// Every variant in this build. Command line, conformance suite and reports walk them.
pub fn all() -> impl Iterator<Item = &'static Variant> {
    LOCAL.iter().chain(SERVERS.iter().flat_map(|server| server.variants)).copied()
}

/// The variant of that name.
///
/// # Errors
/// [`NoVariant`], which tells a name that is wrong from a feature that is off.
pub fn variant(name: &str) -> Result<&'static Variant, NoVariant> {
    let found = all().find(|variant| variant.name == name);
    found.ok_or_else(|| NoVariant::of(name, all().map(|variant| variant.name)))
}

/// The server of that name, if it is in this build.
#[must_use]
pub fn server(name: &str) -> Option<&'static Server> {
    SERVERS.iter().copied().find(|server| server.name == name)
}

/// The server that a variant needs; `None`: it needs none.
#[must_use]
pub fn server_of(variant: &Variant) -> Option<&'static Server> {
    let has = |server: &&&Server| server.variants.iter().any(|other| other.name == variant.name);
    SERVERS.iter().find(has).copied()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::names::BY_FEATURE;
    use super::{LOCAL, SERVERS, all};

    #[test]
    fn names_are_unique() {
        let names: BTreeSet<_> = all().map(|variant| variant.name).collect();
        assert_eq!(names.len(), all().count());
    }

    #[test]
    fn the_names_by_feature_are_those_of_the_registry() {
        for server in SERVERS {
            let names: Vec<_> = server.variants.iter().map(|variant| variant.name).collect();
            assert!(BY_FEATURE.contains(&(server.name, &names)), "{}: {names:?}", server.name);
        }
        let off = BY_FEATURE.iter().filter(|(feature, _)| super::server(feature).is_none());
        assert_eq!(off.count() + SERVERS.len(), BY_FEATURE.len());
    }

    /// `redis/redis_fenced.rs` holds `redis-fenced`: a file with a `VARIANT` has the name of a registered variant.
    #[test]
    fn every_file_is_registered() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/backends");
        for (place, variants) in
            SERVERS.iter().map(|server| (server.name, server.variants)).chain([("", LOCAL)])
        {
            let files: BTreeSet<String> = std::fs::read_dir(format!("{folder}/{place}"))
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
                .filter(|path| {
                    let text = std::fs::read_to_string(path).unwrap();
                    text.lines().any(|line| line.starts_with("pub(super) const VARIANT: Variant"))
                })
                .map(|path| path.file_stem().unwrap().to_str().unwrap().replace('_', "-"))
                .collect();
            let names: BTreeSet<String> = variants.iter().map(|variant| variant.name.to_owned()).collect();
            assert_eq!(files, names);
        }
    }
}
