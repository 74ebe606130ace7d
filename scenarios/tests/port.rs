//! Programs that take part, as a user meets them: beside our own locks in both placements, cut off with an error that says why when they
//! misbehave, and caught when they lie.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use harness::record::{Manifest, RunRecord, Verdict};
use harness::servers::{Finding, ServerKind, find};
use tempfile::TempDir;

const LOCKBENCH: &str = env!("CARGO_BIN_EXE_lockbench");

/// A folder that any account can read, since programs of others are not run as root.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    folder
}

/// Whether Redis is here.
fn has_redis() -> bool {
    match find(ServerKind::named("redis")) {
        Finding::Found { .. } => true,
        Finding::Missing { remedy } => {
            assert!(std::env::var_os("CI").is_none(), "missing in CI: {remedy}");
            eprintln!("skipped: {remedy}");
            false
        }
    }
}

/// A contender on redis-queue that has a flaw, or none.
fn contender(below: &Path, name: &str, flaw: Option<&str>) -> PathBuf {
    let folder = below.join(name);
    std::fs::create_dir(&folder).unwrap();
    let program = folder.join("lockbench");
    // Where an account that may do nothing can run it.
    std::fs::copy(LOCKBENCH, &program).unwrap();
    std::fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let flaw = flaw.map(|flaw| format!(", \"--flaw\", \"{flaw}\"")).unwrap_or_default();
    let promises = "token = true\nlevels = true\nmany = true\nwaits = true\nlease = true\nfair = true\nreports_loss = true\ncounts = true";
    let text = format!(
        "name = \"{name}\"\nsummary = \"s\"\nserver = \"redis\"\ncommand = [\"./lockbench\", \"port\", \"serve\", \"redis-queue\"{flaw}]\n[promises]\n{promises}\n"
    );
    std::fs::write(folder.join("contender.toml"), text).unwrap();
    folder
}

/// A contender that is a shell script.
fn script(below: &Path, name: &str, script: &str) -> PathBuf {
    let folder = below.join(name);
    std::fs::create_dir(&folder).unwrap();
    let text = format!(
        "name = \"{name}\"\nsummary = \"s\"\ncommand = [\"sh\", \"client.sh\"]\n[promises]\nwaits = true\n"
    );
    std::fs::write(folder.join("contender.toml"), text).unwrap();
    std::fs::write(folder.join("client.sh"), script).unwrap();
    folder
}

/// `lockbench run`, and its batch.
struct Batch {
    folder: PathBuf,
    told: String,
}

