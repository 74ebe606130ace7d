//! The registry: one file per variant, one line each in [`ALL`]. A folder without a file of its name holds what the
//! variants on one server share.

use crate::session::Variant;

#[cfg(feature = "etcd")]
mod etcd;
#[cfg(feature = "etcd")]
mod etcd_cas;
#[cfg(feature = "etcd")]
mod etcd_queue;
#[cfg(feature = "etcd")]
mod etcd_v3lock;
mod local_mutex;
#[cfg(feature = "postgres")]
mod pg_lease;
#[cfg(feature = "postgres")]
mod pg_mux;
#[cfg(feature = "postgres")]
mod pg_session;
#[cfg(feature = "postgres")]
mod pg_xact;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
mod redis_fenced;
#[cfg(feature = "redis")]
mod redis_poll;
#[cfg(feature = "redis")]
mod redis_pubsub;
#[cfg(feature = "redis")]
mod redis_queue;
#[cfg(feature = "zookeeper")]
mod zk_crate;
#[cfg(feature = "zookeeper")]
mod zk_seq;
#[cfg(feature = "zookeeper")]
mod zookeeper;

/// Every variant in this build. Command line, conformance suite and reports walk this list.
pub const ALL: &[&Variant] = &[
    &local_mutex::VARIANT,
    #[cfg(feature = "redis")]
    &redis_poll::VARIANT,
    #[cfg(feature = "redis")]
    &redis_pubsub::VARIANT,
    #[cfg(feature = "redis")]
    &redis_fenced::VARIANT,
    #[cfg(feature = "redis")]
    &redis_queue::VARIANT,
    #[cfg(feature = "postgres")]
    &pg_session::VARIANT,
    #[cfg(feature = "postgres")]
    &pg_mux::VARIANT,
    #[cfg(feature = "postgres")]
    &pg_xact::VARIANT,
    #[cfg(feature = "postgres")]
    &pg_lease::VARIANT,
    #[cfg(feature = "etcd")]
    &etcd_cas::VARIANT,
    #[cfg(feature = "etcd")]
    &etcd_queue::VARIANT,
    #[cfg(feature = "etcd")]
    &etcd_v3lock::VARIANT,
    #[cfg(feature = "zookeeper")]
    &zk_seq::VARIANT,
    #[cfg(feature = "zookeeper")]
    &zk_crate::VARIANT,
];

/// The variant of that name, if it is in this build.
#[must_use]
pub fn variant(name: &str) -> Option<&'static Variant> {
    ALL.iter().copied().find(|variant| variant.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::ALL;

    #[test]
    fn names_are_unique() {
        let names: BTreeSet<_> = ALL.iter().map(|variant| variant.name).collect();
        assert_eq!(names.len(), ALL.len());
    }

    /// Only in a build with every feature; `redis_fenced.rs` holds `redis-fenced`.
    #[test]
    #[cfg(all(feature = "redis", feature = "postgres", feature = "etcd", feature = "zookeeper"))]
    fn every_file_is_registered() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/backends");
        let files: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
            .map(|path| path.file_stem().unwrap().to_str().unwrap().replace('_', "-"))
            .filter(|name| name != "mod")
            .collect();
        let names: BTreeSet<String> = ALL.iter().map(|variant| variant.name.to_owned()).collect();
        assert_eq!(files, names);
    }
}
