//! Servers on the command line.

use std::collections::BTreeMap;

use clap::Args;
use harness::servers::ServerKind;

/// Servers that already run, instead of private ones.
#[derive(Debug, Args)]
pub(super) struct ServerUrls {
    /// A Redis that already runs: `redis://[:PASSWORD@]HOST:PORT`.
    #[arg(long, value_name = "URL", env = "LOCKBENCH_REDIS", hide_env_values = true)]
    redis: Option<String>,
    /// An etcd that already runs: http://HOST:PORT,…
    #[arg(long, value_name = "URL,…", env = "LOCKBENCH_ETCD", hide_env_values = true)]
    etcd: Option<String>,
    /// A ZooKeeper that already runs: HOST:PORT,…
    #[arg(long, value_name = "HOST:PORT,…", env = "LOCKBENCH_ZOOKEEPER", hide_env_values = true)]
    zookeeper: Option<String>,
    /// A PostgreSQL that already runs: `postgres://USER[:PASSWORD]@HOST:PORT/DATABASE`.
    #[arg(long, value_name = "URL", env = "LOCKBENCH_POSTGRES", hide_env_values = true)]
    postgres: Option<String>,
}

impl ServerUrls {
    /// Those that are given.
    pub(super) fn by_kind(&self) -> BTreeMap<ServerKind, String> {
        let given = [
            (ServerKind::Redis, &self.redis),
            (ServerKind::Etcd, &self.etcd),
            (ServerKind::Zookeeper, &self.zookeeper),
            (ServerKind::Postgres, &self.postgres),
        ];
        given.into_iter().filter_map(|(kind, url)| Some((kind, url.clone()?))).collect()
    }
}
