//! Files that other programs read, checked as those read them: the compose file against the Compose specification, the
//! workflows against GitHub's syntax, and what both of them say about our own command, scripts and targets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use boon::{Compiler, Schemas};
use lock_backends::backends;
use scenarios::catalog;
use serde_json::Value;

const COMPOSE: &str = include_str!("schemas/compose-spec.json");
const WORKFLOW: &str = include_str!("schemas/github-workflow.json");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// The document that a YAML text stands for, anchors and merges resolved, or why there is none under this schema.
fn document(text: &str, schema: &str) -> Result<Value, String> {
    let document: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let (mut compiler, mut schemas) = (Compiler::new(), Schemas::new());
    compiler.add_resource("schema.json", serde_json::from_str(schema).unwrap()).unwrap();
    let schema = compiler.compile("schema.json", &mut schemas).unwrap();
    schemas.validate(&document, schema).map_err(|error| format!("{error:#}"))?;
    Ok(document)
}

/// Every change by itself makes the text unreadable.
fn each_is_refused(text: &str, schema: &str, changes: &[(&str, &str)]) {
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        let refused = document(&text.replacen(from, to, 1), schema);
        assert!(refused.is_err(), "`{from}` changed into `{to}` went unnoticed");
    }
}

#[test]
fn the_compose_file_is_one_by_the_compose_specification() {
    let text = read("docker-compose.yml");
    let document = document(&text, COMPOSE).unwrap_or_else(|why| panic!("docker-compose.yml: {why}"));
    for (name, service) in document["services"].as_object().unwrap() {
        let health = &service["healthcheck"];
        // It comes with the merge; without it `docker compose up --wait` looks for the first time after 30 s.
        assert!(health["test"].is_array() && health["interval"] == "1s", "{name}: {health}");
    }
    each_is_refused(
        &text,
        COMPOSE,
        &[
            ("image: redis:7", "imge: redis:7"),
            ("\nservices:", "\nservice:"),
            ("test: [CMD, redis-cli, ping]", "test: { run: ping }"),
            ("interval: 1s", "interval: [1s]"),
            ("<<: *health", "<<: *helth"),
            ("environment:", "enviroment:"),
        ],
    );
}

/// The words of the command in the comment at the head of the compose file, without `cargo run --release --`.
fn command_of_the_comment(text: &str) -> Vec<String> {
    let comment = text.lines().take_while(|line| line.starts_with('#')).map(|line| line[1..].trim());
    let mut lines = comment.skip_while(|line| !line.starts_with("cargo run --release -- "));
    let mut command = String::new();
    loop {
        let line = lines.next().expect("the command ends before the comment");
        command += line.trim_end_matches('\\');
        if !line.ends_with('\\') {
            return command.split_whitespace().skip(4).map(str::to_owned).collect();
        }
    }
}

/// What the command line says to these words; `--help` at their end keeps it from running anything.
fn understood(words: &[String]) -> Result<(), String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockbench"));
    let output = command.args(words).arg("--help").output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8(output.stderr).unwrap()) }
}

/// `value` of `--name value`.
fn option<'a>(words: &'a [String], name: &str) -> Option<&'a str> {
    let at = words.iter().position(|word| word == name)?;
    words.get(at + 1).map(String::as_str)
}

#[test]
fn the_compose_file_serves_every_server_at_the_address_that_its_command_gives() {
    let text = read("docker-compose.yml");
    let words = command_of_the_comment(&text);
    understood(&words).unwrap();
    let misspelt: Vec<String> = words.iter().map(|word| word.replace("--etcd", "--etdc")).collect();
    assert!(understood(&misspelt).unwrap_err().contains("--etdc"), "a command that cannot be is noticed");
    assert_eq!(words[0], "run");
    catalog::load(&words[1], &[]).unwrap();

    let document = document(&text, COMPOSE).unwrap();
    let services = document["services"].as_object().unwrap();
    for server in backends::SERVERS {
        let name = server.name;
        let url = option(&words, &format!("--{name}"))
            .unwrap_or_else(|| panic!("the command in the comment has no --{name}"));
        let service = services.get(name).unwrap_or_else(|| panic!("no service {name}"));
        let published: Vec<&str> =
            service["ports"].as_array().unwrap().iter().map(|port| port.as_str().unwrap()).collect();
        // ADDRESS:PORT here, then the port in the container.
        let reached = published.iter().any(|port| {
            let here = port.rsplit_once(':').unwrap().0;
            here.starts_with("127.0.0.1:") && url.split(['/', '@', ',']).any(|part| part == here)
        });
        assert!(reached, "{name}: {url} is none of {published:?}");
    }
    let names: BTreeSet<&str> = backends::SERVERS.iter().map(|server| server.name).collect();
    let served: BTreeSet<&str> = services.keys().map(String::as_str).collect();
    assert_eq!(served, names, "services that no lock needs");
}

/// Targets of the Makefile.
fn targets() -> BTreeSet<String> {
    let makefile = read("Makefile");
    let phony = makefile.lines().find_map(|line| line.strip_prefix(".PHONY:")).unwrap();
    phony.split_whitespace().map(str::to_owned).collect()
}

