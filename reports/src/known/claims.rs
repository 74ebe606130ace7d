//! What the documentation of products says of their locks, in our words, each with its page.

/// A claim, of some contenders.
pub(super) struct Claim {
    /// Whose names begin with one of these.
    pub(super) of: &'static [&'static str],
    /// What is said.
    pub(super) says: &'static str,
    /// Where.
    pub(super) page: &'static str,
}

/// Those that bear on a row of the matrix.
pub(super) const CLAIMS: &[Claim] = &[
    Claim {
        of: &["redis-"],
        says: "At any moment one client holds the lock, as long as its clock and the server's run alike and it is done within the lease; \
               with replication that is asynchronous a failover may let a second one in, and a release has to compare the owner.",
        page: "https://redis.io/docs/latest/develop/clients/patterns/distributed-locks/",
    },
    Claim {
        of: &["redis-redlock"],
        says: "Of five independent servers, a majority makes the lock safe without synchronised clocks, if their rates are close and a \
               server that crashed stays away for a lease, or keeps its keys.",
        page: "https://redis.io/docs/latest/develop/clients/patterns/distributed-locks/",
    },
    Claim {
        of: &["etcd-v3lock"],
        says: "Lock takes a lock on behalf of a lease, and answers with the key that is held while the lease lives.",
        page: "https://etcd.io/docs/v3.4/dev-guide/api_concurrency_reference_v3/",
    },
    Claim {
        of: &["etcd-"],
        says: "A lease alone excludes nobody whose clock or process stands still: what is written under the lock has to be guarded by \
               the revision of its key.",
        page: "https://etcd.io/docs/v3.5/learning/why/",
    },
    Claim {
        of: &["zk-"],
        says: "The recipe's locks are globally synchronous: at no moment do two clients think that they hold the same one.",
        page: "https://zookeeper.apache.org/doc/current/recipes.html",
    },
    Claim {
        of: &["pg-session", "pg-mux", "pg-xact"],
        says: "An advisory lock is held until it is given back or its session, or transaction, ends; what it protects is up to the \
               application.",
        page: "https://www.postgresql.org/docs/15/explicit-locking.html#ADVISORY-LOCKS",
    },
    Claim {
        of: &["pg-row"],
        says: "A row that was selected for update is locked against others who would until the transaction ends.",
        page: "https://www.postgresql.org/docs/15/explicit-locking.html#LOCKING-ROWS",
    },
    Claim {
        of: &["mysql-get-lock"],
        says: "A named lock is held until it is given back or its connection ends, in whatever way.",
        page: "https://mariadb.com/kb/en/get_lock/",
    },
    Claim {
        of: &["nats-"],
        says: "A key can be created if it is not there, and updated if it has the revision that is expected; of locks nothing is said.",
        page: "https://docs.nats.io/nats-concepts/jetstream/key-value-store",
    },
];
