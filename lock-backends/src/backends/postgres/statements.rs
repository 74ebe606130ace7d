//! The statements, in SQL.

use std::fmt::Write as _;
use std::time::Duration;

use super::requests::{Advisory, Scope};
use crate::backends::sql::Backend;
use crate::session::Mode;

/// Makes sequence and table once although several nodes connect at a time. The two-part advisory key is in another space
/// than the one-part keys of the locks.
pub(super) const SET_UP: &str = "BEGIN; SELECT pg_advisory_xact_lock(1819239275, 1650815848); \
    CREATE SEQUENCE IF NOT EXISTS lockbench_fence AS bigint NO CYCLE CACHE 1; \
    CREATE TABLE IF NOT EXISTS lockbench_lease (name text PRIMARY KEY, owner text NOT NULL, \
        description text NOT NULL, token bigint NOT NULL, expires timestamptz NOT NULL, \
        awaited boolean NOT NULL DEFAULT false) WITH (fillfactor = 50); \
    CREATE TABLE IF NOT EXISTS lockbench_row (key bigint PRIMARY KEY) WITH (fillfactor = 50); COMMIT";

/// One row per operation, in order; the numbers stand for a [`MuxAction`](super::requests::MuxAction). A release
/// answers 1 if it was held; a try the token, 0 or -1 if refused, -2 if the key is just being released. `CASE` is what fixes the
/// order within a row: the token is drawn after the lock is held, and a release looks for waiters after it let go.
///
/// A waiter shows itself by a shared lock on the key's second form, two halves instead of one whole, which are a space
/// of their own. A release that cannot have that exclusively knows of a waiter and announces the key. Announcing
/// writes a commit record; waiting until that is on disk (`$3`) is worth it only in a batch that draws tokens.
pub(super) const BATCH: &str = "\
    SELECT CASE action \
        WHEN 0 THEN CASE \
            WHEN NOT pg_advisory_unlock(key) THEN 0 \
            WHEN pg_try_advisory_xact_lock(high, low) THEN 1 \
            WHEN pg_notify('lockbench', key::text) IS NULL THEN NULL \
            WHEN $3 AND set_config('synchronous_commit', 'off', true) IS NULL THEN NULL \
            ELSE 1 END \
        WHEN 1 THEN CASE WHEN pg_try_advisory_lock(key) THEN nextval('lockbench_fence') ELSE 0 END \
        WHEN 2 THEN CASE \
            WHEN pg_try_advisory_lock(key) THEN nextval('lockbench_fence') \
            WHEN NOT pg_try_advisory_lock_shared(high, low) THEN -2 \
            WHEN NOT pg_try_advisory_lock(key) THEN -1 \
            WHEN pg_advisory_unlock_shared(high, low) THEN nextval('lockbench_fence') END \
        WHEN 3 THEN CASE \
            WHEN NOT pg_try_advisory_lock(key) THEN -1 \
            WHEN pg_advisory_unlock_shared(high, low) THEN nextval('lockbench_fence') END \
        WHEN 4 THEN pg_advisory_unlock_shared(high, low)::int::bigint END \
    FROM unnest($1::smallint[], $2::bigint[]) AS op(action, key), \
         LATERAL (SELECT (key >> 32)::int, ((key << 32) >> 32)::int) AS halves(high, low)";

/// What [`BATCH`] does for one try by a caller who goes away, and the first step of one who would wait.
pub(super) const ONE_TRY: &str =
    "SELECT CASE WHEN pg_try_advisory_lock($1) THEN nextval('lockbench_fence') ELSE 0 END";

/// What [`BATCH`] does for one release.
pub(super) const ONE_UNLOCK: &str = "\
    SELECT CASE \
        WHEN NOT pg_advisory_unlock($1) THEN 0::bigint \
        WHEN pg_try_advisory_xact_lock(($1 >> 32)::int, (($1 << 32) >> 32)::int) THEN 1 \
        WHEN pg_notify('lockbench', $1::text) IS NULL THEN NULL \
        WHEN set_config('synchronous_commit', 'off', true) IS NULL THEN NULL \
        ELSE 1 END";

/// Name, owner, description, ttl in ms. The token, if it was granted.
pub(super) const TAKE: &str = "\
    INSERT INTO lockbench_lease AS lease (name, owner, description, token, expires) \
    VALUES ($1, $2, $3, nextval('lockbench_fence'), clock_timestamp() + $4 * interval '1 ms') \
    ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, description = excluded.description, \
        token = CASE WHEN lease.owner = excluded.owner AND lease.expires > clock_timestamp() \
                THEN lease.token ELSE nextval('lockbench_fence') END, \
        awaited = lease.awaited AND lease.owner = excluded.owner AND lease.expires > clock_timestamp(), \
        expires = clock_timestamp() + $4 * interval '1 ms' \
    WHERE lease.expires <= clock_timestamp() OR lease.owner = excluded.owner \
    RETURNING token";

/// Name. The ms until the lease ends, at least 1.
pub(super) const AWAIT: &str = "UPDATE lockbench_lease SET awaited = true WHERE name = $1 AND expires > clock_timestamp() \
    RETURNING greatest(1, ceil(extract(epoch FROM expires - clock_timestamp()) * 1000))::bigint";

/// Name, owner, announcement. A row if the owner still had it. The mark stays until the next owner takes the row: those
/// who wait then mark it anew.
pub(super) const RELEASE: &str = "\
    UPDATE lockbench_lease SET owner = '', expires = '-infinity' \
    WHERE name = $1 AND owner = $2 AND expires > clock_timestamp() \
    RETURNING CASE WHEN awaited AND pg_notify('lockbench', $3) IS NULL THEN 0 ELSE 1 END";

