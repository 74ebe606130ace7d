//! The requests, sent by the client crate `sqlx`.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlDatabaseError};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, MySqlConnection};
use tokio::time::{sleep, timeout};

use super::requests::Mariadb;
use super::{statements, url};
use crate::backends::common::{CONNECT_TIMEOUT, asked};
use crate::backends::sql::{
    Announcements, Answer, Backend, Connected, Connection, Failure, HoldServer, Holding, LeaseServer, Leases,
    hash,
};
use crate::session::{
    BoxFuture, Endpoint, Grant, LockError, Mode, OwnerId, SessionOptions, Token, unavailable,
};

/// Between two looks for a connection that is to end.
const LOOK: Duration = Duration::from_millis(2);
/// The longest pause between two tries of a waiter, whom nobody wakes; each is from a half of it on.
const POLL: Duration = Duration::from_millis(20);

/// The server has no such connection.
const NO_SUCH_THREAD: u16 = 1094;
/// Undone as a whole: it can be tried again.
const DEADLOCK: u16 = 1213;
/// This connection was killed.
const KILLED: [u16; 3] = [1053, 1317, 1927];

/// A real server.
struct Server(MySqlConnectOptions);

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The library's options would show the password.
        f.write_str("Server(…)")
    }
}

/// The server at that URL.
pub(super) fn at(endpoint: &Endpoint) -> Result<Arc<dyn Mariadb>, LockError> {
    Ok(Arc::new(Server(url::options(endpoint)?)))
}

/// A connection for one lock, and its number at the server.
#[derive(Debug)]
struct Holder {
    connection: MySqlConnection,
    backend: Backend,
}

/// A connection to the table of leases.
#[derive(Debug)]
struct Rows(MySqlConnection);

impl Server {
    async fn open(&self) -> Result<MySqlConnection, LockError> {
        let opening = async {
            let mut connection = self.0.connect().await?;
            sqlx::raw_sql(statements::SESSION).execute(&mut connection).await?;
            Ok::<_, sqlx::Error>(connection)
        };
        let late = |_| LockError::Unavailable("no answer from mariadb".to_owned());
        timeout(CONNECT_TIMEOUT, opening).await.map_err(late)?.map_err(unavailable)
    }
}

impl Mariadb for Server {}

impl HoldServer for Server {
    /// Not looked for.
    fn lends_no_session<'a>(&'a self, _node: &'a SessionOptions) -> BoxFuture<'a, Result<(), LockError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn hold<'a>(&'a self, _node: &'a SessionOptions) -> Connected<'a, dyn Holding> {
        asked(async move {
            let mut connection = self.open().await?;
            let backend = sqlx::query_as::<_, (i64, String)>(statements::BACKEND).fetch_one(&mut connection);
            let late = |_| LockError::Unavailable("no answer from mariadb".to_owned());
            let (number, host) =
                timeout(CONNECT_TIMEOUT, backend).await.map_err(late)?.map_err(unavailable)?;
            let backend = Backend { number, mark: hash(&host) };
            Ok(Box::new(Holder { connection, backend }) as _)
        })
    }
}

impl LeaseServer for Server {
    fn lease<'a>(&'a self, _node: &'a SessionOptions) -> Connected<'a, dyn Leases> {
        asked(async move { Ok(Box::new(Rows(self.open().await?)) as _) })
    }

    fn listen<'a>(&'a self, _node: &'a SessionOptions) -> Option<Connected<'a, dyn Announcements>> {
        None
    }
}

impl Connection for Holder {
    /// Named locks need nothing in the database.
    fn set_up(&mut self) -> Answer<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        asked(said_goodbye(self.connection))
    }
}

impl Connection for Rows {
    fn set_up(&mut self) -> Answer<'_, ()> {
        asked(async {
            sqlx::raw_sql(statements::SET_UP).execute(&mut self.0).await.map(drop).map_err(failure)
        })
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        asked(said_goodbye(self.0))
    }
}

impl Holder {
    /// Whether it was granted within that time.
    async fn ask(&mut self, name: &str, within: Duration) -> Result<bool, Failure> {
        let asked = sqlx::query_scalar::<_, Option<i64>>(statements::LOCK);
        let asked = asked.bind(named(name)).bind(within.as_secs_f64());
        match asked.fetch_one(&mut self.connection).await.map_err(failure)? {
            Some(granted) => Ok(granted == 1),
            None => Err(Failure::Refused("the server could not lock".to_owned())),
        }
    }

    /// Whether that backend is still there, and not another one of its number.
    async fn is_there(&mut self, backend: Backend) -> Result<bool, Failure> {
        let from = sqlx::query_scalar::<_, String>(statements::FROM).bind(backend.number);
        let from = from.fetch_optional(&mut self.connection).await.map_err(failure)?;
        Ok(from.is_some_and(|host| hash(&host) == backend.mark))
    }
}