impl Batch {
    fn run(below: &Path, arguments: &[&str]) -> Self {
        let output = lockbench(below, arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let folder = std::fs::read_dir(below.join("out")).expect(&told).next().unwrap().unwrap().path();
        Self { folder, told }
    }

    fn record(&self, name: &str) -> RunRecord {
        let record = std::fs::read(self.folder.join(format!("1-{name}/record.json"))).expect(&self.told);
        serde_json::from_slice(&record).unwrap()
    }

    fn manifest(&self) -> Manifest {
        serde_json::from_slice(&std::fs::read(self.folder.join("manifest.json")).unwrap()).unwrap()
    }
}

fn lockbench(below: &Path, arguments: &[&str]) -> Output {
    Command::new(LOCKBENCH).args(arguments).current_dir(below).output().unwrap()
}

const SHORT: &[&str] = &["--blocks", "1", "--duration", "2", "--seed", "5", "--set", "warm_up_s=0.0"];

fn violated(record: &RunRecord) -> Vec<&str> {
    let violated = record.verdicts.iter().filter(|one| matches!(one.verdict, Verdict::Violated { .. }));
    violated.map(|one| one.check.as_str()).collect()
}

#[test]
fn a_program_takes_part_beside_ours_in_both_placements() {
    if !has_redis() {
        return;
    }
    for placement in ["single", "process"] {
        let folder = folder();
        let own = contender(folder.path(), "own", None);
        let arguments = ["run", "smoke", "--placement", placement, "--contenders", "redis-queue"];
        let with = ["--with", own.to_str().unwrap(), "--with", "redis-fenced"];
        let batch = Batch::run(folder.path(), &[&arguments[..], &with, SHORT].concat());
        for name in ["redis-queue", "own", "redis-fenced-port"] {
            let record = batch.record(name);
            assert_eq!(violated(&record), [""; 0], "{placement} {name}\n{}", batch.told);
            let tasks = record.tasks;
            assert!(
                tasks.completed * 10 > tasks.planned * 9,
                "{placement} {name}: {tasks:?}\n{}",
                batch.told
            );
            assert!(record.server.is_some() && record.grants > 0, "{name}");
            // One script call takes 64 locks at most.
            assert!(record.load_operations() >= Some(record.grants / 64), "{name}: {:?}", record.operations);
        }
        let echo = batch.record("port-echo");
        assert_eq!(echo.role, harness::record::Role::Control);
        assert!(echo.tasks.completed > 0, "{:?}", echo.tasks);
        // What it costs is said beside whoever speaks over it.
        let manifest = batch.manifest();
        let said = manifest.threats.iter().find(|threat| threat.contains("over the port")).unwrap();
        assert!(
            said.contains("own") && said.contains("redis-fenced-port") && said.contains("loopback"),
            "{said}"
        );
        assert!(manifest.contenders.iter().any(|name| name == "own"));
        // What it was made of; of ours the version says that.
        let programs: Vec<_> =
            manifest.programs.iter().map(|(name, digest)| (&**name, digest.len())).collect();
        assert_eq!(programs, [("own", 16)]);
        assert!(batch.folder.join("logs/own-0.log").is_file());
    }
}

#[test]
fn a_program_that_misbehaves_costs_its_own_rows_with_an_error_that_quotes_it() {
    let folder = folder();
    let hello = r#"echo '{"type":"hello","version":1,"capabilities":{"waits":true}}'"#;
    // What each does at its first request, and what is said of it.
    let scripts = [
        ("ends", format!("{hello}; read line; echo a last word >&2; exit 3"), "a last word"),
        ("nonsense", format!("{hello}; read line; echo what?; sleep 60"), "`what?`"),
        (
            "unasked",
            format!("{hello}; read line; echo '{{\"type\":\"released\",\"id\":99}}'; sleep 60"),
            "\"id\":99",
        ),
        ("hangs", format!("{hello}; cat > /dev/null"), "did not answer by the deadline"),
        // Its first answer comes when nobody waits for it any more, and is taken and given back.
        (
            "late",
            format!("{hello}; read line; sleep 9; echo '{{\"type\":\"granted\",\"id\":1}}'; cat > /dev/null"),
            "did not answer by the deadline",
        ),
        ("mute", "read line; sleep 60".to_owned(), "hello"),
        ("promises", hello.replace("true", "false") + "; sleep 60", "waits = false"),
        ("other", hello.replace("\"version\":1", "\"version\":7") + "; sleep 60", "version 7"),
        ("absent", "exit 5".to_owned(), "exit status: 5"),
    ];
    let mut arguments = vec!["run", "smoke", "--contenders", "local-mutex"];
    let folders: Vec<_> = scripts.iter().map(|(name, text, _)| script(folder.path(), name, text)).collect();
    for folder in &folders {
        arguments.extend(["--with", folder.to_str().unwrap()]);
    }
    arguments.extend(SHORT);
    let batch = Batch::run(folder.path(), &arguments);
    for (name, _, quoted) in &scripts {
        let failed = batch.manifest().failed.into_iter().find(|failed| failed.contender == *name);
        let told = match failed {
            Some(failed) => failed.reason,
            // It began, and broke off.
            None => {
                let record = batch.record(name);
                assert_eq!(record.tasks.completed, 0, "{name}");
                record.warnings.join("\n")
            }
        };
        assert!(told.contains(quoted), "{name}: {quoted} is not in {told}\n{}", batch.told);
    }
    // Whoever takes it up has to name them again.
    let again = ["run", "--resume", batch.folder.to_str().unwrap()];
    let told = lockbench(folder.path(), &again);
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.contains("name it again with --with"), "{told}");
    let ours = batch.record("local-mutex").tasks;
    assert!(ours.completed > 0 && ours.failed == 0, "{ours:?}");
}