/// Names, owners, ttl in ms. The places of those that still had it.
pub(super) const RENEW: &str = "\
    UPDATE lockbench_lease AS lease SET expires = clock_timestamp() + $3 * interval '1 ms' \
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS held(name, owner, place) \
    WHERE lease.name = held.name AND lease.owner = held.owner AND lease.expires > clock_timestamp() \
    RETURNING place";

/// Name.
pub(super) const LEASE_HOLDER: &str =
    "SELECT description FROM lockbench_lease WHERE name = $1 AND expires > clock_timestamp()";

/// After this a connection has nothing: no transaction, and no lock of the session either. Where a grant and the end of the
/// wait met, the server says that the time is over and keeps the lock, which no rollback gives back.
pub(super) const NOTHING_HELD: &str = "ROLLBACK; SELECT pg_advisory_unlock_all(); SELECT 1";

/// Waits for the lock; the last row is the token, or 0 where there are none.
///
/// In a transaction's scope the session's lock bridges the moment between the transaction that draws the token and the
/// one that holds the lock.
pub(super) fn lock(lock: Advisory, within: Duration, description: &str) -> String {
    let mut sql = format!("SET lock_timeout = {};", within.as_millis().clamp(1, i32::MAX as u128));
    if !description.is_empty() {
        write!(sql, "SET application_name = '{}';", description.replace('\'', "''"))
            .expect("a string takes everything");
    }
    let (key, s) = (lock.key, suffix(lock.mode));
    sql.push_str(&match lock.scope {
        Scope::Session => format!("SELECT pg_advisory_lock{s}({key}); SELECT nextval('lockbench_fence')"),
        Scope::Transaction => format!(
            "SELECT pg_advisory_lock{s}({key}); SELECT nextval('lockbench_fence'); COMMIT; \
             BEGIN; SELECT pg_advisory_xact_lock{s}({key}); \
             SELECT CASE WHEN pg_advisory_unlock{s}({key}) THEN currval('lockbench_fence') END"
        ),
        Scope::Row => {
            format!("{} SELECT 0::bigint FROM lockbench_row WHERE key = {key} FOR UPDATE", row(key))
        }
    });
    sql
}

/// Sees to the row of a key, and begins the transaction that is to lock it.
fn row(key: i64) -> String {
    format!("INSERT INTO lockbench_row VALUES ({key}) ON CONFLICT DO NOTHING; COMMIT; BEGIN;")
}

/// The last row is the token, or 0 where there are none; NULL if it was refused.
pub(super) fn try_lock(lock: Advisory) -> String {
    let (key, s) = (lock.key, suffix(lock.mode));
    let taken =
        format!("SELECT CASE WHEN pg_try_advisory_lock{s}({key}) THEN nextval('lockbench_fence') END");
    match lock.scope {
        Scope::Session => taken,
        Scope::Transaction => format!(
            "{taken}; COMMIT; BEGIN; SELECT CASE WHEN pg_try_advisory_xact_lock{s}({key}) \
             THEN CASE WHEN pg_advisory_unlock{s}({key}) THEN currval('lockbench_fence') END END"
        ),
        Scope::Row => {
            let locked =
                format!("SELECT 0::bigint FROM lockbench_row WHERE key = {key} FOR UPDATE SKIP LOCKED");
            format!("{} SELECT ({locked})", row(key))
        }
    }
}

/// Its last row says whether the lock was held.
pub(super) fn unlock(lock: Advisory) -> String {
    match lock.scope {
        Scope::Session => format!("SELECT pg_advisory_unlock{}({})", suffix(lock.mode), lock.key),
        // Only a transaction that is still open holds the lock: its start is before the statement's.
        Scope::Transaction | Scope::Row => {
            "SELECT transaction_timestamp() < statement_timestamp(); COMMIT".to_owned()
        }
    }
}

/// What the holder's connection is called.
pub(super) fn holder(key: i64, scope: Scope) -> String {
    if scope == Scope::Row {
        return format!(
            "SELECT (SELECT application_name FROM lockbench_row AS held JOIN pg_stat_activity AS by \
             ON by.backend_xid = held.xmax WHERE held.key = {key} LIMIT 1)"
        );
    }
    format!(
        "SELECT (SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid) \
         WHERE locktype = 'advisory' AND granted AND objsubid = 1 \
         AND (classid::bigint << 32) | objid::bigint = {key} LIMIT 1)"
    )
}

/// The process of this connection, and when it began in µs: the system gives its number to another one later.
pub(super) const BACKEND: &str = "SELECT pid, (extract(epoch FROM backend_start) * 1000000)::bigint \
    FROM pg_stat_activity WHERE pid = pg_backend_pid()";

/// Whether the process has ended, after at most that time.
pub(super) fn terminate(backend: Backend, within: Duration) -> String {
    let (Backend { number: pid, mark: began_us }, wait_ms) = (backend, within.as_millis());
    format!(
        "SELECT CASE WHEN EXISTS (SELECT FROM pg_stat_activity WHERE pid = {pid} \
                    AND (extract(epoch FROM backend_start) * 1000000)::bigint = {began_us}) \
                THEN pg_terminate_backend({pid}, {wait_ms}) ELSE true END"
    )
}

fn suffix(mode: Mode) -> &'static str {
    match mode {
        Mode::Exclusive => "",
        Mode::Shared => "_shared",
    }
}
