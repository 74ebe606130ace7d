//! A lock on Redis: `cargo run -p lock-backends --example redis -- redis://127.0.0.1:6379`

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

mod common;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    common::run("redis-fenced", "redis://127.0.0.1:6379").await
}
