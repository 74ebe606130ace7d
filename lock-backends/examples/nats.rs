//! A lock on NATS: `cargo run -p lock-backends --example nats -- nats://127.0.0.1:4222`

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

mod common;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    common::run("nats-kv", "nats://127.0.0.1:4222").await
}
