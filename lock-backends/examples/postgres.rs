//! A lock on PostgreSQL: `cargo run -p lock-backends --example postgres -- postgres://postgres@127.0.0.1:5432/postgres`

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

mod common;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    common::run("pg-mux", "postgres://postgres@127.0.0.1:5432/postgres").await
}
