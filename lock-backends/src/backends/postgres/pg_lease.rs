//! `pg-lease`: a table of leases on the database's clock; any connection will do.
//!
//! **Protocol.** A row per name: owner, token, expiry. Acquire is one upsert that takes the row if its lease is over,
//! and answers the same token to the same owner. The row lock orders contenders; the token is drawn after it is had,
//! since rows are never deleted (an insert that met a deleted row would bring an older token). Refused: one statement
//! marks the row as awaited and reads when its lease ends. Release ends the lease if the owner still has it, and
//! announces the name if it is awaited; a listening connection wakes the waiters of the node, who race. Renewal is one
//! statement for all.
//!
//! **Round trips.** 1 to acquire, 1 to release, each a commit: on disk before it is acknowledged in the durable profile.
//! Refused: 1 more, and 1 per lost race.
//!
//! **Safety class F**: exclusive while clocks run at similar rates and pauses stay below the lease's margin, and fenced
//! by a token. The only variant here whose locks survive the server's restart, and work through a pooler.
//!
//! **Token.** `nextval` of the sequence `lockbench_fence` in the same statement.
//!
//! **Crash release.** ttl, plus up to 20 ms.
//!
//! Sources: PostgreSQL documentation, "INSERT" (ON CONFLICT), "NOTIFY"; cirello-io/pglock (a lease table, polled).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgRow};
use sqlx::query::QueryScalar;
use sqlx::{ConnectOptions as _, Connection, FromRow, PgConnection, Postgres};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::connections::Connections;
use super::wakeups::{self, Wakeups};
use super::{hash, options, session_settings, set_up};
use crate::backends::common::{CONNECT_TIMEOUT, Tasks, answer_within, exclusive_key};
use crate::session::{
    BoxFuture, Capabilities, Grant, Least, LocalFifo, LockBackend, LockError, LockSession, Now, OwnerId,
    ReleaseRet, Renewal, Request, SafetyClass, SessionOptions, Survives, Token, Validity, Variant,
    unavailable, valid_until,
};

/// The variant as registered.
pub(super) const VARIANT: Variant = Variant {
    name: "pg-lease",
    summary: "a table of leases on the database's clock; waiters woken by NOTIFY",
    class: SafetyClass::Fenced,
    least: Least::Writes,
    capabilities: Capabilities {
        local_fifo: LocalFifo::Optional,
        native_level: false,
        native_many: false,
        token: true,
        shared_mode: false,
        lease: true,
        fair: false,
    },
    survives: Survives {
        node_crash: "free after the ttl",
        server_kill: "kept, with synchronous_commit on",
        power_loss: "kept, with synchronous_commit and fsync on",
    },
    open: |endpoint| Ok(Box::new(PgLease(options(endpoint)?))),
};

const TABLE: &str = "BEGIN; SELECT pg_advisory_xact_lock(1819239275, 1650815848); \
    CREATE TABLE IF NOT EXISTS lockbench_lease (name text PRIMARY KEY, owner text NOT NULL, \
        description text NOT NULL, token bigint NOT NULL, expires timestamptz NOT NULL, \
        awaited boolean NOT NULL DEFAULT false) WITH (fillfactor = 50); COMMIT";

/// Name, owner, description, ttl in ms. The token, if it was granted.
const ACQUIRE: &str = "\
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
const AWAIT: &str = "UPDATE lockbench_lease SET awaited = true WHERE name = $1 AND expires > clock_timestamp() \
    RETURNING greatest(1, ceil(extract(epoch FROM expires - clock_timestamp()) * 1000))::bigint";

/// Name, owner, announcement. A row if the owner still had it. The mark stays until the next owner takes the row: those
/// who wait then mark it anew.
const RELEASE: &str = "\
    UPDATE lockbench_lease SET owner = '', expires = '-infinity' \
    WHERE name = $1 AND owner = $2 AND expires > clock_timestamp() \
    RETURNING CASE WHEN awaited AND pg_notify('lockbench', $3) IS NULL THEN 0 ELSE 1 END";

/// Names, owners, ttl in ms. The places of those that still had it.
const RENEW: &str = "\
    UPDATE lockbench_lease AS lease SET expires = clock_timestamp() + $3 * interval '1 ms' \
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS held(name, owner, place) \
    WHERE lease.name = held.name AND lease.owner = held.owner AND lease.expires > clock_timestamp() \
    RETURNING place";

/// Statements of one node that run side by side.
const CONNECTIONS: usize = 8;
/// After the end of the lease that was waited for.
const PAUSE: Duration = Duration::from_millis(5);

