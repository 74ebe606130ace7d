//! The registry: a folder for each server with one line in [`SERVERS`], in it a file for each variant with one line in
//! the server's own list. The other files of a folder are what its variants share.

use crate::session::{Server, Variant};

#[cfg(any(feature = "etcd", feature = "postgres", feature = "redis", feature = "zookeeper"))]
#[cfg_attr(
    not(all(feature = "etcd", feature = "postgres", feature = "redis", feature = "zookeeper")),
    allow(dead_code, unused_imports, reason = "each server uses its part")
)]
mod common;

mod local_mutex;

#[cfg(feature = "etcd")]
mod etcd;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "zookeeper")]
mod zookeeper;

/// Every server in this build, each with its variants.
pub const SERVERS: &[&Server] = &[
    #[cfg(feature = "redis")]
    &redis::SERVER,
    #[cfg(feature = "postgres")]
    &postgres::SERVER,
    #[cfg(feature = "etcd")]
    &etcd::SERVER,
    #[cfg(feature = "zookeeper")]
    &zookeeper::SERVER,
];

/// The variants that need no server.
pub const LOCAL: &[&Variant] = &[&local_mutex::VARIANT];

/// Every variant in this build. Command line, conformance suite and reports walk them.
pub fn all() -> impl Iterator<Item = &'static Variant> {
    LOCAL.iter().chain(SERVERS.iter().flat_map(|server| server.variants)).copied()
}

/// The variant of that name, if it is in this build.
#[must_use]
pub fn variant(name: &str) -> Option<&'static Variant> {
    all().find(|variant| variant.name == name)
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

    use super::{LOCAL, SERVERS, all};

    #[test]
    fn names_are_unique() {
        let names: BTreeSet<_> = all().map(|variant| variant.name).collect();
        assert_eq!(names.len(), all().count());
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
                .filter(|path| std::fs::read_to_string(path).unwrap().contains("const VARIANT: Variant"))
                .map(|path| path.file_stem().unwrap().to_str().unwrap().replace('_', "-"))
                .collect();
            let names: BTreeSet<String> = variants.iter().map(|variant| variant.name.to_owned()).collect();
            assert_eq!(files, names);
        }
    }
}
