//! The requests, sent by the client crate `sqlx`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, Row};
use tokio::time::timeout;

use super::requests::{Advisory, Multiplexed, MuxAction, MuxOp, MuxRet, Postgres, Scope};
use super::{pooler, primary, statements, url};
use crate::backends::common::{CONNECT_TIMEOUT, asked};
use crate::backends::sql::{
    Announcements, Answer, Backend, Connected, Connection, Failure, Holding, LeaseServer, Leases,
    PATIENCE_MIN, hash,
};
use crate::session::{
    BoxFuture, Endpoint, Grant, LockError, Mode, OwnerId, SessionOptions, Token, unavailable,
};

/// Bound on taking down a connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A real server.
struct Server(PgConnectOptions);

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The library's options would show the password.
        f.write_str("Server(…)")
    }
}

/// The server at that URL.
pub(super) fn at(endpoint: &Endpoint) -> Result<Arc<dyn Postgres>, LockError> {
    Ok(Arc::new(Server(url::options(endpoint)?)))
}

/// A plain connection, and the server's process behind it.
#[derive(Debug)]
struct Holder {
    connection: PgConnection,
    backend: Backend,
    scope: Scope,
}

impl Holder {
    fn advisory(&self, name: &str, mode: Mode) -> Advisory {
        Advisory { key: hash(name), mode, scope: self.scope }
    }
}

/// A plain connection.
#[derive(Debug)]
struct Rows(PgConnection);

/// A connection in the shape of a listener, because that is what notices its own end while idle. The pool has this one
/// member and never hands it out again.
#[derive(Debug)]
struct Listener {
    connection: PgListener,
    pool: PgPool,
}

impl Postgres for Server {
    fn lends_no_session<'a>(&'a self, node: &'a SessionOptions) -> BoxFuture<'a, Result<(), LockError>> {
        asked(async move { pooler::lends_no_session(&self.settings(node, "lock")).await })
    }

    fn hold<'a>(&'a self, node: &'a SessionOptions, scope: Scope) -> Connected<'a, dyn Holding> {
        asked(async move {
            // A waiter whose client is gone gives its place up.
            let interval = (node.ttl.max(PATIENCE_MIN) / 3).as_millis().to_string();
            let settings = self.settings(node, "lock");
            let settings = settings.options([("client_connection_check_interval", interval)]);
            let connected = answered(async {
                let mut connection = settings.connect().await?;
                let (pid, mark): (i32, i64) =
                    sqlx::query_as(statements::BACKEND).fetch_one(&mut connection).await?;
                Ok(Holder { connection, backend: Backend { number: pid.into(), mark }, scope })
            });
            Ok(Box::new(connected.await?) as _)
        })
    }

    fn multiplex<'a>(&'a self, node: &'a SessionOptions) -> Connected<'a, dyn Multiplexed> {
        asked(async move { Ok(Box::new(answered(Listener::open(self.settings(node, "lock"))).await?) as _) })
    }
}

impl LeaseServer for Server {
    fn lease<'a>(&'a self, node: &'a SessionOptions) -> Connected<'a, dyn Leases> {
        asked(async move {
            let settings = self.settings(node, "lease");
            let mut connection = answered(settings.connect()).await?;
            primary::takes_writes(&mut connection).await?;
            Ok(Box::new(Rows(connection)) as _)
        })
    }

    fn listen<'a>(&'a self, node: &'a SessionOptions) -> Option<Connected<'a, dyn Announcements>> {
        Some(asked(async move {
            let connected = answered(async {
                let mut listener = Listener::open(self.settings(node, "listen")).await?;
                listener.connection.listen("lockbench").await?;
                Ok(listener)
            });
            Ok(Box::new(connected.await?) as _)
        }))
    }
}

