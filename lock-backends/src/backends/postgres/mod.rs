//! What the variants on PostgreSQL share: connections and their settings, the token sequence, keys, announcements.

mod bare;
mod connections;
mod per_holder;
pub(super) mod wakeups;

mod pg_session;
mod pg_mux;
mod pg_xact;
mod pg_lease;

use std::str::FromStr;
use std::time::Duration;

use sqlx::PgConnection;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions};
use tokio::time::timeout;

pub(super) use self::per_holder::{PerHolder, Statements};
use crate::backends::common::CONNECT_TIMEOUT;
use crate::session::{Endpoint, LockError, Server, SessionOptions, Survives, unavailable};

const URL: &str = "postgres://user[:password]@host[:port]/database";

/// The product, and one line for each variant on it.
pub(super) const SERVER: Server = Server {
    name: "postgres",
    url: URL,
    variants: &[&pg_session::VARIANT, &pg_mux::VARIANT, &pg_xact::VARIANT, &pg_lease::VARIANT],
    settings: &[
        ("fsync, synchronous_commit", "whether rows of leases outlive a loss of power"),
        ("idle_session_timeout", "whether an idle holder loses its session"),
        ("max_connections", "how many holders a variant with a session each can have"),
    ],
    bare: |endpoint| Box::pin(async { Ok(Box::new(bare::Postgres::connect(endpoint).await?) as _) }),
};

/// What a grant of a variant on advisory locks survives.
pub(super) const ADVISORY_SURVIVES: Survives = Survives {
    node_crash: "no lease: a killed process frees its keys at once; a paused one keeps them; a vanished host until \
                 TCP keep-alive gives up",
    server_kill: "nothing, whatever fsync says: advisory locks live in the server's memory; tokens go on rising",
    power_loss: "nothing, whatever fsync says; tokens go on rising while fsync is on",
};

/// A session gives one statement the ttl asked for, at least this, before its connection counts as lost.
pub(super) const PATIENCE_MIN: Duration = Duration::from_secs(1);
/// Bound on taking down a connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Makes the sequence once although several nodes connect at a time. The two-part advisory key is in another space than
/// the one-part keys of the locks.
const SET_UP: &str = "BEGIN; SELECT pg_advisory_xact_lock(1819239275, 1650815848); \
                      CREATE SEQUENCE IF NOT EXISTS lockbench_fence AS bigint NO CYCLE CACHE 1; COMMIT";

pub(super) fn options(endpoint: &Endpoint) -> Result<PgConnectOptions, LockError> {
    // The library takes any scheme, and its error could repeat the password.
    let ours = ["postgres://", "postgresql://"].iter().any(|scheme| endpoint.0.starts_with(scheme));
    let options = PgConnectOptions::from_str(&endpoint.0).ok().filter(|_| ours);
    options.ok_or(LockError::BadUrl(URL))
}

/// Makes what the variants need in the database, if it is not there.
pub(super) async fn set_up(connection: &mut PgConnection) -> Result<(), LockError> {
    timeout(CONNECT_TIMEOUT, sqlx::raw_sql(SET_UP).execute(connection))
        .await
        .map_err(|_| LockError::Unavailable("set-up not answered".to_owned()))?
        .map(drop)
        .map_err(unavailable)
}

/// What a connection of a session sets: a name without secrets, no limit on idling, and a keep-alive by which the
/// server notices a vanished host in about one ttl.
pub(super) fn session_settings(
    base: &PgConnectOptions,
    session: &SessionOptions,
    role: &str,
) -> PgConnectOptions {
    let ttl = session.ttl.max(Duration::from_secs(1));
    let probe_s = (ttl.as_secs() / 3).max(1);
    base.clone().application_name(&format!("lockbench {role} {}", session.node)).options([
        ("idle_session_timeout", "0".to_owned()),
        ("client_min_messages", "error".to_owned()),
        // The planner would plan the batch anew each time, for the sake of its array lengths.
        ("plan_cache_mode", "force_generic_plan".to_owned()),
        ("tcp_keepalives_idle", probe_s.to_string()),
        ("tcp_keepalives_interval", probe_s.to_string()),
        ("tcp_keepalives_count", "2".to_owned()),
        ("tcp_user_timeout", ttl.as_millis().to_string()),
    ])
}

/// Opens one connection in the shape of a listener, because that is what notices its own end while idle. The pool has
/// this one member and never hands it out again.
pub(super) async fn listener(options: &PgConnectOptions) -> Result<(PgPool, PgListener), sqlx::Error> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None)
        .acquire_timeout(CONNECT_TIMEOUT)
        .connect_with(options.clone())
        .await?;
    let mut connection = PgListener::connect_with(&pool).await?;
    connection.ignore_pool_close_event(true);
    // A reconnect would be a new session without the locks.
    connection.eager_reconnect(false);
    Ok((pool, connection))
}

/// Says goodbye to the server, if it listens; the connection itself was dropped before.
pub(super) async fn close(pool: PgPool) {
    if timeout(CLOSE_TIMEOUT, pool.close()).await.is_err() {
        tracing::debug!("a connection was dropped without a goodbye");
    }
}

/// FNV-1a in 64 bits over a prefix of ours and the name: stable over builds, machines and languages.
pub(super) fn hash(name: &str) -> i64 {
    let bytes = b"lockbench:".iter().chain(name.as_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    }) as i64
}

#[cfg(test)]
mod tests {
    use super::hash;

    /// The conformance suite locks these two.
    #[test]
    fn two_names_with_one_hash_are_known() {
        assert_eq!(hash("FQdmNbzbq4c"), hash("rheRAdVb1C8"));
        assert_ne!(hash("vm-1"), hash("vm-2"));
    }
}
