//! A server that already runs, from the command line, the environment or a scenario file to the record: over TLS, and its password
//! stays a secret.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use harness::record::RunRecord;
use harness::servers::{Authority, Finding, Server, ServerKind, ServerOptions, find};

const PASSWORD_VARIABLE: &str = "OWN_SERVER_PASSWORD";

/// Of an account that a test makes, where a private server has none.
const PASSWORD: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_in(&path) } else { vec![path] }).collect()
}

/// What a run told, all of it, and how it ended.
struct Told {
    code: Option<i32>,
    text: String,
}

/// A short run of one lock on a scenario, in a folder of its own, with a process for each node. Meanwhile no command line of the
/// machine has the secret.
async fn run(folder: &Path, lock: &str, scenario: &str, variables: &[(&str, &str)], secret: &str) -> Told {
    let told = std::fs::File::create(folder.join("told")).unwrap();
    let mut lockbench = Command::new(env!("CARGO_BIN_EXE_lockbench"))
        .args(["run", scenario, "--blocks", "1", "--duration", "1", "--placement", "process"])
        // A machine with much to do is slow for everybody.
        .args(["--bystander-bound", "off"])
        // The first handshakes of a JVM that has just begun take longer than a short session lives.
        .args([
            "--detect",
            "12000",
            "--set",
            "warm_up_s=0.0",
            "--set",
            &format!("contenders=[{lock:?}]"),
            "--out",
            "out",
        ])
        .envs(variables.iter().copied())
        .env("RUST_LOG", "trace")
        .current_dir(folder)
        .stdout(Stdio::from(told.try_clone().unwrap()))
        .stderr(Stdio::from(told))
        .spawn()
        .unwrap();
    let code = loop {
        for process in procfs::process::all_processes().unwrap().flatten() {
            let line = process.cmdline().unwrap_or_default().join(" ");
            assert!(!line.contains(secret), "a command line has the password");
        }
        if let Some(status) = lockbench.try_wait().unwrap() {
            break status.code();
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    Told { code, text: String::from_utf8_lossy(&std::fs::read(folder.join("told")).unwrap()).into_owned() }
}

fn record(folder: &Path) -> RunRecord {
    let files = files_in(&folder.join("out"));
    let record = files.iter().find(|path| path.ends_with("record.json"));
    let told = || {
        let text = std::fs::read(folder.join("told")).unwrap();
        String::from_utf8_lossy(&text[text.len().saturating_sub(3000)..]).into_owned()
    };
    let record = record.unwrap_or_else(|| panic!("no record: {}", told()));
    serde_json::from_str(&std::fs::read_to_string(record).unwrap()).unwrap()
}

/// The URL with its login, and the password in it; where a private server has no account, one is made.
async fn login(server: &Server) -> (String, String) {
    let url = server.endpoint().split_once('?').map_or(server.endpoint(), |(url, _)| url).to_owned();
    if let Some((login, _)) = url.rsplit_once('@') {
        return (url.clone(), login.rsplit_once(':').unwrap().1.to_owned());
    }
    let (scheme, place) = url.split_once("://").unwrap();
    if server.kind().name() == "etcd" {
        use etcd_client::{Certificate, Client, ConnectOptions, TlsOptions};
        let ca = harness::servers::TlsFiles::of(server.endpoint()).ca.unwrap();
        let tls = TlsOptions::new().ca_certificate(Certificate::from_pem(std::fs::read(ca).unwrap()));
        let mut client = Client::connect([&*url], Some(ConnectOptions::new().with_tls(tls))).await.unwrap();
        client.user_add("root", PASSWORD, None).await.unwrap();
        client.role_add("root").await.unwrap();
        client.user_grant_role("root", "root").await.unwrap();
        client.auth_enable().await.unwrap();
    }
    // At ZooKeeper whoever logs in by digest is known by that.
    (format!("{scheme}://root:{PASSWORD}@{place}"), PASSWORD.to_owned())
}

/// A run by the environment, one by a scenario file, and one that is refused: none tells the password, in output, log, record, page
/// or command line.
async fn keeps_the_secret(name: &str, lock: &str) {
    let kind = ServerKind::named(name);
    if let Finding::Missing { remedy } = find(kind) {
        assert!(std::env::var_os("CI").is_none(), "{name} is missing in CI: {remedy}");
        return eprintln!("skipped: {remedy}");
    }
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::create(folder.path(), "authority").unwrap();
    let options = ServerOptions { tls: Some(authority.tls().unwrap()), ..ServerOptions::default() };
    let server = Server::start(kind, &options).await.unwrap();
    let (url, password) = login(&server).await;
    let ca = authority.ca().display().to_string();
    let of = |what: &str| format!("LOCKBENCH_{}{what}", name.to_uppercase());
    let [own, own_ca] = [of(""), of("_CA")];

    let [by_environment, by_file, stranger] = ["by-environment", "by-file", "stranger"].map(|name| {
        let folder = folder.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        folder
    });
    let told = run(&by_environment, lock, "smoke", &[(&own, &url), (&own_ca, &ca)], &password).await;
    assert_eq!(told.code, Some(4), "no controls, so nothing is proven: {}", told.text);

    let (_, smoke) = scenarios::catalog::ALL.iter().find(|(name, _)| *name == "smoke").unwrap();
    let without = url.replace(&format!(":{password}@"), "@").replace("://@", "://");
    let table = format!(
        "{smoke}\n[servers.{name}]\nurl = \"{without}\"\npassword_env = \"{PASSWORD_VARIABLE}\"\nca = \"{ca}\"\n"
    );
    std::fs::write(by_file.join("own.toml"), table).unwrap();
    let told = run(&by_file, lock, "own.toml", &[(PASSWORD_VARIABLE, &password)], &password).await;
    assert_eq!(told.code, Some(4), "{}", told.text);

    for folder in [&by_environment, &by_file] {
        let server = record(folder).server.unwrap();
        assert_eq!(server.settings["tls"], "certificate and host checked");
        assert!(server.origin.contains("already running at "), "{}", server.origin);
    }

    // Another authority's certificate: refused before anything runs, with what to do.
    let other = Authority::create(folder.path(), "other").unwrap().ca().display().to_string();
    let told = run(&stranger, lock, "smoke", &[(&own, &url), (&own_ca, &other)], &password).await;
    assert_eq!(told.code, Some(2), "{}", told.text);
    assert!(told.text.contains("ssl-ca"), "{}", told.text);
    assert!(!stranger.join("out").exists());

    for file in files_in(folder.path()) {
        let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
        assert!(!text.contains(&password), "{} has the password", file.display());
    }
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_over_tls_is_used_as_the_command_line_or_the_scenario_says_and_no_secret_is_told() {
    keeps_the_secret("redis", "redis-fenced").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_over_tls_is_used_as_the_command_line_or_the_scenario_says_and_no_secret_is_told() {
    keeps_the_secret("postgres", "pg-lease").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_over_tls_is_used_as_the_command_line_or_the_scenario_says_and_no_secret_is_told() {
    keeps_the_secret("etcd", "etcd-cas").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zookeeper_over_tls_is_used_as_the_command_line_or_the_scenario_says_and_no_secret_is_told() {
    keeps_the_secret("zookeeper", "zk-seq").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mariadb_over_tls_is_used_as_the_command_line_or_the_scenario_says_and_no_secret_is_told() {
    keeps_the_secret("mariadb", "mysql-lease").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nats_over_tls_is_used_as_the_command_line_or_the_scenario_says_and_no_secret_is_told() {
    keeps_the_secret("nats", "nats-kv").await;
}