impl Server {
    /// What a connection of a session sets: a name without secrets, no limit on idling, and a keep-alive by which the
    /// server notices a vanished host in about one ttl.
    fn settings(&self, node: &SessionOptions, role: &str) -> PgConnectOptions {
        let ttl = node.ttl.max(Duration::from_secs(1));
        let probe_s = (ttl.as_secs() / 3).max(1);
        self.0.clone().application_name(&format!("lockbench {role} {}", node.node)).options([
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
}

impl Listener {
    async fn open(options: PgConnectOptions) -> Result<Self, sqlx::Error> {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .acquire_timeout(CONNECT_TIMEOUT)
            .connect_with(options)
            .await?;
        let mut connection = PgListener::connect_with(&pool).await?;
        connection.ignore_pool_close_event(true);
        // A reconnect would be a new session without the locks.
        connection.eager_reconnect(false);
        Ok(Self { connection, pool })
    }
}

impl Connection for Holder {
    fn set_up(&mut self) -> Answer<'_, ()> {
        asked(async { made(sqlx::raw_sql(statements::SET_UP).execute(&mut self.connection).await) })
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        asked(async { said_goodbye(self.connection.close().await) })
    }
}

impl Connection for Rows {
    fn set_up(&mut self) -> Answer<'_, ()> {
        asked(async { made(sqlx::raw_sql(statements::SET_UP).execute(&mut self.0).await) })
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        asked(async { said_goodbye(self.0.close().await) })
    }
}

impl Connection for Listener {
    fn set_up(&mut self) -> Answer<'_, ()> {
        asked(async { made(sqlx::raw_sql(statements::SET_UP).execute(&mut self.connection).await) })
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        asked(async {
            let Self { connection, pool } = *self;
            drop(connection);
            if timeout(CLOSE_TIMEOUT, pool.close()).await.is_err() {
                tracing::debug!("a connection was dropped without a goodbye");
            }
        })
    }
}

impl Holding for Holder {
    fn backend(&self) -> Backend {
        self.backend
    }

    fn lock<'a>(
        &'a mut self,
        name: &'a str,
        mode: Mode,
        within: Duration,
        description: &'a str,
    ) -> Answer<'a, Option<Token>> {
        let lock = self.advisory(name, mode);
        asked(async move {
            let row = run(&mut self.connection, statements::lock(lock, within, description)).await?;
            row.try_get(0).map(token_or_none).map_err(nonsense)
        })
    }

    fn try_lock<'a>(&'a mut self, name: &'a str, mode: Mode) -> Answer<'a, Option<Option<Token>>> {
        let lock = self.advisory(name, mode);
        asked(async move {
            let row = run(&mut self.connection, statements::try_lock(lock)).await?;
            let drawn: Option<i64> = row.try_get(0).map_err(nonsense)?;
            Ok(drawn.map(token_or_none))
        })
    }

    fn refusal_leaves_open(&self) -> bool {
        self.scope != Scope::Session
    }

    fn roll_back(&mut self) -> Answer<'_, ()> {
        asked(async { done(run(&mut self.connection, statements::NOTHING_HELD.to_owned()).await) })
    }

    fn unlock<'a>(&'a mut self, name: &'a str, mode: Mode) -> Answer<'a, bool> {
        let lock = self.advisory(name, mode);
        asked(async move {
            run(&mut self.connection, statements::unlock(lock)).await?.try_get(0).map_err(nonsense)
        })
    }

    fn ping(&mut self) -> Answer<'_, ()> {
        asked(async { done(run(&mut self.connection, "SELECT 1".to_owned()).await) })
    }

    fn holder<'a>(&'a mut self, name: &'a str) -> Answer<'a, Option<String>> {
        asked(async move {
            run(&mut self.connection, statements::holder(hash(name), self.scope))
                .await?
                .try_get(0)
                .map_err(nonsense)
        })
    }

    fn terminate(&mut self, backend: Backend, within: Duration) -> Answer<'_, bool> {
        asked(async move {
            run(&mut self.connection, statements::terminate(backend, within))
                .await?
                .try_get(0)
                .map_err(nonsense)
        })
    }
}

