//! The server products: a file each, and one line in [`ALL`]. What a product has to say is in
//! [`Product`].

mod etcd;
mod mariadb;
mod nats;
mod postgres;
mod redis;
mod zookeeper;

use super::product::Product;

/// Every product, in the order in which they are listed.
pub(super) const ALL: &[&dyn Product] =
    &[&redis::Redis, &postgres::Postgres, &etcd::Etcd, &zookeeper::Zookeeper, &mariadb::Mariadb, &nats::Nats];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique() {
        let names: BTreeSet<_> = ALL.iter().map(|product| product.about().name).collect();
        assert_eq!(names.len(), ALL.len());
    }

    #[test]
    fn every_file_is_registered_under_its_name() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/servers/products");
        let files: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .filter(|file| file != "mod")
            .collect();
        let names: BTreeSet<String> = ALL.iter().map(|product| product.about().name.to_owned()).collect();
        assert_eq!(files, names);
    }
}
