//! Advisory locks that wait in the server: each holder and each waiter has a connection of its own.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection, Row};
use tokio::sync::SemaphorePermit;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::connections::Connections;
use super::{PATIENCE_MIN, hash, session_settings, set_up};
use crate::backends::common::{CONNECT_TIMEOUT, answer_within, lock, single_key};
use crate::session::{
    BoxFuture, Grant, LockBackend, LockError, LockSession, Mode, Now, OwnerId, ReleaseRet, Renewal, Request,
    SessionOptions, Token, Validity, unavailable,
};

/// Connections of one node. More holders and waiters than this wait in the node.
const CONNECTIONS_MAX: usize = 32;

/// How a variant words its three statements, for a key and for exclusive or shared mode. Each may be several, separated
/// by semicolons; the last row of the first two holds the token, NULL where a try was refused.
#[derive(Debug, Clone, Copy)]
pub(in crate::backends) struct Statements {
    pub(in crate::backends) acquire: fn(i64, Mode) -> String,
    pub(in crate::backends) try_acquire: fn(i64, Mode) -> String,
    /// After a try that was refused.
    pub(in crate::backends) refused: Option<&'static str>,
    /// Its last row says whether the lock was held.
    pub(in crate::backends) release: fn(i64, Mode) -> String,
}

/// The backend of the variants of this kind.
#[derive(Debug)]
pub(in crate::backends) struct PerHolder {
    pub(in crate::backends) options: PgConnectOptions,
    pub(in crate::backends) statements: Statements,
}

#[derive(Debug)]
struct Session {
    options: PgConnectOptions,
    statements: Statements,
    /// Each is one attempt's, from the try to the release.
    connections: Connections<Line>,
    held: Mutex<HashMap<Attempt, Arc<tokio::sync::Mutex<Option<Held>>>>>,
    /// Backends of attempts with an unknown outcome, to be terminated.
    doubtful: Mutex<HashMap<Attempt, i32>>,
    lost: CancellationToken,
    operations: AtomicU64,
    now: Arc<dyn Now>,
    /// Longest time for one statement.
    patience: Duration,
}

type Attempt = (Arc<str>, OwnerId);

#[derive(Debug)]
struct Line {
    connection: PgConnection,
    /// The server's process.
    pid: i32,
}

#[derive(Debug)]
struct Held {
    line: Line,
    mode: Mode,
}

/// Why a statement brought nothing.
enum Failure {
    /// The server said no; the connection is of no more use where the reason is unknown.
    Refused(String, Option<String>),
    /// It may have been run.
    Unanswered(String),
}

impl LockBackend for PerHolder {
    fn connect(&self, options: SessionOptions) -> BoxFuture<'_, Result<Arc<dyn LockSession>, LockError>> {
        Box::pin(async move {
            let settings = session_settings(&self.options, &options, "lock");
            let patience = options.ttl.max(PATIENCE_MIN);
            // A waiter whose client is gone gives its place up.
            let interval = (patience / 3).as_millis().to_string();
            let session = Session {
                options: settings.options([("client_connection_check_interval", interval)]),
                statements: self.statements,
                connections: Connections::new(CONNECTIONS_MAX),
                held: Mutex::default(),
                doubtful: Mutex::default(),
                lost: CancellationToken::new(),
                operations: AtomicU64::new(0),
                now: options.now,
                patience,
            };
            let mut first = session.open().await?;
            set_up(&mut first.connection).await?;
            session.connections.put(first);
            Ok(Arc::new(session) as Arc<dyn LockSession>)
        })
    }
}

impl Session {
    async fn open(&self) -> Result<Line, LockError> {
        let opening = async {
            let mut connection = self.options.connect().await?;
            let pid = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await?;
            Ok(Line { connection, pid })
        };
        self.count(1);
        let opened: Result<Result<Line, sqlx::Error>, _> = timeout(CONNECT_TIMEOUT, opening).await;
        opened.map_err(|_| LockError::Unavailable("no answer from postgres".to_owned()))?.map_err(unavailable)
    }

    /// A connection for one attempt. The permit goes back when the connection does.
    async fn line(&self) -> Result<Line, LockError> {
        if self.lost.is_cancelled() {
            return Err(LockError::SessionLost("closed".to_owned()));
        }
        match self.connections.take() {
            Some(line) => Ok(line),
            None => self.open().await,
        }
    }

