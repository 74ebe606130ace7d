//! A standby of PostgreSQL has the same tables, but locks of its own: a lock there would exclude nobody at the primary. Whoever gives
//! its URL is told so. The standby is made by Debian's `pg_basebackup`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod support;

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use harness::servers::Server;
use lock_backends::{LockError, server};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use support::{PATIENCE, let_in, start, take};
use tokio::time::{sleep, timeout};

/// Killed when it is dropped.
struct Standby {
    url: String,
    process: Child,
    _folder: tempfile::TempDir,
}

impl Drop for Standby {
    fn drop(&mut self) {
        // Its fast shutdown, so that its shared memory goes with it.
        let pid = rustix::process::Pid::from_raw(self.process.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).ok();
        drop(self.process.wait());
    }
}

/// The primary's data folder, and where its programs are.
async fn places(primary: &Server) -> (PathBuf, PathBuf) {
    let mut connection = PgConnection::connect(primary.endpoint()).await.unwrap();
    let folder: String = sqlx::query_scalar("SHOW data_directory").fetch_one(&mut connection).await.unwrap();
    let program = std::fs::read_link(format!("/proc/{}/exe", primary.pid().unwrap())).unwrap();
    (folder.into(), program.parent().unwrap().to_owned())
}

async fn say(url: &str, sql: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
}

/// Runs as whoever owns the primary's data: nobody else may, and not root.
fn command(program: &Path, owner: &Path) -> Command {
    use std::os::unix::fs::MetadataExt as _;
    let owner = std::fs::metadata(owner).unwrap();
    let mut command = Command::new(program);
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        command.uid(owner.uid()).gid(owner.gid());
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

async fn standby_of(primary: &Server) -> Standby {
    let (data, programs) = places(primary).await;
    let mut who = std::fs::read_to_string(data.join("pg_hba.conf")).unwrap();
    who += "host replication all 127.0.0.1/32 scram-sha-256\n";
    std::fs::write(data.join("pg_hba.conf"), who).unwrap();
    say(primary.endpoint(), "SELECT pg_reload_conf()").await;

    let (login, place) = primary.endpoint().split_once("://").unwrap().1.rsplit_once('@').unwrap();
    let (user, password) = login.split_once(':').unwrap();
    let (host, port) = place.split_once('/').unwrap().0.rsplit_once(':').unwrap();
    let folder = tempfile::tempdir().unwrap();
    // Its owner makes what is in it.
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let copy = folder.path().join("data");
    let copied = command(&programs.join("pg_basebackup"), &data)
        .args(["-R", "-X", "stream", "-c", "fast", "-h", host, "-p", port, "-U", user, "-D"])
        .arg(&copy)
        .env("PGPASSWORD", password)
        .current_dir(folder.path())
        .status()
        .unwrap();
    assert!(copied.success());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let process = command(&programs.join("postgres"), &data)
        .arg("-D")
        .arg(&copy)
        .args(["-c", "listen_addresses=127.0.0.1", "-c", &format!("port={port}")])
        // As the primary has it, or it does not follow.
        .args([
            "-c",
            "unix_socket_directories=",
            "-c",
            "dynamic_shared_memory_type=mmap",
            "-c",
            "max_connections=300",
            "-c",
            "max_prepared_transactions=100",
        ])
        .current_dir(folder.path())
        .spawn()
        .unwrap();
    let url = primary.endpoint().replace(place.split_once('/').unwrap().0, &format!("127.0.0.1:{port}"));
    let standby = Standby { url, process, _folder: folder };
    let serves = async {
        while PgConnection::connect(&standby.url).await.is_err() {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, serves).await.expect("a standby that answers");
    standby
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_refused_in_words_and_its_primary_says_that_it_has_one() {
    let Some(primary) = start("postgres").await else { return };
    let standby = standby_of(&primary).await;
    for variant in server("postgres").unwrap().variants {
        take(variant, primary.endpoint()).await.unwrap_or_else(|error| panic!("{}: {error}", variant.name));
        let refused = let_in(variant, &standby.url).await;
        let told = matches!(&refused, Err(LockError::Unavailable(why)) if why.contains("standby"));
        assert!(told, "{}: {:?}", variant.name, refused.err());
    }
    let asked = Server::attach(primary.kind(), primary.endpoint()).await.unwrap();
    assert_eq!(asked.settings()["topology"], "a primary with standbys: 1 (async)");
    asked.stop().await.unwrap();
    let error = Server::attach(primary.kind(), &standby.url).await.expect_err("refused").to_string();
    assert!(error.contains("standby") && error.contains("primary, 127.0.0.1"), "{error}");

    // One that a commit waits for is told as such.
    say(primary.endpoint(), "ALTER SYSTEM SET synchronous_standby_names = '*'").await;
    say(primary.endpoint(), "SELECT pg_reload_conf()").await;
    let synchronous = async {
        loop {
            let asked = Server::attach(primary.kind(), primary.endpoint()).await.unwrap();
            let settings = asked.settings().clone();
            asked.stop().await.unwrap();
            if settings["topology"].contains("(sync)") && settings["synchronous_standby_names"] == "*" {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, synchronous).await.expect("a synchronous standby");
    drop(standby);
    primary.stop().await.unwrap();
}
