//! A lock on ZooKeeper: `cargo run -p lock-backends --example zookeeper -- zookeeper://127.0.0.1:2181`

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

mod common;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    common::run("zk-seq", "zookeeper://127.0.0.1:2181").await
}