    /// Runs statements and returns the last row.
    async fn run(&self, line: &mut Line, sql: String, limit: Duration) -> Result<PgRow, Failure> {
        self.count(1);
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut line.connection);
        match timeout(limit, rows).await {
            Ok(Ok(mut rows)) => {
                rows.pop().ok_or_else(|| Failure::Refused("an answer without rows".to_owned(), None))
            }
            Ok(Err(sqlx::Error::Database(error))) => {
                Err(Failure::Refused(error.to_string(), error.code().map(|code| code.into_owned())))
            }
            Ok(Err(error)) => Err(Failure::Unanswered(error.to_string())),
            Err(_) => Err(Failure::Unanswered("no answer in time".to_owned())),
        }
    }

    /// Ends a server process and with it all that it holds or waits for; true is the proof.
    async fn terminate(&self, pid: i32) -> Result<(), LockError> {
        let mut line = self.open().await?;
        let wait_ms = (self.patience / 2).as_millis();
        let sql = format!(
            "SELECT CASE WHEN EXISTS (SELECT FROM pg_stat_activity WHERE pid = {pid}) \
                    THEN pg_terminate_backend({pid}, {wait_ms}) ELSE true END"
        );
        let ended = self.run(&mut line, sql, self.patience).await;
        self.connections.put(line);
        match ended.map(|row| row.try_get::<bool, _>(0)) {
            Ok(Ok(true)) => Ok(()),
            Ok(_) => Err(LockError::Unknown("the server process did not end yet".to_owned())),
            Err(Failure::Refused(why, _) | Failure::Unanswered(why)) => Err(LockError::Unknown(why)),
        }
    }

    /// Asks for the lock on a connection of its own.
    async fn ask(&self, request: &Request, sql: String, limit: Duration) -> Result<Option<Grant>, LockError> {
        let attempt = (single_key(request)?.clone(), request.owner.clone());
        let permit = self.permit(request).await?;
        let mut line = self.line().await?;
        let pid = line.pid;
        let answer = {
            let asked = self.run(&mut line, sql, limit);
            tokio::select! {
                biased;
                answer = asked => Some(answer),
                () = request.left.cancelled() => None,
            }
        };
        match answer {
            Some(Ok(row)) => {
                let token: Option<i64> = row.try_get(0).map_err(|e| LockError::Protocol(e.to_string()))?;
                let Some(token) = token else {
                    if let Some(sql) = self.statements.refused {
                        let done = self.run(&mut line, format!("{sql}; SELECT 1"), self.patience).await;
                        if done.is_err() {
                            return Ok(None);
                        }
                    }
                    self.connections.put(line);
                    return Ok(None);
                };
                permit.forget();
                let held = Held { line, mode: request.mode };
                lock(&self.held).insert(attempt, Arc::new(tokio::sync::Mutex::new(Some(held))));
                let token = Token { generation: 0, sequence: token.unsigned_abs() };
                Ok(Some(granted(request, token)))
            }
            // 55P03: lock_timeout.
            Some(Err(Failure::Refused(_, Some(code)))) if code == "55P03" => {
                if self.run(&mut line, "ROLLBACK; SELECT 1".to_owned(), self.patience).await.is_ok() {
                    self.connections.put(line);
                }
                Err(LockError::TimedOut)
            }
            // What it took before it failed ends with the connection.
            Some(Err(Failure::Refused(why, _))) => {
                self.end(attempt, line).await.and(Err(LockError::Unavailable(why)))
            }
            Some(Err(Failure::Unanswered(why))) => {
                lock(&self.doubtful).insert(attempt, pid);
                Err(LockError::Unknown(why))
            }
            None => self.end(attempt, line).await.and(Err(LockError::TimedOut)),
        }
    }

    /// Ends a connection for good.
    async fn end(&self, attempt: Attempt, line: Line) -> Result<(), LockError> {
        let pid = line.pid;
        drop(line);
        if let Err(error) = self.terminate(pid).await {
            lock(&self.doubtful).insert(attempt, pid);
            return Err(LockError::Unknown(error.to_string()));
        }
        Ok(())
    }

    async fn permit(&self, request: &Request) -> Result<SemaphorePermit<'_>, LockError> {
        tokio::select! {
            biased;
            permit = self.connections.permit() => permit.map_err(|_| LockError::SessionLost("closed".to_owned())),
            () = request.over(&*self.now) => Err(LockError::TimedOut),
        }
    }

    async fn give_back(&self, grant: &Grant) -> Result<ReleaseRet, LockError> {
        let Some(name) = grant.keys.first() else { return Ok(ReleaseRet::AlreadyLost) };
        let attempt = (name.clone(), grant.owner.clone());
        let doubtful = lock(&self.doubtful).get(&attempt).copied();
        if let Some(pid) = doubtful {
            self.terminate(pid).await?;
            lock(&self.doubtful).remove(&attempt);
            return Ok(ReleaseRet::AlreadyLost);
        }
        let held = lock(&self.held).remove(&attempt);
        let Some(held) = held else { return Ok(ReleaseRet::AlreadyLost) };
        // A heartbeat may be under way.
        let Some(Held { mut line, mode }) = held.lock().await.take() else {
            return Ok(ReleaseRet::AlreadyLost);
        };
        self.connections.give_up();
        let sql = (self.statements.release)(hash(name), mode);
        match self.run(&mut line, sql, self.patience).await.map(|row| row.try_get::<bool, _>(0)) {
            Ok(Ok(was_held)) => {
                self.connections.put(line);
                Ok(if was_held { ReleaseRet::Released } else { ReleaseRet::AlreadyLost })
            }
            Ok(Err(error)) => Err(LockError::Protocol(error.to_string())),
            Err(Failure::Refused(why, _) | Failure::Unanswered(why)) => {
                lock(&self.doubtful).insert(attempt, line.pid);
                Err(LockError::Unknown(why))
            }
        }
    }

    /// One heartbeat on each holder's connection: an idle one tells nothing of its end.
    async fn heartbeat(&self, grant: &Grant) -> Validity {
        let Some(name) = grant.keys.first() else { return Validity::Lost };
        let held = lock(&self.held).get(&(name.clone(), grant.owner.clone())).cloned();
        let Some(held) = held else { return Validity::Lost };
        let mut held = held.lock().await;
        let Some(Held { line, .. }) = held.as_mut() else { return Validity::Lost };
        if self.run(line, "SELECT 1".to_owned(), self.patience / 4).await.is_ok() {
            return Validity::NoLease;
        }
        // The end of the connection is the end of the lock, as soon as the server sees it.
        *held = None;
        self.connections.give_up();
        Validity::Lost
    }

    fn count(&self, operations: u64) {
        self.operations.fetch_add(operations, Ordering::Relaxed);
    }
}

