//! Tells the program the commit that it is built from, and the versions of the client crates in `Cargo.lock`.

use std::process::Command;

/// The clients whose versions belong to every result.
const CLIENTS: [&str; 6] = ["redis", "etcd-client", "zookeeper-client", "async-nats", "sqlx", "tokio"];

fn main() {
    let lock = std::fs::read_to_string("../Cargo.lock").unwrap_or_default();
    let versions: Vec<_> = CLIENTS
        .iter()
        .filter_map(|name| {
            let (_, package) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
            Some(format!("{name}={}", package.split('"').next()?))
        })
        .collect();
    println!("cargo::rustc-env=LOCKBENCH_CLIENTS={}", versions.join(","));
    println!("cargo::rerun-if-changed=../Cargo.lock");
    if let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) {
        let dirty = git(&["status", "--porcelain", "--untracked-files=no"])
            .is_some_and(|changes| !changes.is_empty());
        println!("cargo::rustc-env=LOCKBENCH_COMMIT={commit}{}", if dirty { "-dirty" } else { "" });
        println!("cargo::rerun-if-changed=../.git/HEAD");
        println!("cargo::rerun-if-changed=../.git/index");
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
