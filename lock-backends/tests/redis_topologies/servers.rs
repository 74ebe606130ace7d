//! Redis servers and Sentinels, started from Debian's `redis-server`, that end with the test.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use harness::servers::Tls;
use redis::aio::MultiplexedConnection;
use redis::{ClientTlsConfig, FromRedisValue, RedisResult, TlsCertificates, cmd};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{sleep, timeout};

use crate::support::PATIENCE;

/// Of all servers; Sentinels have another one.
pub(crate) const PASSWORD: &str = "s3cret";
pub(crate) const SENTINELS_PASSWORD: &str = "0ther";

/// One of them. Killed when it is dropped.
pub(crate) struct Instance {
    pub(crate) port: u16,
    password: &'static str,
    process: Child,
    /// What it speaks TLS with, with everybody.
    tls: Option<Tls>,
    _folder: tempfile::TempDir,
}

/// A port on which nobody listens now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Whether there is a program to start; otherwise the reason is printed. Under CI it is a failure.
pub(crate) fn is_installed() -> bool {
    let found = Path::new("/usr/bin/redis-server").exists();
    if !found {
        assert!(std::env::var_os("CI").is_none(), "redis-server is missing");
        eprintln!("skipped: no redis-server on this machine");
    }
    found
}

impl Instance {
    /// A server with these lines in its configuration.
    pub(crate) async fn server(lines: &[String]) -> Self {
        Self::server_over(None, lines).await
    }

    /// As [`Self::server`], over TLS where it is given; other servers and Sentinels are clients that show a certificate.
    pub(crate) async fn server_over(tls: Option<&Tls>, lines: &[String]) -> Self {
        let login = format!("requirepass {PASSWORD}\nmasterauth {PASSWORD}\nsave \"\"\nappendonly no\n");
        Self::start(tls, &(login + &lines.join("\n")), &[], PASSWORD).await
    }

    /// One of the Sentinels of the service `locks`.
    pub(crate) async fn sentinel(primary: u16, down_after_ms: u64) -> Self {
        Self::sentinel_over(None, primary, down_after_ms).await
    }

    /// As [`Self::sentinel`], over TLS where it is given.
    pub(crate) async fn sentinel_over(tls: Option<&Tls>, primary: u16, down_after_ms: u64) -> Self {
        let lines = format!(
            "requirepass {SENTINELS_PASSWORD}\nsentinel sentinel-pass {SENTINELS_PASSWORD}\n\
             sentinel monitor locks 127.0.0.1 {primary} 2\nsentinel auth-pass locks {PASSWORD}\n\
             sentinel down-after-milliseconds locks {down_after_ms}\nsentinel failover-timeout locks 3000\n"
        );
        Self::start(tls, &lines, &["--sentinel"], SENTINELS_PASSWORD).await
    }

    async fn start(tls: Option<&Tls>, lines: &str, arguments: &[&str], password: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (port, path) = (free_port(), folder.path().join("redis.conf"));
        let place = folder.path().display();
        let ports = match tls {
            None => format!("port {port}"),
            Some(Tls { ca, cert, key, .. }) => format!(
                "port 0\ntls-port {port}\ntls-replication yes\ntls-auth-clients no\n\
                 tls-ca-cert-file {}\ntls-cert-file {}\ntls-key-file {}",
                ca.display(),
                cert.display(),
                key.display()
            ),
        };
        std::fs::write(&path, format!("bind 127.0.0.1\n{ports}\ndir {place}\n{lines}\n")).unwrap();
        let process = Command::new("/usr/bin/redis-server")
            .arg(&path)
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let instance = Self { port, password, process, tls: tls.cloned(), _folder: folder };
        let serves = async {
            while instance.try_say::<String>("PING").await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, serves).await.expect("a server that answers");
        instance
    }

    pub(crate) async fn connection(&self) -> RedisResult<MultiplexedConnection> {
        let place = format!(":{}@127.0.0.1:{}", self.password, self.port);
        let client = match &self.tls {
            None => redis::Client::open(format!("redis://{place}"))?,
            Some(Tls { ca, client, .. }) => {
                let read = |path| std::fs::read(path).unwrap();
                let shown = client.as_ref().map(|(cert, key)| (read(cert), read(key)));
                let client_tls =
                    shown.map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
                let certificates = TlsCertificates { client_tls, root_cert: Some(read(ca)) };
                redis::Client::build_with_tls(format!("rediss://{place}"), certificates)?
            }
        };
        client.get_multiplexed_async_connection().await
    }

    /// Says a command, its words separated by spaces.
    pub(crate) async fn try_say<T: FromRedisValue>(&self, words: &str) -> RedisResult<T> {
        let mut words = words.split(' ');
        let mut command = cmd(words.next().unwrap());
        for word in words {
            command.arg(word);
        }
        command.query_async(&mut self.connection().await?).await
    }

    pub(crate) async fn say<T: FromRedisValue>(&self, words: &str) -> T {
        self.try_say(words).await.unwrap_or_else(|error| panic!("{words}: {error}"))
    }

    /// Polls until a command is answered with a text in which this stands.
    pub(crate) async fn says(&self, words: &str, text: &str) {
        let waited = async {
            while !self.try_say::<String>(words).await.is_ok_and(|said| said.contains(text)) {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, waited)
            .await
            .unwrap_or_else(|_| panic!("{}: {words} never said {text}", self.port));
    }

    /// Waits until its replica has all that it has now: what was not copied would be lost with it.
    pub(crate) async fn is_copied(&self) {
        let number = |said: &str, before: &str| -> Option<u64> {
            let digits = said.split_once(before)?.1;
            digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        };
        let now = number(&self.say::<String>("INFO replication").await, "master_repl_offset:").unwrap();
        let copied = async {
            while number(&self.say::<String>("INFO replication").await, ",offset=").is_none_or(|at| at < now)
            {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, copied).await.expect("a replica that follows");
    }

    /// It stands still, connected.
    pub(crate) fn stop(&self) {
        kill_process(self.pid(), Signal::STOP).unwrap();
    }

    pub(crate) fn go_on(&self) {
        kill_process(self.pid(), Signal::CONT).unwrap();
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().cast_signed()).unwrap()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
