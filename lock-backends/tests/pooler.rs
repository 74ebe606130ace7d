//! A pooler between client and PostgreSQL that lends one session of the server's to several clients in turn: a lock of the
//! session is then anybody's, and who asks for one is told when it connects. Needs `pgbouncer`, as Debian has it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use lock_backends::{LockError, variant};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use support::{Bench, PATIENCE, TTL, unique};

/// A pooler before a server. Dropping it ends it.
struct Pooler {
    url: String,
    folder: PathBuf,
    _process: Child,
}

impl Pooler {
    /// `None`, and the reason printed, where there is none on this machine.
    async fn before(server: &str, mode: &str, ignored: &str) -> Option<Self> {
        let program =
            ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"].into_iter().find(|path| Path::new(path).exists());
        let Some(program) = program else {
            assert!(std::env::var_os("CI").is_none(), "pgbouncer is missing");
            eprintln!("skipped: no pgbouncer on this machine");
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (_, rest) = server.split_once("://").unwrap();
        let (login, place) = rest.rsplit_once('@').unwrap_or(("postgres", rest));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let (address, database) = place.split_once('/').unwrap();
        let (host, server_port) = address.rsplit_once(':').unwrap();
        let folder = std::env::temp_dir().join(unique("pooler"));
        std::fs::create_dir(&folder).unwrap();
        let settings = folder.join("pgbouncer.ini");
        std::fs::write(
            &settings,
            format!(
                "[databases]\n{database} = host={host} port={server_port} user={user} password={password} dbname={database}\n\
                 [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
                 pool_mode = {mode}\nignore_startup_parameters = {ignored}\n"
            ),
        )
        .unwrap();
        let mut command = Command::new(program);
        // It refuses to be root; whom it becomes is told only where it is.
        if is_root() {
            command.args(["-u", "nobody"]);
        }
        let process = command
            .arg(&settings)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let listens = async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, listens).await.expect("pgbouncer listens");
        let url = server.replace(&format!("@{address}"), &format!("@127.0.0.1:{port}"));
        let url = url.replace(&format!("://{address}"), &format!("://127.0.0.1:{port}"));
        Some(Self { url, folder, _process: process })
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// As most have it who use a pooler with clients that set something.
const LENIENT: &str = "extra_float_digits, options";

const OF_SESSIONS: [&str; 3] = ["pg-session", "pg-xact", "pg-mux"];

#[tokio::test]
async fn locks_of_a_session_are_refused_where_a_pooler_lends_sessions() {
    let Some(server) = support::start("postgres").await else { return };
    for ignored in [LENIENT, "extra_float_digits"] {
        let Some(pooler) = Pooler::before(server.endpoint(), "transaction", ignored).await else { return };
        for variant in OF_SESSIONS.into_iter().filter_map(|name| variant(name).ok()) {
            let refused = Bench::with_ttl(variant, &pooler.url, TTL).try_node().await;
            let told = matches!(&refused, Err(LockError::Unsupported(why)) if why.contains("pooler"));
            assert!(told, "{}: {:?}", variant.name, refused.err());
        }
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn locks_of_a_session_are_served_where_a_pooler_hands_sessions_out_whole() {
    let Some(server) = support::start("postgres").await else { return };
    let Some(pooler) = Pooler::before(server.endpoint(), "session", LENIENT).await else { return };
    for variant in OF_SESSIONS.into_iter().filter_map(|name| variant(name).ok()) {
        let bench = Bench::with_ttl(variant, &pooler.url, TTL);
        let (a, b) = (bench.node().await, bench.node().await);
        let key = unique("pooled");
        let guard = a.acquire_request(bench.ask(&key)).await.unwrap();
        assert!(b.try_acquire_request(bench.ask(&key)).await.unwrap().is_none(), "{}", variant.name);
        guard.release().await.unwrap();
        a.close().await;
        b.close().await;
    }
    server.stop().await.unwrap();
}

/// P5 of the matrix, by clients that do not ask who is behind the URL. A session's lock is counted, and both are of one session.
#[tokio::test]
async fn two_clients_behind_a_pooler_that_lends_sessions_hold_one_lock_together() {
    let Some(server) = support::start("postgres").await else { return };
    let Some(pooler) = Pooler::before(server.endpoint(), "transaction", LENIENT).await else { return };
    let mut a = PgConnection::connect(&pooler.url).await.unwrap();
    let mut b = PgConnection::connect(&pooler.url).await.unwrap();
    let mut beside = PgConnection::connect(server.endpoint()).await.unwrap();
    for key in 0..10 {
        assert!(
            is_locked_by(&mut a, key).await && is_locked_by(&mut b, key).await,
            "both are told that they hold {key}"
        );
        assert!(!is_locked_by(&mut beside, key).await, "and nobody else is");
    }
    server.stop().await.unwrap();
}

/// P6: whoever forgets the lock gives it back with the connection, to the pool and to the next who asks it for one.
#[tokio::test]
async fn a_pool_hands_a_lock_that_was_forgotten_to_the_next_of_its_callers_and_to_nobody_else() {
    let Some(server) = support::start("postgres").await else { return };
    let pool = PgPoolOptions::new().max_connections(1).connect(server.endpoint()).await.unwrap();
    assert!(is_locked_by(&mut pool.acquire().await.unwrap(), 1).await);
    assert!(is_locked_by(&mut pool.acquire().await.unwrap(), 1).await, "re-entered by another task");
    let mut beside = PgConnection::connect(server.endpoint()).await.unwrap();
    assert!(!is_locked_by(&mut beside, 1).await, "leaked for as long as the pool keeps the connection");
    pool.close().await;
    server.stop().await.unwrap();
}

/// Tries to take the advisory lock of that number for the session, in the form that poolers understand.
async fn is_locked_by(connection: &mut PgConnection, key: i64) -> bool {
    let asked = sqlx::raw_sql(AssertSqlSafe(format!("SELECT pg_try_advisory_lock({key})")));
    asked.fetch_one(connection).await.unwrap().try_get(0).unwrap()
}

/// P2: a restart ends every session and its locks, at once. Whoever does not watch its connection goes on beside the next; whoever
/// does is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_lets_somebody_in_beside_whoever_does_not_watch_its_connection_each_time() {
    let Some(mut server) = support::start("postgres").await else { return };
    let bench = Bench::with_ttl(variant("pg-session").unwrap(), server.endpoint(), TTL);
    for restart in 0..10 {
        let (holder, key) = (bench.node().await, unique("restart"));
        let guard = holder.acquire_request(bench.ask(&key)).await.unwrap();
        server.kill().await.unwrap();
        server.restart().await.unwrap();
        let next = bench.node().await;
        let beside = next.try_acquire_request(bench.ask(&key)).await.unwrap();
        assert!(beside.is_some(), "restart {restart}: its lock outlived the session");
        timeout(PATIENCE, guard.lost().cancelled()).await.expect("whoever watches is told");
        holder.close().await;
        next.close().await;
    }
    server.stop().await.unwrap();
}
