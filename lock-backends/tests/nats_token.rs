//! A NATS server that lets in whoever has its token, started from Debian's `nats-server`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod support;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use harness::servers::{Server, ServerKind, redact};
use lock_backends::server;
use support::{PATIENCE, take};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

const TOKEN: &str = "s3cret-t0ken";
const WRONG: &str = "wr0ngw0rd";

/// Killed when it is dropped.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_lets_in_and_a_wrong_one_is_refused_and_neither_is_told() {
    let program =
        ["/usr/sbin/nats-server", "/usr/bin/nats-server"].into_iter().find(|path| Path::new(path).exists());
    let Some(program) = program else {
        assert!(std::env::var_os("CI").is_none(), "nats-server is missing");
        return eprintln!("skipped: no nats-server on this machine");
    };
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = folder.path().join("nats.conf");
    let lines = format!(
        "listen: \"127.0.0.1:{port}\"\nauthorization {{ token: \"{TOKEN}\" }}\njetstream {{ store_dir: \"{}\" }}\n",
        folder.path().display()
    );
    std::fs::write(&config, lines).unwrap();
    let started = Command::new(program).arg("-c").arg(&config).stderr(Stdio::null()).spawn().unwrap();
    let _server = Started(started);
    let listens = async {
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, listens).await.expect("nats-server listens");

    let kind = ServerKind::named("nats");
    // As a URL has it, and as it comes from the environment of a scenario file, behind the colon.
    for right in [format!("nats://{TOKEN}@127.0.0.1:{port}"), format!("nats://:{TOKEN}@127.0.0.1:{port}")] {
        Server::attach(kind, &right).await.unwrap().stop().await.unwrap();
        for variant in server("nats").unwrap().variants {
            take(variant, &right).await.unwrap_or_else(|error| panic!("{}: {error}", variant.name));
        }
        assert!(!redact(&right).contains(TOKEN), "{}", redact(&right));
    }
    let wrong = format!("nats://{WRONG}@127.0.0.1:{port}");
    let mut errors = vec![Server::attach(kind, &wrong).await.expect_err("refused").to_string()];
    for variant in server("nats").unwrap().variants {
        errors.push(take(variant, &wrong).await.unwrap_err().to_string());
    }
    for error in errors {
        assert!(error.contains("user or password") && !error.contains(WRONG), "{error}");
    }
}