#[test]
fn the_suite_for_authors_passes_an_honest_program_and_names_the_lies_of_others() {
    if !has_redis() {
        return;
    }
    let folder = folder();
    for (name, flaw, broken) in [
        ("honest", None, None),
        ("grants", Some("grants-twice"), Some("a held key is granted to nobody else")),
        ("forgets", Some("forgets-release"), Some("a held key is granted to nobody else")),
        ("lies", Some("lies-about-loss"), Some("a release of what was lost is no release")),
        ("twice", Some("answers-twice"), Some("a held key is granted to nobody else")),
    ] {
        let program = contender(folder.path(), name, flaw);
        let output = lockbench(folder.path(), &["port", "test", program.to_str().unwrap()]);
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        match broken {
            None => {
                assert_eq!(output.status.code(), Some(0), "{told}{errors}");
                assert!(
                    told.contains(
                        "shown:        counts, fair, lease, levels, many, reports_loss, token, waits"
                    ),
                    "{told}"
                );
                assert!(told.contains("not promised: shared"), "{told}");
            }
            Some(clause) => {
                assert_eq!(output.status.code(), Some(3), "{name}: {told}{errors}");
                let line = told.lines().position(|line| line.starts_with("BROKEN") && line.contains(clause));
                let line = line.unwrap_or_else(|| panic!("{name}: {told}"));
                let rest: Vec<&str> = told.lines().skip(line + 1).take(3).collect();
                assert!(rest[0].contains("expected:") && rest[1].contains("came:"), "{rest:?}");
            }
        }
    }
}

#[test]
fn programs_that_lie_are_caught_by_a_run() {
    if !has_redis() {
        return;
    }
    let folder = folder();
    let grants = contender(folder.path(), "grants", Some("grants-twice"));
    let forgets = contender(folder.path(), "forgets", Some("forgets-release"));
    // Leases of 2 s, so that a key that is not given back is missed well before the tasks' deadlines of 10 s.
    let arguments = ["run", "hot-key", "--contenders", "redis-queue", "--detect", "2000"];
    let with = ["--with", grants.to_str().unwrap(), "--with", forgets.to_str().unwrap()];
    let batch = Batch::run(folder.path(), &[&arguments[..], &with, SHORT].concat());
    assert_eq!(violated(&batch.record("redis-queue")), [""; 0], "{}", batch.told);
    assert!(violated(&batch.record("grants")).contains(&"exclusion"), "{}", batch.told);
    let forgetful = batch.record("forgets");
    assert!(violated(&forgetful).contains(&"progress"), "{:?}\n{}", forgetful.verdicts, batch.told);
}

#[test]
fn a_program_that_lies_about_its_loss_is_caught_by_a_run() {
    if !has_redis() {
        return;
    }
    let folder = folder();
    let lies = contender(folder.path(), "lies", Some("lies-about-loss"));
    let arguments = ["run", "holder-pause", "--contenders", "redis-queue", "--with", lies.to_str().unwrap()];
    let settings = [
        "--blocks",
        "1",
        "--duration",
        "12",
        "--detect",
        "400",
        "--set",
        "faults=[{ verb = \"pause\", target = \"holder\", every_s = 1.0, for_ms = 1000.0 }]",
        "--rate",
        "40",
        "--seed",
        "5",
        "--set",
        "least_faults=2",
        "--set",
        "warm_up_s=0.0",
    ];
    let batch = Batch::run(folder.path(), &[&arguments[..], &settings].concat());
    assert!(violated(&batch.record("lies")).contains(&"release-safety"), "{}", batch.told);
    assert!(!violated(&batch.record("redis-queue")).contains(&"release-safety"), "{}", batch.told);
}

