//! A pooler between client and PostgreSQL that lends one session of the server's to several clients in turn: a lock of the
//! session is then anybody's, and who asks for one is told when it connects. Needs `pgbouncer`, as Debian has it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use lock_backends::{LockError, variant};
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
