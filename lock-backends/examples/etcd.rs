//! A lock on etcd: `cargo run -p lock-backends --example etcd -- etcd://127.0.0.1:2379`

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

mod common;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    common::run("etcd-queue", "etcd://127.0.0.1:2379").await
}
