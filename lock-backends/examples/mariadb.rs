//! A lock on MariaDB: `cargo run -p lock-backends --example mariadb -- mysql://root@127.0.0.1:3306/test`

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

mod common;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    common::run("mysql-lease", "mysql://root@127.0.0.1:3306/test").await
}
