//! What `lockbench doctor` says of a URL: what is wrong with it and what to do, and that a pooler lends sessions behind it, for which
//! `pgbouncer` is needed, as Debian has it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use harness::servers::{Server, ServerKind, ServerOptions};

/// Killed when dropped.
struct Pooler(Child);

impl Drop for Pooler {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_through_a_pooler_that_lends_sessions_is_told_with_the_locks_that_do_not_work_over_it() {
    let program = Path::new("/usr/sbin/pgbouncer");
    if !program.exists() {
        assert!(std::env::var_os("CI").is_none(), "pgbouncer is missing");
        return eprintln!("skipped: no pgbouncer on this machine");
    }
    let kind: ServerKind = "postgres".parse().unwrap();
    let server = Server::start(kind, &ServerOptions::default()).await.unwrap();
    let (login, place) = server.endpoint().split_once("://").unwrap().1.rsplit_once('@').unwrap();
    let (user, password) = login.split_once(':').unwrap();
    let (address, database) = place.split_once('/').unwrap();
    let (host, server_port) = address.rsplit_once(':').unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let settings = folder.path().join("pgbouncer.ini");
    let text = format!(
        "[databases]\n{database} = host={host} port={server_port} user={user} password={password} dbname={database}\n\
         [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
         pool_mode = transaction\nignore_startup_parameters = extra_float_digits,options\n"
    );
    std::fs::write(&settings, text).unwrap();
    let mut pooler = Command::new(program);
    if nix::unistd::geteuid().is_root() {
        pooler.args(["-u", "nobody"]);
    }
    let _pooler = Pooler(pooler.arg("-q").arg(&settings).spawn().unwrap());
    for _ in 0..200 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let doctor = |url: String| {
        let output = Command::new(env!("CARGO_BIN_EXE_lockbench"))
            .args(["doctor"])
            .env("LOCKBENCH_POSTGRES", url)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let direct = doctor(server.endpoint().to_owned());
    assert!(direct.contains("answers at") && !direct.contains("not with"), "{direct}");
    let pooled = doctor(server.endpoint().replace(address, &format!("127.0.0.1:{port}")));
    let line = pooled.lines().find(|line| line.contains("not with pg-session")).expect(&pooled);
    assert!(line.contains("pooler") && line.contains("pool_mode"), "{pooled}");
    assert!(!pooled.contains(password), "{pooled}");
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_url_is_told_with_what_to_do_about_it_and_without_its_password() {
    let redis = ServerKind::named("redis");
    let server = match Server::start(redis, &ServerOptions::default()).await {
        Ok(server) => server,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "{error}");
            return eprintln!("skipped: {error}");
        }
    };
    let right = server.endpoint();
    let (login, place) = right.split_once("://").unwrap().1.rsplit_once('@').unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let doctor = |words: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_lockbench")).arg("doctor").args(words).output().unwrap();
        let told = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&told).into_owned())
    };
    for (url, what) in [
        (format!("redis://{place}"), "another user or password"),
        (format!("redis://:wr0ngw0rd@{place}"), "another user or password"),
        (format!("redis://{login}@{closed}"), "does it run, and is it reachable"),
        (format!("rediss://{login}@{place}"), "it does not speak TLS on this port"),
        (format!("{right}?ssl-ca=/ca.pem"), "rediss://"),
        (format!("http://{place}"), "redis://host"),
        (format!("redis+sentinel://{login}@{place}"), "it names no service"),
        (format!("redis+sentinel://{login}@{place}/locks"), "is no Sentinel"),
        (format!("redis+cluster://{login}@{place}"), "is no member of a Cluster"),
    ] {
        let (code, told) = doctor(&["--redis", &url]);
        let line =
            told.lines().find(|line| line.starts_with("Redis ")).unwrap_or_else(|| panic!("{url}: {told}"));
        assert!(code == Some(2) && line.contains(what), "{url}: {told}");
        assert!(line.contains(&place.to_owned()) || line.contains(&closed.to_string()), "where? {line}");
        assert!(!told.contains("wr0ngw0rd") && !told.contains(login), "{told}");
        assert!(!told.contains("Everything is there"), "{told}");
    }
    let (code, told) = doctor(&["--redis-ca", "/ca.pem"]);
    assert!(code == Some(2) && told.contains("--redis <URL>"), "{told}");
    let (_, told) = doctor(&["--redis-program", "/no/such/redis-server"]);
    assert!(told.contains("/no/such/redis-server is no file"), "{told}");
    let (_, told) = doctor(&["--redis", right]);
    assert!(told.contains("answers at") && told.contains("round trip"), "{told}");
    server.stop().await.unwrap();
}