#[derive(Debug)]
struct PgLease(PgConnectOptions);

#[derive(Debug)]
struct LeaseSession {
    options: PgConnectOptions,
    /// Each runs one statement at a time.
    connections: Connections<PgConnection>,
    wakeups: Arc<Wakeups>,
    ttl: Duration,
    now: Arc<dyn Now>,
    lost: CancellationToken,
    operations: AtomicU64,
    tasks: Tasks,
}

impl LockBackend for PgLease {
    fn connect(&self, options: SessionOptions) -> BoxFuture<'_, Result<Arc<dyn LockSession>, LockError>> {
        Box::pin(async move {
            let ttl = options.ttl.max(Duration::from_millis(1));
            let settings = session_settings(&self.0, &options, "lease");
            let mut first = open(&settings).await?;
            set_up(&mut first).await?;
            sqlx::raw_sql(TABLE).execute(&mut first).await.map_err(unavailable)?;
            let (wakeups, lost) = (Arc::new(Wakeups::default()), CancellationToken::new());
            let wait_options = session_settings(&self.0, &options, "listen");
            let listening = wakeups::listen(&wait_options).await.map_err(unavailable)?;
            let tasks = Tasks::default();
            tasks.spawn(wakeups::run(Arc::clone(&wakeups), listening, wait_options, lost.clone()));
            let connections = Connections::new(CONNECTIONS);
            connections.put(first);
            let (now, operations) = (options.now, AtomicU64::new(0));
            Ok(Arc::new(LeaseSession {
                options: settings,
                connections,
                wakeups,
                ttl,
                now,
                lost,
                operations,
                tasks,
            }) as Arc<dyn LockSession>)
        })
    }
}

impl LeaseSession {
    fn ttl_ms(&self) -> f64 {
        self.ttl.as_secs_f64() * 1_000.0
    }

    /// Runs one statement on a connection of its own and returns the rows. [`LockError::Unknown`]: it may have been applied.
    async fn run<T>(
        &self,
        limit: Duration,
        statement: QueryScalar<'_, Postgres, T, PgArguments>,
    ) -> Result<Vec<T>, LockError>
    where
        T: Send + Unpin,
        (T,): for<'r> FromRow<'r, PgRow>,
    {
        if self.lost.is_cancelled() {
            return Err(LockError::SessionLost("closed".to_owned()));
        }
        self.operations.fetch_add(1, Ordering::Relaxed);
        let answered = async {
            let _permit = self.connections.permit().await.map_err(unavailable)?;
            let mut connection = match self.connections.take() {
                Some(connection) => connection,
                None => open(&self.options).await?,
            };
            let rows = statement.fetch_all(&mut connection).await;
            if matches!(rows, Ok(_) | Err(sqlx::Error::Database(_))) {
                self.connections.put(connection);
            }
            rows.map_err(|error| match error {
                sqlx::Error::Database(error) => LockError::Unavailable(error.to_string()),
                error => LockError::Unknown(error.to_string()),
            })
        };
        let late = |_| Err(LockError::Unknown("no answer in time".to_owned()));
        timeout(limit, answered).await.unwrap_or_else(late)
    }

    async fn ask(&self, name: &str, request: &Request, limit: Duration) -> Result<Option<Grant>, LockError> {
        let sent_ns = self.now.now_ns();
        let asked = sqlx::query_scalar::<_, i64>(ACQUIRE)
            .bind(name)
            .bind(&*request.owner.0)
            .bind(&*request.description)
            .bind(self.ttl_ms());
        let token = self.run(limit, asked).await?.pop();
        Ok(token.map(|token| Grant {
            keys: request.keys.clone(),
            owner: request.owner.clone(),
            token: Some(Token { generation: 0, sequence: token.unsigned_abs() }),
            validity: valid_until(sent_ns, self.ttl),
        }))
    }

    async fn wait(&self, request: &Request) -> Result<Grant, LockError> {
        let name = exclusive_key(request)?;
        let waiter = self.wakeups.waiter(hash(name));
        loop {
            // Armed before the try, so that an announcement between the answer and the wait is not missed.
            let mut woken = std::pin::pin!(waiter.woken());
            woken.as_mut().enable();
            let limit = answer_within(request, &*self.now, self.ttl);
            if let Some(grant) = self.ask(name, request, limit).await? {
                return Ok(grant);
            }
            let awaited = sqlx::query_scalar::<_, i64>(AWAIT).bind(&**name);
            // `None`: free by now, or the answer was lost; the mark does no harm.
            let left_ms = self.run(limit, awaited).await.ok().and_then(|mut rows| rows.pop());
            let pause = left_ms.map_or(Duration::ZERO, |ms| Duration::from_millis(ms.unsigned_abs()));
            tokio::select! {
                biased;
                () = self.lost.cancelled() => return Err(LockError::SessionLost("closed".to_owned())),
                // From the last answer on no request is under way.
                () = request.over(&*self.now) => return Err(LockError::TimedOut),
                () = woken => {}
                () = sleep(pause + PAUSE) => {}
            }
        }
    }

