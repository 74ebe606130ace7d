//! Who else is on the host gets into no private server that can ask for a password, and finds the password nowhere.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use harness::servers::{Finding, Server, ServerError, ServerKind, ServerOptions, Topology, find};

/// Those that are open to every user of the host: to log in at etcd, or at ZooKeeper, is a check at each request, which would
/// be measured along. Neither of them runs programs for who asks.
const OPEN: [&str; 2] = ["etcd", "zookeeper"];

async fn started() -> Vec<Server> {
    let mut servers = Vec::new();
    for kind in ServerKind::ALL.iter().copied() {
        match find(kind) {
            Finding::Found { .. } => {
                servers.push(Server::start(kind, &ServerOptions::default()).await.unwrap());
                // The members let each other in by the password too.
                if kind.can_be_replicated() && !OPEN.contains(&kind.name()) {
                    let three = ServerOptions { topology: Topology::Replicated, ..ServerOptions::default() };
                    servers.push(Server::start(kind, &three).await.unwrap());
                }
            }
            Finding::Missing { remedy } => {
                assert!(std::env::var_os("CI").is_none(), "{remedy}");
                eprintln!("skipped: {remedy}");
            }
        }
    }
    servers
}

fn is_open(server: &Server) -> bool {
    OPEN.contains(&server.kind().name())
}

/// The password in a server's endpoint.
fn secret(server: &Server) -> &str {
    let (login, _) =
        server.endpoint().rsplit_once('@').unwrap_or_else(|| panic!("{}: no login", server.kind()));
    login.rsplit_once(':').unwrap_or_else(|| panic!("{}: no password", server.kind())).1
}

#[tokio::test]
async fn without_the_password_of_this_very_server_nobody_gets_in() {
    for server in started().await.iter().filter(|server| !is_open(server)) {
        let (kind, secret) = (server.kind(), secret(server));
        assert_eq!(secret.len(), 64, "{kind}");
        let other = Server::start(kind, &ServerOptions::default()).await.unwrap();
        let with = |password: &str| server.endpoint().replace(&format!(":{secret}@"), password);
        let foreign = format!(":{}@", self::secret(&other));
        for url in [with("@"), with(":guessed@"), with(&foreign)] {
            let error = Server::attach(kind, &url).await.unwrap_err();
            assert!(matches!(error, ServerError::Unreachable { .. }), "{kind}: {error}");
        }
        assert!(Server::attach(kind, server.endpoint()).await.is_ok(), "{kind}");
    }
}

#[tokio::test]
async fn the_password_is_in_no_command_line_no_readable_file_and_no_debug_output() {
    let servers = started().await;
    let lines = || {
        let processes = procfs::process::all_processes().unwrap().flatten();
        processes.filter_map(|process| process.cmdline().ok()).flatten()
    };
    for server in servers.iter().filter(|server| !is_open(server)) {
        let (kind, secret) = (server.kind(), secret(server));
        assert!(!lines().any(|line| line.contains(secret)), "{kind}: in a command line");
        assert!(!format!("{server:?}").contains(secret), "{kind}: in Debug");
        for member in server.members() {
            let found = readable_with(member.path(), secret);
            assert!(found.is_empty(), "{kind}: {found:?}");
        }
    }
}

/// The files in here that any user may read and that say this.
fn readable_with(folder: &Path, words: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let (path, metadata) = (entry.path(), entry.metadata().unwrap());
        // Nobody else gets past a folder that he may not enter.
        if metadata.is_dir() && metadata.mode() & 0o001 != 0 {
            found.extend(readable_with(&path, words));
        } else if metadata.is_file() && metadata.mode() & 0o044 != 0 {
            let text = std::fs::read(&path).unwrap();
            found.extend(text.windows(words.len()).any(|at| at == words.as_bytes()).then_some(path));
        }
    }
    found
}

#[tokio::test]
async fn no_server_runs_as_root() {
    for server in started().await {
        let process = procfs::process::Process::new(server.pid().unwrap().cast_signed()).unwrap();
        assert_ne!(process.status().unwrap().euid, 0, "{}", server.kind());
    }
}