#[test]
fn a_program_has_no_secret_but_its_server_s_and_is_not_root() {
    let folder = folder();
    let script_text = "env >&2; id -u >&2; exit 1";
    let spy = script(folder.path(), "spy", script_text);
    let text = std::fs::read_to_string(spy.join("contender.toml")).unwrap();
    if has_redis() {
        std::fs::write(spy.join("contender.toml"), text.replace("command", "server = \"redis\"\ncommand"))
            .unwrap();
    }
    let arguments = [
        "run",
        "smoke",
        "--placement",
        "process",
        "--contenders",
        "ring-queue",
        "--with",
        spy.to_str().unwrap(),
    ];
    let batch = Batch::run(folder.path(), &[&arguments[..], SHORT].concat());
    // The first to end stops the others, and that is not always node 0: theirs may say nothing yet.
    let log_of = |node: u32| std::fs::read_to_string(batch.folder.join(format!("logs/spy-{node}.log")));
    let says_all = |log: &String| log.lines().last().is_some_and(|line| line.parse::<u32>().is_ok());
    let said = (0..3).find_map(|node| Some((node, log_of(node).ok().filter(says_all)?)));
    let (node, log) = said.expect(&batch.told);
    let named = log.contains(&format!("LOCKBENCH_NODE=node-{node}"));
    assert!(log.contains("LOCKBENCH_ENDPOINT=") && named, "{log}");
    assert!(!log.contains("LOCKBENCH_SECRET") && !log.contains("CARGO"), "{log}");
    assert!(!log.lines().any(|line| line == "0"), "it runs as root: {log}");
}

#[test]
fn whoever_takes_part_is_a_folder_or_a_lock_and_has_nobody_else_s_name() {
    let folder = folder();
    let taken = script(folder.path(), "noop", "exit 1");
    let output = lockbench(folder.path(), &["run", "smoke", "--with", taken.to_str().unwrap()]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && told.contains("another contender is called `noop`"), "{told}");
    let output = lockbench(folder.path(), &["run", "smoke", "--with", "no-such-lock"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && told.contains("contender.toml"), "{told}");
    let output = lockbench(folder.path(), &["run", "smoke", "--with", "local-mutex"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && told.contains("memory of one process"), "{told}");
}

/// The processes that run a program below this folder.
fn programs(below: &Path) -> Vec<u32> {
    let below = below.to_str().unwrap();
    let runs = |pid: &u32| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/environ")).unwrap_or_default();
        let folder = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
        line.contains("LOCKBENCH_PORT=1") && folder.to_str().unwrap().starts_with(below)
    };
    let all = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    all.filter(runs).collect()
}

fn eventually(what: &str, happened: impl Fn() -> bool) {
    for _ in 0..3_000 {
        if happened() {
            return;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(10));
    }
    panic!("did not happen in time: {what}");
}

#[test]
fn no_program_outlives_lockbench_in_either_placement() {
    let hello = r#"echo '{"type":"hello","version":1,"capabilities":{"waits":true}}'"#;
    for placement in ["single", "process"] {
        let folder = folder();
        // It does not notice that nobody speaks to it any more.
        let stays = script(folder.path(), "stays", &format!("{hello}; exec sleep 600"));
        let mut driver = Command::new(LOCKBENCH)
            .args(["run", "smoke", "--placement", placement, "--contenders", "ring-queue", "--with"])
            .arg(&stays)
            .args(SHORT)
            .current_dir(folder.path())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        eventually("three programs run", || programs(&stays).len() >= 3);
        driver.kill().unwrap();
        driver.wait().unwrap();
        eventually("no program is left", || programs(&stays).is_empty());
    }
}