    async fn give_back(&self, grant: &Grant) -> Result<ReleaseRet, LockError> {
        let Some(name) = grant.keys.first() else { return Ok(ReleaseRet::AlreadyLost) };
        let released = sqlx::query_scalar::<_, i32>(RELEASE)
            .bind(&**name)
            .bind(&*grant.owner.0)
            .bind(hash(name).to_string());
        Ok(match self.run(self.ttl / 2, released).await?.pop() {
            Some(_) => ReleaseRet::Released,
            None => ReleaseRet::AlreadyLost,
        })
    }

    /// Gives back by owner what a lost request may have taken. The statement could still be on its way in a connection
    /// that was given up; the server would take the row for an owner who never comes, until its ttl.
    async fn withdraw(&self, name: &Arc<str>, owner: &OwnerId) -> Result<ReleaseRet, LockError> {
        let (keys, owner) = (vec![Arc::clone(name)], owner.clone());
        self.give_back(&Grant { keys, owner, token: None, validity: Validity::Lost }).await
    }
}

impl LockSession for LeaseSession {
    fn try_acquire<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Option<Grant>, LockError>> {
        Box::pin(async move { self.ask(exclusive_key(request)?, request, self.ttl / 2).await })
    }

    fn acquire<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Grant, LockError>> {
        Box::pin(self.wait(request))
    }

    fn renew<'a>(&'a self, grants: &'a [Arc<Grant>]) -> BoxFuture<'a, Result<Renewal, LockError>> {
        Box::pin(async move {
            if grants.is_empty() {
                return Ok(Renewal { session: Validity::NoLease, grants: Vec::new() });
            }
            let name =
                |grant: &Arc<Grant>| grant.keys.first().map_or_else(String::new, |key| key.to_string());
            let names: Vec<String> = grants.iter().map(name).collect();
            let owners: Vec<String> = grants.iter().map(|grant| grant.owner.0.to_string()).collect();
            let sent_ns = self.now.now_ns();
            let renewed = sqlx::query_scalar::<_, i64>(RENEW).bind(names).bind(owners).bind(self.ttl_ms());
            let places = self.run(self.ttl / 4, renewed).await?;
            let mut validities = vec![Validity::Lost; grants.len()];
            for place in places {
                let place = usize::try_from(place - 1).unwrap_or(usize::MAX);
                if let Some(validity) = validities.get_mut(place) {
                    *validity = valid_until(sent_ns, self.ttl);
                }
            }
            Ok(Renewal { session: Validity::NoLease, grants: validities })
        })
    }

    fn release<'a>(&'a self, grant: &'a Grant) -> BoxFuture<'a, Result<ReleaseRet, LockError>> {
        Box::pin(async move {
            match (grant.token, grant.keys.first()) {
                (None, Some(name)) => self.withdraw(name, &grant.owner).await,
                _ => self.give_back(grant).await,
            }
        })
    }

    fn holder<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<String>, LockError>> {
        Box::pin(async move {
            let sql =
                "SELECT description FROM lockbench_lease WHERE name = $1 AND expires > clock_timestamp()";
            Ok(self.run(self.ttl / 2, sqlx::query_scalar(sql).bind(key)).await?.pop())
        })
    }

    fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    fn ttl(&self) -> Option<Duration> {
        Some(self.ttl)
    }

    fn operations(&self) -> &AtomicU64 {
        &self.operations
    }

    /// There is no session at the server: what is still held ends with its ttl.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.lost.cancel();
            self.tasks.ended().await;
            let goodbyes = self.connections.drain().into_iter().map(Connection::close);
            if timeout(self.ttl, join_all(goodbyes)).await.is_err() {
                tracing::debug!("connections were dropped without a goodbye");
            }
        })
    }
}

/// A connection with the settings of a session.
async fn open(options: &PgConnectOptions) -> Result<PgConnection, LockError> {
    let opened = timeout(CONNECT_TIMEOUT, options.connect()).await;
    opened.map_err(|_| LockError::Unavailable("no answer from postgres".to_owned()))?.map_err(unavailable)
}
