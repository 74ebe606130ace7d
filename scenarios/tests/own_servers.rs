//! A server that already runs, from the command line, the environment or a scenario file to the record.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use harness::record::RunRecord;
use harness::servers::{Authority, Finding, Server, ServerKind, ServerOptions, find};

const PASSWORD_VARIABLE: &str = "OWN_SERVER_PASSWORD";

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_in(&path) } else { vec![path] }).collect()
}

/// A short run of one lock on a scenario, in a folder of its own.
fn run(folder: &Path, scenario: &str, words: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lockbench"))
        .args(["run", scenario, "--blocks", "1", "--duration", "1", "--set", "warm_up_s=0.0"])
        .args(["--set", r#"contenders=["redis-fenced"]"#, "--out", "out"])
        .args(words)
        .envs(variables.iter().copied())
        .env("RUST_LOG", "trace")
        .current_dir(folder)
        .output()
        .unwrap()
}

fn record(folder: &Path) -> RunRecord {
    let files = files_in(&folder.join("out"));
    let record = files.iter().find(|path| path.ends_with("record.json")).expect("a record");
    serde_json::from_str(&std::fs::read_to_string(record).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_over_tls_is_used_as_the_command_line_or_the_scenario_says_and_no_secret_is_told() {
    let redis = ServerKind::named("redis");
    if let Finding::Missing { remedy } = find(redis) {
        assert!(std::env::var_os("CI").is_none(), "Redis is missing in CI: {remedy}");
        return eprintln!("skipped: {remedy}");
    }
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::create(folder.path(), "authority").unwrap();
    let options = ServerOptions { tls: Some(authority.tls().unwrap()), ..ServerOptions::default() };
    let server = Server::start(redis, &options).await.unwrap();
    let url = server.endpoint().split_once('?').unwrap().0;
    let (password, place) = url.strip_prefix("rediss://:").unwrap().split_once('@').unwrap();
    let ca = authority.ca().display().to_string();

    let by_environment = folder.path().join("by-environment");
    std::fs::create_dir(&by_environment).unwrap();
    let variables = [("LOCKBENCH_REDIS", url), ("LOCKBENCH_REDIS_CA", &ca)];
    let told = run(&by_environment, "smoke", &[], &variables);
    assert_eq!(told.status.code(), Some(4), "no controls, so nothing is proven: {told:?}");

    let by_file = folder.path().join("by-file");
    std::fs::create_dir(&by_file).unwrap();
    let (_, smoke) = scenarios::catalog::ALL.iter().find(|(name, _)| *name == "smoke").unwrap();
    let table = format!(
        "{smoke}\n[servers.redis]\nurl = \"rediss://{place}\"\npassword_env = \"{PASSWORD_VARIABLE}\"\nca = \"{ca}\"\n"
    );
    std::fs::write(by_file.join("own.toml"), table).unwrap();
    let told_by_file = run(&by_file, "own.toml", &[], &[(PASSWORD_VARIABLE, password)]);
    assert_eq!(told_by_file.status.code(), Some(4), "{told_by_file:?}");

    for (folder, told) in [(&by_environment, told), (&by_file, told_by_file)] {
        let server = record(folder).server.unwrap();
        assert_eq!(server.settings["tls"], "certificate and host checked");
        assert!(server.origin.contains("already running at rediss://"), "{}", server.origin);
        std::fs::write(folder.join("told"), [told.stdout, told.stderr].concat()).unwrap();
        for file in files_in(folder) {
            let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
            assert!(!text.contains(password), "{} has the password", file.display());
        }
    }

    // Without the authority it is refused before anything runs, with what to do.
    let stranger = folder.path().join("stranger");
    std::fs::create_dir(&stranger).unwrap();
    let refused = run(&stranger, "smoke", &[], &[("LOCKBENCH_REDIS", url)]);
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{error}");
    assert!(error.contains("ssl-ca") && !error.contains(password), "{error}");
    assert!(!stranger.join("out").exists());
    server.stop().await.unwrap();
}