impl Holding for Holder {
    fn backend(&self) -> Backend {
        self.backend
    }

    fn lock<'a>(
        &'a mut self,
        name: &'a str,
        _mode: Mode,
        within: Duration,
        _description: &'a str,
    ) -> Answer<'a, Option<Token>> {
        asked(async move { if self.ask(name, within).await? { Ok(None) } else { Err(Failure::TimedOut) } })
    }

    fn try_lock<'a>(&'a mut self, name: &'a str, _mode: Mode) -> Answer<'a, Option<Option<Token>>> {
        asked(async move { Ok(self.ask(name, Duration::ZERO).await?.then_some(None)) })
    }

    fn refusal_leaves_open(&self) -> bool {
        false
    }

    fn roll_back(&mut self) -> Answer<'_, ()> {
        asked(async { self.connection.ping().await.map_err(failure) })
    }

    fn unlock<'a>(&'a mut self, name: &'a str, _mode: Mode) -> Answer<'a, bool> {
        asked(async move {
            let unlocked = sqlx::query_scalar::<_, Option<i64>>(statements::UNLOCK).bind(named(name));
            Ok(unlocked.fetch_one(&mut self.connection).await.map_err(failure)? == Some(1))
        })
    }

    fn ping(&mut self) -> Answer<'_, ()> {
        asked(async { self.connection.ping().await.map_err(failure) })
    }

    /// The server knows the holder's connection, which says nothing to anybody.
    fn holder<'a>(&'a mut self, _name: &'a str) -> Answer<'a, Option<String>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn terminate(&mut self, backend: Backend, within: Duration) -> Answer<'_, bool> {
        asked(async move {
            if !self.is_there(backend).await? {
                return Ok(true);
            }
            // Between the two no other one gets the number: only a server that starts again gives one out twice.
            let kill = format!("KILL CONNECTION {}", backend.number);
            match sqlx::raw_sql(AssertSqlSafe(kill)).execute(&mut self.connection).await {
                Ok(_) => {}
                Err(error) if number(&error) == Some(NO_SUCH_THREAD) => return Ok(true),
                Err(error) => return Err(failure(error)),
            }
            // It frees its locks before it leaves the list.
            let gone = async {
                while self.is_there(backend).await? {
                    sleep(LOOK).await;
                }
                Ok(())
            };
            match timeout(within, gone).await {
                Ok(gone) => gone.map(|()| true),
                // A look is under way on this connection.
                Err(_) => Err(Failure::Unanswered("the connection did not end yet".to_owned())),
            }
        })
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
        asked(async move {
            loop {
                let take = sqlx::query_as::<_, (Vec<u8>, u64)>(statements::TAKE);
                let take = take.bind(name.as_bytes()).bind(owner.0.as_bytes()).bind(description.as_bytes());
                let take = take.bind(owner.0.as_bytes()).bind(us(ttl));
                match take.fetch_one(&mut self.0).await {
                    Ok((now_of, drawn)) => {
                        let ours = now_of == owner.0.as_bytes();
                        return Ok(ours.then_some(Token { generation: 0, sequence: drawn }));
                    }
                    // Several insert a name that was never locked.
                    Err(error) if number(&error) == Some(DEADLOCK) => {}
                    Err(error) => return Err(failure(error)),
                }
            }
        })
    }

    /// The row is not marked, since a release tells nobody: the lease's end, or the next poll.
    fn mark_awaited<'a>(&'a mut self, name: &'a str) -> Answer<'a, Option<Duration>> {
        asked(async move {
            let left = sqlx::query_scalar::<_, i64>(statements::LEFT).bind(name.as_bytes());
            let left = left.fetch_optional(&mut self.0).await.map_err(failure)?;
            Ok(left.map(|us| Duration::from_micros(us.unsigned_abs()).min(poll())))
        })
    }

    fn release<'a>(&'a mut self, name: &'a str, owner: &'a OwnerId, _key: i64) -> Answer<'a, bool> {
        asked(async move {
            let release = sqlx::query(statements::RELEASE).bind(name.as_bytes()).bind(owner.0.as_bytes());
            Ok(release.execute(&mut self.0).await.map_err(failure)?.rows_affected() > 0)
        })
    }

    fn renew<'a>(&'a mut self, grants: &'a [Arc<Grant>], ttl: Duration) -> Answer<'a, Vec<bool>> {
        asked(async move {
            let of = |grant: &'a Arc<Grant>| {
                (grant.keys.first().map_or(&b""[..], |key| key.as_bytes()), grant.owner.0.as_bytes())
            };
            let pairs: Vec<(&[u8], &[u8])> = grants.iter().map(of).collect();
            let mut renew = sqlx::query(AssertSqlSafe(statements::renew(pairs.len()))).bind(us(ttl));
            for (name, _) in &pairs {
                renew = renew.bind(*name);
            }
            for (name, owner) in &pairs {
                renew = renew.bind(*name).bind(*owner);
            }
            let renewed = renew.execute(&mut self.0).await.map_err(failure)?.rows_affected();
            if renewed == pairs.len() as u64 {
                return Ok(vec![true; pairs.len()]);
            }
            // One that still has it now had it a moment ago too, and was renewed.
            let sql = AssertSqlSafe(statements::which(pairs.len()));
            let mut which = sqlx::query_as::<_, (Vec<u8>, Vec<u8>)>(sql);
            for (name, _) in &pairs {
                which = which.bind(*name);
            }
            for (name, owner) in &pairs {
                which = which.bind(*name).bind(*owner);
            }
            let held: HashSet<(Vec<u8>, Vec<u8>)> =
                which.fetch_all(&mut self.0).await.map_err(failure)?.into_iter().collect();
            let is_held = |(name, owner): &(&[u8], &[u8])| held.contains(&(name.to_vec(), owner.to_vec()));
            Ok(pairs.iter().map(is_held).collect())
        })
    }

    fn holder<'a>(&'a mut self, name: &'a str) -> Answer<'a, Option<String>> {
        asked(async move {
            let holder = sqlx::query_scalar::<_, Vec<u8>>(statements::LEASE_HOLDER).bind(name.as_bytes());
            let description = holder.fetch_optional(&mut self.0).await.map_err(failure)?;
            Ok(description.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
        })
    }
}