impl Multiplexed for Listener {
    fn one(&mut self, op: MuxOp) -> Answer<'_, Option<MuxRet>> {
        asked(async move {
            let sql =
                if op.action == MuxAction::Unlock { statements::ONE_UNLOCK } else { statements::ONE_TRY };
            let row: i64 = sqlx::query_scalar(sql)
                .bind(op.key)
                .fetch_one(&mut self.connection)
                .await
                .map_err(failure)?;
            let to_be_shown = row == 0 && op.action == MuxAction::TryOrShow;
            Ok((!to_be_shown).then(|| mux_ret(op.action, row)))
        })
    }

    fn batch<'a>(&'a mut self, ops: &'a [MuxOp]) -> Answer<'a, Vec<MuxRet>> {
        asked(async move {
            let actions: Vec<i16> = ops.iter().map(|op| code(op.action)).collect();
            let keys: Vec<i64> = ops.iter().map(|op| op.key).collect();
            let draws_no_token =
                ops.iter().all(|op| matches!(op.action, MuxAction::Unlock | MuxAction::Leave));
            let query = sqlx::query_scalar(statements::BATCH).bind(actions).bind(keys).bind(draws_no_token);
            let rows: Vec<i64> = query.fetch_all(&mut self.connection).await.map_err(failure)?;
            if rows.len() != ops.len() {
                return Err(Failure::Unanswered(format!("{} rows for {} operations", rows.len(), ops.len())));
            }
            Ok(ops.iter().zip(rows).map(|(op, row)| mux_ret(op.action, row)).collect())
        })
    }

    fn ended(&mut self) -> BoxFuture<'_, ()> {
        // Nothing is subscribed here: this ends only with the connection.
        asked(async { while let Ok(Some(_)) = self.connection.try_recv().await {} })
    }
}

impl Leases for Rows {
    fn take<'a>(
        &'a mut self,
        name: &'a str,
        owner: &'a OwnerId,
        description: &'a str,
        ttl: Duration,
    ) -> Answer<'a, Option<Token>> {
        let take = sqlx::query_scalar::<_, i64>(statements::TAKE).bind(name).bind(&*owner.0);
        let take = take.bind(description).bind(ms(ttl)).fetch_optional(&mut self.0);
        asked(async move { Ok(take.await.map_err(failure)?.map(token)) })
    }

    fn mark_awaited<'a>(&'a mut self, name: &'a str) -> Answer<'a, Option<Duration>> {
        let left_ms = sqlx::query_scalar::<_, i64>(statements::AWAIT).bind(name).fetch_optional(&mut self.0);
        asked(async move {
            Ok(left_ms.await.map_err(failure)?.map(|ms| Duration::from_millis(ms.unsigned_abs())))
        })
    }

    fn release<'a>(&'a mut self, name: &'a str, owner: &'a OwnerId, key: i64) -> Answer<'a, bool> {
        let release = sqlx::query_scalar::<_, i32>(statements::RELEASE).bind(name).bind(&*owner.0);
        let release = release.bind(key.to_string()).fetch_optional(&mut self.0);
        asked(async move { Ok(release.await.map_err(failure)?.is_some()) })
    }

    fn renew<'a>(&'a mut self, grants: &'a [Arc<Grant>], ttl: Duration) -> Answer<'a, Vec<bool>> {
        asked(async move {
            let name =
                |grant: &Arc<Grant>| grant.keys.first().map_or_else(String::new, |key| key.to_string());
            let names: Vec<String> = grants.iter().map(name).collect();
            let owners: Vec<String> = grants.iter().map(|grant| grant.owner.0.to_string()).collect();
            let renew = sqlx::query_scalar::<_, i64>(statements::RENEW).bind(names).bind(owners);
            let places = renew.bind(ms(ttl)).fetch_all(&mut self.0).await.map_err(failure)?;
            let mut held = vec![false; grants.len()];
            for place in places {
                let place = usize::try_from(place - 1).unwrap_or(usize::MAX);
                if let Some(held) = held.get_mut(place) {
                    *held = true;
                }
            }
            Ok(held)
        })
    }

    fn holder<'a>(&'a mut self, name: &'a str) -> Answer<'a, Option<String>> {
        let holder = sqlx::query_scalar(statements::LEASE_HOLDER).bind(name).fetch_optional(&mut self.0);
        asked(async move { holder.await.map_err(failure) })
    }
}