impl LockSession for Session {
    fn try_acquire<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Option<Grant>, LockError>> {
        Box::pin(async move {
            let sql = (self.statements.try_acquire)(hash(single_key(request)?), request.mode);
            self.ask(request, sql, self.patience).await
        })
    }

    fn acquire<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Grant, LockError>> {
        Box::pin(async move {
            let remaining = request.remaining(&*self.now);
            let mut sql = format!("SET lock_timeout = {};", remaining.as_millis().clamp(1, i32::MAX as u128));
            if !request.description.is_empty() {
                write!(sql, "SET application_name = '{}';", request.description.replace('\'', "''"))
                    .expect("a string takes everything");
            }
            sql.push_str(&(self.statements.acquire)(hash(single_key(request)?), request.mode));
            let granted = self.ask(request, sql, answer_within(request, &*self.now, Duration::MAX)).await?;
            granted.ok_or_else(|| LockError::Protocol("a grant without a token".to_owned()))
        })
    }

    fn renew<'a>(&'a self, grants: &'a [Arc<Grant>]) -> BoxFuture<'a, Result<Renewal, LockError>> {
        Box::pin(async move {
            let grants = join_all(grants.iter().map(|grant| self.heartbeat(grant))).await;
            Ok(Renewal { session: Validity::NoLease, grants })
        })
    }

    fn release<'a>(&'a self, grant: &'a Grant) -> BoxFuture<'a, Result<ReleaseRet, LockError>> {
        Box::pin(self.give_back(grant))
    }

    fn holder<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<String>, LockError>> {
        Box::pin(async move {
            let (key, mut line) = (hash(key), self.line().await?);
            let sql = format!(
                "SELECT (SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid) \
                 WHERE locktype = 'advisory' AND granted AND objsubid = 1 \
                 AND (classid::bigint << 32) | objid::bigint = {key} LIMIT 1)"
            );
            let row = self.run(&mut line, sql, self.patience).await;
            let Ok(row) = row else {
                return Err(LockError::Unavailable("no answer from postgres".to_owned()));
            };
            self.connections.put(line);
            row.try_get(0).map_err(|error| LockError::Protocol(error.to_string()))
        })
    }

    fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    fn ttl(&self) -> Option<Duration> {
        None
    }

    fn operations(&self) -> &AtomicU64 {
        &self.operations
    }

    /// Ends every connection, and with them the locks.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.lost.cancel();
            let mut lines = self.connections.drain();
            let held = std::mem::take(&mut *lock(&self.held));
            for held in held.into_values() {
                lines.extend(held.lock().await.take().map(|held| held.line));
            }
            let goodbyes = lines.into_iter().map(|line| sqlx::Connection::close(line.connection));
            if timeout(self.patience, join_all(goodbyes)).await.is_err() {
                tracing::debug!("connections were dropped without a goodbye");
            }
        })
    }
}

fn granted(request: &Request, token: Token) -> Grant {
    let (keys, owner) = (request.keys.clone(), request.owner.clone());
    Grant { keys, owner, token: Some(token), validity: Validity::NoLease }
}