/// The server compares names without regard to case and takes 64 characters on MySQL, 192 bytes on MariaDB: so all have one
/// length and no capitals. Two hashes, of which each begins elsewhere, are 128 bits: no two names with one are known.
fn named(name: &str) -> String {
    format!("lockbench:{:016x}{:016x}", hash(name), hash(&format!("second:{name}")))
}

/// Spreads those who wait for one row.
fn poll() -> Duration {
    let half_us = u64::try_from(POLL.as_micros() / 2).unwrap_or(1);
    Duration::from_micros(half_us + RandomState::new().hash_one(()) % half_us)
}

fn us(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX)
}

/// The server's number of an error.
fn number(error: &sqlx::Error) -> Option<u16> {
    match error {
        sqlx::Error::Database(error) => {
            error.try_downcast_ref::<MySqlDatabaseError>().map(MySqlDatabaseError::number)
        }
        _ => None,
    }
}

fn failure(error: sqlx::Error) -> Failure {
    match number(&error) {
        Some(number) if !KILLED.contains(&number) => Failure::Refused(error.to_string()),
        _ => Failure::Unanswered(error.to_string()),
    }
}

async fn said_goodbye(connection: MySqlConnection) {
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "a connection was dropped without a goodbye");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The two have one hash of 64 bits, which is all that PostgreSQL has room for.
    #[test]
    fn names_with_one_hash_are_two_names_of_at_most_64_characters() {
        let (one, two) = (named("FQdmNbzbq4c"), named("rheRAdVb1C8"));
        assert_ne!(one, two);
        assert!(one.len() <= 64 && one == one.to_lowercase());
    }

    #[tokio::test]
    async fn only_the_connection_that_was_meant_is_killed() {
        use harness::servers::{Server, ServerKind, ServerOptions};
        let kind: ServerKind = "mariadb".parse().unwrap();
        let running = match Server::start(kind, &ServerOptions::default()).await {
            Ok(running) => running,
            Err(missing) if std::env::var_os("CI").is_none() => return eprintln!("skipped: {missing}"),
            Err(error) => panic!("{error}"),
        };
        let server = at(&Endpoint(running.endpoint().to_owned())).unwrap();
        let node = SessionOptions::new("n", Duration::from_secs(2));
        let mut one = server.hold(&node).await.unwrap();
        let mut next = server.hold(&node).await.unwrap();
        // As if the server had been started again and had given the number of the first to the next.
        let ended = Backend { number: next.backend().number, mark: next.backend().mark.wrapping_sub(1) };
        assert!(one.terminate(ended, Duration::from_secs(1)).await.unwrap());
        next.ping().await.expect("it was not the one that was meant");
        assert!(one.terminate(next.backend(), Duration::from_secs(1)).await.unwrap());
        assert!(next.ping().await.is_err());
        running.stop().await.unwrap();
    }
}
