//! Who else is on the host gets into no private server that can ask for a password, and finds the password nowhere.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use harness::servers::{Finding, Server, ServerError, ServerKind, ServerOptions, Topology, find};

/// Those that are open to every user of the host: to log in at etcd, or at ZooKeeper, is a check at each request, which would
/// be measured along. Neither of them runs programs for who asks.
const OPEN: [&str; 2] = ["etcd", "zookeeper"];

/// A user and a group without an account, so that no server runs as it: `nobody` may be one's, where a package makes no account.
const STRANGER: u32 = 65_533;

/// Set in the process that asks a server as somebody else: to the product's name and the URL.
const ASKED: &str = "LOCKBENCH_TEST_ASKED";

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
            let kept_out = matches!(error, ServerError::Unreachable { .. } | ServerError::Refused { .. });
            assert!(kept_out, "{kind}: {error}");
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

/// A program with its arguments, run by a stranger.
fn by_a_stranger(program: &Path) -> Command {
    let (user, group) = (format!("--reuid={STRANGER}"), format!("--regid={STRANGER}"));
    let mut command = Command::new("setpriv");
    command.args([&user, &group, "--clear-groups", "--"]).arg(program).current_dir("/");
    command
}

/// What a stranger finds in a file, if it can read it.
fn read_by_a_stranger(path: &Path) -> Output {
    by_a_stranger(Path::new("cat")).arg(path).output().unwrap()
}

/// Those of these paths that a stranger can read or write, each told by its name.
fn open_to_a_stranger(paths: &[PathBuf]) -> Vec<PathBuf> {
    let mut find = by_a_stranger(Path::new("find"));
    let found = find.args(paths).args(["-maxdepth", "0", "(", "-readable", "-o", "-writable", ")"]).output();
    String::from_utf8(found.unwrap().stdout).unwrap().lines().map(PathBuf::from).collect()
}

/// A folder and everything in it.
fn all_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let inside = entries.flat_map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => all_in(&entry.path()),
        _ => vec![entry.path()],
    });
    std::iter::once(folder.to_owned()).chain(inside).collect()
}

/// All servers, where this process can be somebody else.
async fn before_a_stranger() -> Vec<Server> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can be somebody else");
        return Vec::new();
    }
    started().await
}

#[tokio::test]
async fn a_stranger_logs_in_only_with_the_password() {
    let servers = before_a_stranger().await;
    // Where a stranger can come.
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("ask");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let asked = |kind: ServerKind, url: &str| {
        let mut ask = by_a_stranger(&program);
        ask.args(["--exact", "this_process_asks_a_server_as_somebody_else", "--nocapture"]);
        let said = ask.env(ASKED, format!("{} {url}", kind.name())).output().unwrap();
        String::from_utf8(said.stdout).unwrap()
    };
    for server in servers.iter().filter(|server| !is_open(server)) {
        let (kind, secret) = (server.kind(), secret(server));
        for member in server.members() {
            let let_in = asked(kind, member.endpoint());
            assert!(let_in.contains("LET IN"), "{kind}, with the password: {let_in}");
            for without in ["@", ":@", ":guessed@"] {
                let refused = asked(kind, &member.endpoint().replace(&format!(":{secret}@"), without));
                assert!(refused.contains("REFUSED") && !refused.contains("LET IN"), "{kind}: {refused}");
            }
        }
    }
}

/// Passes at once, except in the process that the test above starts.
#[tokio::test]
async fn this_process_asks_a_server_as_somebody_else() {
    let Ok(asked) = std::env::var(ASKED) else { return };
    assert_eq!(nix::unistd::geteuid().as_raw(), STRANGER);
    let (kind, url) = asked.split_once(' ').unwrap();
    match Server::attach(ServerKind::named(kind), url).await {
        Ok(_) => println!("\nLET IN"),
        Err(error) => println!("\nREFUSED: {error}"),
    }
}

#[tokio::test]
async fn a_stranger_reads_no_file_of_a_server_no_environment_and_no_secret_in_a_command_line() {
    for server in before_a_stranger().await {
        let kind = server.kind();
        let known = if is_open(&server) { None } else { Some(secret(&server)) };
        let has_it = |text: &[u8]| known.is_some_and(|secret| String::from_utf8_lossy(text).contains(secret));
        for member in server.members() {
            let public = PathBuf::from("/etc/passwd");
            let mut paths = all_in(member.path());
            assert!(paths.len() > 4, "{kind}: {paths:?}");
            paths.push(public.clone());
            assert_eq!(open_to_a_stranger(&paths), [public], "{kind}");
        }
        for pid in server.pids() {
            let told = read_by_a_stranger(&PathBuf::from(format!("/proc/{pid}/cmdline")));
            assert!(!has_it(&told.stdout), "{kind}: in a command line");
            let environment = PathBuf::from(format!("/proc/{pid}/environ"));
            let read = read_by_a_stranger(&environment);
            assert!(!read.status.success() && read.stdout.is_empty(), "{kind}: {environment:?} is open");
            assert!(!has_it(&std::fs::read(environment).unwrap_or_default()), "{kind}: in the environment");
        }
        let main = read_by_a_stranger(&PathBuf::from(format!("/proc/{}/cmdline", server.pid().unwrap())));
        assert!(!main.stdout.is_empty(), "{kind}: everybody sees a command line");
    }
}