impl Announcements for Listener {
    fn next(&mut self) -> BoxFuture<'_, Option<i64>> {
        asked(async {
            while let Ok(Some(announced)) = self.connection.try_recv().await {
                match announced.payload().parse() {
                    Ok(key) => return Some(key),
                    Err(_) => tracing::warn!(payload = announced.payload(), "not an announcement of ours"),
                }
            }
            None
        })
    }
}

/// Bounds the opening of a connection.
async fn answered<C>(opening: impl Future<Output = Result<C, sqlx::Error>>) -> Result<C, LockError> {
    let opened = timeout(CONNECT_TIMEOUT, opening).await;
    opened.map_err(|_| LockError::Unavailable("no answer from postgres".to_owned()))?.map_err(unavailable)
}

/// Runs statements and returns the last row.
async fn run(connection: &mut PgConnection, sql: String) -> Result<PgRow, Failure> {
    let mut rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection).await.map_err(failure)?;
    rows.pop().ok_or_else(|| Failure::Refused("an answer without rows".to_owned()))
}

fn made<T>(set_up: Result<T, sqlx::Error>) -> Result<(), Failure> {
    set_up.map(drop).map_err(failure)
}

fn done(row: Result<PgRow, Failure>) -> Result<(), Failure> {
    row.map(drop)
}

fn said_goodbye(closed: Result<(), sqlx::Error>) {
    if let Err(error) = closed {
        tracing::debug!(%error, "a connection was dropped without a goodbye");
    }
}

fn failure(error: sqlx::Error) -> Failure {
    match error {
        // lock_timeout
        sqlx::Error::Database(error) if error.code().is_some_and(|code| code == "55P03") => Failure::TimedOut,
        sqlx::Error::Database(error) => Failure::Refused(error.to_string()),
        error => Failure::Unanswered(error.to_string()),
    }
}

fn nonsense(error: sqlx::Error) -> Failure {
    Failure::Refused(error.to_string())
}

/// 0 stands for none.
fn token_or_none(drawn: i64) -> Option<Token> {
    (drawn > 0).then(|| token(drawn))
}

fn token(drawn: i64) -> Token {
    Token { generation: 0, sequence: drawn.unsigned_abs() }
}

fn ms(ttl: Duration) -> f64 {
    ttl.as_secs_f64() * 1_000.0
}

/// As [`statements::BATCH`] numbers them.
fn code(action: MuxAction) -> i16 {
    match action {
        MuxAction::Unlock => 0,
        MuxAction::Try => 1,
        MuxAction::TryOrShow => 2,
        MuxAction::TryShown => 3,
        MuxAction::Leave => 4,
    }
}

fn mux_ret(action: MuxAction, row: i64) -> MuxRet {
    match (action, row) {
        (MuxAction::Unlock | MuxAction::Leave, row) => MuxRet::Done(row == 1),
        (_, 1..) => MuxRet::Granted(token(row)),
        (_, -2) => MuxRet::Passing,
        _ => MuxRet::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_backend_that_was_meant_is_terminated() {
        use harness::servers::{Server, ServerKind, ServerOptions};
        let kind: ServerKind = "postgres".parse().unwrap();
        let running = match Server::start(kind, &ServerOptions::default()).await {
            Ok(running) => running,
            Err(missing) if std::env::var_os("CI").is_none() => return eprintln!("skipped: {missing}"),
            Err(error) => panic!("{error}"),
        };
        let server = at(&Endpoint(running.endpoint().to_owned())).unwrap();
        let node = SessionOptions::new("n", Duration::from_secs(2));
        let mut one = server.hold(&node, Scope::Session).await.unwrap();
        let mut next = server.hold(&node, Scope::Session).await.unwrap();
        // As if the first had ended and the system had given its number to the next.
        let ended = Backend { number: next.backend().number, mark: next.backend().mark - 1 };
        assert!(one.terminate(ended, Duration::from_secs(1)).await.unwrap());
        next.ping().await.expect("it was not the one that was meant");
        assert!(one.terminate(next.backend(), Duration::from_secs(1)).await.unwrap());
        assert!(next.ping().await.is_err());
        running.stop().await.unwrap();
    }
}