/// What of these shell lines there is not: a target of the Makefile, or a script that may be run.
fn absent(run: &str) -> Vec<String> {
    let targets = targets();
    let mut absent = Vec::new();
    for line in run.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["make", asked @ ..] = &words[..] {
            absent.extend(
                asked.iter().filter(|target| !targets.contains(**target)).map(|one| (*one).to_owned()),
            );
        } else if let Some(script) = words.first().filter(|word| word.starts_with('.')) {
            let executable =
                std::fs::metadata(root().join(script)).map(|file| file.permissions().mode() & 0o111 != 0);
            absent.extend((!executable.unwrap_or(false)).then(|| (*script).to_owned()));
        }
    }
    absent
}

#[test]
fn the_workflows_are_such_by_github_s_syntax_and_run_what_there_is() {
    let mut runs = 0;
    for entry in std::fs::read_dir(root().join(".github/workflows")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let document = document(&text, WORKFLOW).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        for (name, job) in document["jobs"].as_object().unwrap() {
            for step in job["steps"].as_array().unwrap() {
                let Some(run) = step["run"].as_str() else { continue };
                assert_eq!(absent(run), Vec::<String>::new(), "{}, job {name}: {run}", path.display());
                runs += 1;
            }
        }
    }
    assert!(runs > 0);
    for script in std::fs::read_dir(root().join("scripts")).unwrap() {
        let script = script.unwrap().path();
        if script.extension().is_some_and(|ending| ending == "sh") {
            let read = Command::new("bash").arg("-n").arg(&script).status().unwrap();
            assert!(read.success(), "{}", script.display());
        }
    }
    assert_eq!(absent(&read(".ci/run")), Vec::<String>::new());
    assert_eq!(absent("make tset\n.ci/walk\nmake test"), ["tset", ".ci/walk"], "what is absent is noticed");
    each_is_refused(
        &read(".github/workflows/ci.yml"),
        WORKFLOW,
        &[
            ("runs-on:", "run-on:"),
            ("\non:", "\nonn:"),
            ("branches: [main]", "branchs: [main]"),
            ("pull_request:", "pull_requests:"),
            ("contents: read", "contents: reed"),
            ("- uses: actions/checkout@v4", "- use: actions/checkout@v4"),
            ("timeout-minutes: 40", "timeout-minutes: long"),
            ("    steps:", "    step:"),
        ],
    );
}

/// Jobs that whoever opens a pull request can have run, of a workflow.
fn of_pull_requests(document: &Value) -> Vec<(&String, &Value)> {
    let on = &document["on"];
    let opened = on.get("pull_request").is_some() || on == "pull_request";
    let jobs = document["jobs"].as_object().unwrap().iter();
    let excluded = |job: &Value| {
        let only = job["if"].as_str().unwrap_or_default();
        only.contains("github.event_name == 'push'")
    };
    jobs.filter(|(_, job)| opened && !excluded(job)).collect()
}

/// What such a job is given beyond reading: a permission, a secret.
fn given(document: &Value, job: &Value) -> Vec<String> {
    let permissions =
        if job["permissions"].is_null() { &document["permissions"] } else { &job["permissions"] };
    let mut given = Vec::new();
    match permissions.as_object() {
        Some(each) => given.extend(each.iter().filter(|(_, of)| *of != "read").map(|(name, _)| name.clone())),
        // Without a word the token may do what the repository lets it.
        None => given.push("whatever there is".to_owned()),
    }
    given.extend(job.to_string().contains("secrets.").then(|| "a secret".to_owned()));
    given
}

#[test]
fn jobs_of_pull_requests_may_read_and_hold_no_secret() {
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(root().join(".github/workflows")).unwrap() {
        let path = entry.unwrap().path();
        let document = document(&std::fs::read_to_string(&path).unwrap(), WORKFLOW).unwrap();
        assert!(
            document["on"].get("pull_request_target").is_none(),
            "{}: it runs with secrets",
            path.display()
        );
        for (name, job) in of_pull_requests(&document) {
            assert_eq!(given(&document, job), Vec::<String>::new(), "{}, job {name}", path.display());
            seen.push(name.clone());
        }
    }
    seen.sort();
    assert_eq!(seen, ["correctness", "performance", "tests"]);
    let bench = read(".github/workflows/bench.yml");
    let noticed = |from: &str, to: &str| {
        assert!(bench.contains(from), "{from}");
        let document = document(&bench.replacen(from, to, 1), WORKFLOW).unwrap();
        of_pull_requests(&document).iter().any(|(_, job)| !given(&document, job).is_empty())
    };
    assert!(noticed("contents: read", "contents: write"));
    assert!(noticed("permissions:\n  contents: read\n\n", "\n"));
    assert!(noticed("if: ${{ github.event_name == 'push' }}\n", "\n"), "the job that writes");
    assert!(noticed("BASE: ${{", "TOKEN: ${{ secrets.TOKEN }}\n          BASE: ${{"));
}

#[test]
fn the_thresholds_of_our_own_gate_are_such() {
    let file = root().join("scripts/ci-thresholds.toml");
    let thresholds = scenarios::thresholds::Thresholds::read(&file).unwrap();
    assert!(thresholds.asked.iter().all(|asked| asked.contender == "*"));
    let script = read("scripts/ci-perf.sh");
    let scenario = script.split("SCENARIO:-").nth(1).unwrap().split('}').next().unwrap();
    let spec = catalog::load(scenario, &[]).unwrap().spec;
    let named = script.split("CONTENDERS:-").nth(1).unwrap().split('}').next().unwrap();
    for contender in named.split(',') {
        assert!(spec.contenders.iter().any(|of| of.get_ref() == contender), "{contender}");
    }
}
