//! What else is on the machine: another lockbench, and disks that fill up.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};

use harness::record::{Manifest, RunRecord};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn batch(folder: &Path) -> (Manifest, Vec<RunRecord>) {
    let directory = std::fs::read_dir(folder.join("out")).unwrap().next().unwrap().unwrap().path();
    let manifest = serde_json::from_slice(&std::fs::read(directory.join("manifest.json")).unwrap()).unwrap();
    let runs = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path().join("record.json"));
    let records = runs.filter(|path| path.exists()).map(|path| std::fs::read(path).unwrap());
    (manifest, records.map(|bytes| serde_json::from_slice(&bytes).unwrap()).collect())
}

const SHORT: [&str; 10] = [
    "run",
    "smoke",
    "--blocks",
    "1",
    "--duration",
    "1",
    "--set",
    "contenders=[\"noop\",\"ring-local\"]",
    "--seed",
    "5",
];

#[test]
fn another_lockbench_is_named_before_the_run_and_in_its_record() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut other = Command::new(env!("CARGO_BIN_EXE_lockbench"))
        .args(["run", "smoke", "--duration", "600", "--seed", "7"])
        .current_dir(theirs.path())
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(other.stderr.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_lockbench")).args(SHORT).current_dir(ours.path()).output().unwrap();
    kill(Pid::from_raw(other.id().cast_signed()), Signal::SIGTERM).unwrap();
    lines.read_to_string(&mut line).unwrap();
    other.wait().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    let named = |text: &str| {
        text.contains(&format!("another lockbench runs on this machine (process {}", other.id()))
            && text.contains("run smoke --duration 600")
    };
    assert!(named(&told), "{told}");
    let (manifest, records) = batch(ours.path());
    assert!(manifest.threats.iter().any(|threat| named(threat)), "{:?}", manifest.threats);
    assert!(!records.is_empty());
    for record in records {
        assert!(record.warnings.iter().any(|warning| named(warning)), "{:?}", record.warnings);
    }
}

/// Runs in a file system of so many MiB, into which `filling` is written while it runs. `None` where nobody may mount one.
fn on_a_small_disk(
    mib: u32,
    duration: &str,
    filling: &str,
) -> Option<(Option<i32>, String, Manifest, Vec<RunRecord>)> {
    let folder = tempfile::tempdir().unwrap();
    let (program, place) = (env!("CARGO_BIN_EXE_lockbench"), folder.path().display());
    let contenders = "contenders=[\"noop\",\"ring-local\"]";
    let script = format!(
        "mount -t tmpfs -o size={mib}m tmpfs {place} || exit 99; cd {place}; mkdir out; {filling}\n\
         {program} run smoke --duration {duration} --set '{contenders}' --seed 5; status=$?; umask 0\n\
         mkdir -p $KEPT && cp -r out $KEPT; exit $status"
    );
    let kept = tempfile::tempdir().unwrap();
    let user = if nix::unistd::geteuid().is_root() { "-m" } else { "-Urm" };
    let output =
        Command::new("unshare").args([user, "sh", "-c", &script]).env("KEPT", kept.path()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() == Some(99) || told.contains("unshare failed") {
        eprintln!("skipped: no file system can be mounted here: {told}");
        return None;
    }
    let (manifest, records) = batch(kept.path());
    Some((output.status.code(), told, manifest, records))
}

#[test]
fn on_a_full_disk_no_run_begins_and_the_batch_proves_nothing() {
    let Some((code, told, manifest, records)) = on_a_small_disk(200, "1", "") else { return };
    assert_eq!(code, Some(4), "{told}");
    assert_eq!(records.len(), 0, "{told}");
    assert_eq!(manifest.failed.len(), 2, "{:?}", manifest.failed);
    assert!(
        manifest.failed.iter().all(|failed| failed.reason.contains("is nearly full")),
        "{:?}",
        manifest.failed
    );
    assert!(told.contains("MiB free"), "{told}");
}

#[test]
fn a_disk_that_fills_up_ends_the_run_invalid_and_its_record_is_kept() {
    // The second run is the one that lasts.
    let filling = "(while ! ls out/*/manifest.json >/dev/null 2>&1; do sleep 0.1; done; sleep 3; \
                   dd if=/dev/zero of=fills bs=1M count=100 2>/dev/null) &";
    let Some((code, told, _, records)) = on_a_small_disk(340, "60", filling) else { return };
    assert_eq!(code, Some(4), "{told}");
    let [record] = &records[..] else { panic!("{} records: {told}", records.len()) };
    assert!(
        record.invalid.iter().any(|reason| reason.contains("cut short: the disk of")),
        "{:?}",
        record.invalid
    );
}

#[test]
fn a_machine_that_is_another_one_in_the_middle_makes_the_run_invalid() {
    let here = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let processors: Vec<usize> =
        (0..CpuSet::count()).filter(|of| here.is_set(*of).unwrap_or(false)).collect();
    let [first, _, ..] = processors[..] else {
        eprintln!("skipped: one processor cannot be taken away");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut running = Command::new(env!("CARGO_BIN_EXE_lockbench"))
        .args([
            "run",
            "smoke",
            "--blocks",
            "1",
            "--duration",
            "4",
            "--set",
            "contenders=[\"noop\",\"none\"]",
            "--seed",
            "5",
        ])
        .current_dir(folder.path())
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // What it says at the end of the first run comes well before the end of the second.
    let mut lines = BufReader::new(running.stderr.take().unwrap());
    let mut told = String::new();
    while !told.contains("tasks/s") {
        assert!(lines.read_line(&mut told).unwrap() > 0, "{told}");
    }
    std::thread::spawn(move || lines.read_to_string(&mut String::new()));
    let mut one = CpuSet::new();
    one.set(first).unwrap();
    let second = std::time::Duration::from_secs(2);
    std::sync::mpsc::channel::<()>().1.recv_timeout(second).unwrap_err();
    sched_setaffinity(Pid::from_raw(running.id().cast_signed()), &one).unwrap();
    assert_eq!(running.wait().unwrap().code(), Some(4), "{told}");
    let (_, records) = batch(folder.path());
    let changed = |record: &RunRecord| {
        record
            .invalid
            .iter()
            .any(|reason| reason.contains("the processors that this process may use changed from"))
    };
    assert_eq!(records.iter().filter(|record| changed(record)).count(), 1, "the second run alone");
}
