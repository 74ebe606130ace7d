//! The scripts of `redis-fenced`, and the yardstick that everybody knows.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;

use futures_util::FutureExt;
use harness::servers::Server;
use lock_backends::BoxFuture;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, IntoConnectionInfo, Script};

use super::Yardstick;
use crate::lane::{Pairs, number};

pub(super) const YARDSTICK: Yardstick = Yardstick {
    server: "redis",
    first: "redis-poll",
    connection_each: &[],
    waiters_max: 10_000,
    connect: |endpoint| async move { Arc::new(Redis::connect(endpoint).await) as Arc<dyn Pairs> }.boxed(),
    beside: redis_benchmark,
};

/// The scripts of `redis-fenced` on one multiplexed connection.
struct Redis {
    connection: MultiplexedConnection,
    acquire: Script,
    release: Script,
}

const OWNED: &str = include_str!("../../../src/backends/redis/lua/owned.lua");
const DRAW: &str = include_str!("../../../src/backends/redis/lua/draw.lua");
const ACQUIRE: &str = include_str!("../../../src/backends/redis/lua/acquire.lua");
const RELEASE: &str = include_str!("../../../src/backends/redis/lua/release.lua");

impl Redis {
    async fn connect(endpoint: &str) -> Self {
        let tcp = TcpSettings::default().set_nodelay(true);
        let info = endpoint.into_connection_info().unwrap().set_tcp_settings(tcp);
        let config = AsyncConnectionConfig::new().set_pipeline_buffer_size(4096);
        let client = redis::Client::open(info).unwrap();
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await.unwrap();
        let acquire = Script::new(&[OWNED, DRAW, ACQUIRE].concat());
        let release = Script::new(&[OWNED, RELEASE].concat());
        for script in [&acquire, &release] {
            script.load_async(&mut connection).await.unwrap();
        }
        Self { connection, acquire, release }
    }
}

impl Pairs for Redis {
    fn pair(&self, caller: usize) -> BoxFuture<'_, bool> {
        async move {
            let mut connection = self.connection.clone();
            let lock = format!("lockbench:lock:bare-{caller}");
            let owner = format!("6:b:{};", number());
            let mut acquire = self.acquire.key("lockbench:fence");
            acquire.key(&lock).arg(&owner).arg(10_000).arg("");
            let _: (u32, u64) = acquire.invoke_async(&mut connection).await.unwrap();
            let mut release = self.release.key(&lock);
            release.arg(&owner).arg(&lock);
            let released: u64 = release.invoke_async(&mut connection).await.unwrap();
            released == 1
        }
        .boxed()
    }
}

/// 50 connections, no pipelining.
fn redis_benchmark(server: &Server) {
    let (login, address) = server.endpoint().rsplit_once('@').unwrap();
    let (password, port) = (login.rsplit(':').next().unwrap(), address.rsplit(':').next().unwrap());
    // The program takes a password on its command line alone, which is no place for the server's; so it comes as somebody
    // who has none, and may do nothing but this.
    let guest = format!("AUTH {password}\r\nACL SETUSER guest on nopass ~* +set +config|get\r\nQUIT\r\n");
    let mut connection = TcpStream::connect(address).unwrap();
    connection.write_all(guest.as_bytes()).unwrap();
    let mut answers = String::new();
    connection.read_to_string(&mut answers).unwrap();
    assert_eq!(answers, "+OK\r\n".repeat(3));
    let output = Command::new("redis-benchmark")
        .args(["--user", "guest", "-a", "none", "-p", port, "-c", "50", "-n", "200000", "-t", "set", "-q"])
        .output();
    match output {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).replace('\r', "\n");
            println!("redis-benchmark -c 50: {}\n", text.trim().lines().last().unwrap_or_default());
        }
        Err(error) => eprintln!("skipped: redis-benchmark: {error}"),
    }
}
