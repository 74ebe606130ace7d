//! What a batch stores is under the published schemas, and its report says what its histories say.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use boon::{Compiler, Schemas};
use harness::model::Events as _;
use harness::record::{Evidence, StoredHistory};
use serde_json::{Value, json};

/// What is wrong with a document under a published schema, if anything.
fn against(schema: &str, document: &Value) -> Option<String> {
    let path = format!("{}/../docs/schemas/{schema}.json", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(path).unwrap();
    let (mut compiler, mut schemas) = (Compiler::new(), Schemas::new());
    compiler.add_resource("schema.json", serde_json::from_str(&text).unwrap()).unwrap();
    let compiled = compiler.compile("schema.json", &mut schemas).unwrap();
    schemas.validate(document, compiled).err().map(|error| format!("{schema}: {error:#}"))
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// A short batch without servers.
fn batch(folder: &Path) -> PathBuf {
    let arguments = ["run", "smoke", "--duration", "1.5", "--blocks", "1", "--seed", "7"];
    Command::cargo_bin("lockbench").unwrap().current_dir(folder).args(arguments).output().unwrap();
    fs::read_dir(folder.join("out")).unwrap().next().unwrap().unwrap().path()
}

/// Exit code and words of `report --verify`, with the histories or alone.
fn verified(page: &Path, histories: Option<&Path>) -> (i32, String) {
    let mut command = Command::cargo_bin("lockbench").unwrap();
    command.args(["report", "--verify"]).arg(page);
    if let Some(folder) = histories {
        command.arg("--histories").arg(folder);
    }
    let output = command.output().unwrap();
    let told = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(told).unwrap())
}

#[test]
fn what_is_stored_is_under_the_schemas_and_a_changed_digit_is_found_wherever_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let batch = batch(folder.path());
    stored_under_the_schemas(&batch);
    the_report_is_what_the_histories_say(&batch);
    changes_are_found(&batch);
}

fn stored_under_the_schemas(batch: &Path) {
    let run = batch.join("1-ring-queue");
    let record = read(&run.join("record.json"));
    for (schema, document) in [
        ("manifest", read(&batch.join("manifest.json"))),
        ("record", record.clone()),
        ("record", read(&batch.join("1-none/record.json"))),
        ("facts", read(&run.join(Evidence::FACTS))),
    ] {
        assert_eq!(against(schema, &document), None);
    }
    let mut events = Vec::new();
    StoredHistory(run.join(Evidence::HISTORY))
        .pass(&mut |at, event| {
            if at % 50 == 0 {
                events.push(serde_json::to_value(event).unwrap());
            }
        })
        .unwrap();
    assert!(events.len() > 10 && events.iter().all(|event| against("event", event).is_none()), "{events:?}");
    let page = fs::read_to_string(batch.join("report.html")).unwrap();
    let sealed = serde_json::to_value(reports::Sealed::open(&page).unwrap()).unwrap();
    assert_eq!(against("sealed", &sealed), None);
    // Nor are they so wide that anything is.
    let changed = |change: fn(&mut Value)| {
        let mut record = record.clone();
        change(&mut record);
        against("record", &record)
    };
    assert!(changed(|record| record["tasks"]["completed"] = json!("many")).is_some());
    assert!(changed(|record| record["surplus"] = json!(1)).is_some());
    assert!(changed(|record| drop(record.as_object_mut().unwrap().remove("goodput_per_s"))).is_some());
    assert!(changed(|record| record["verdicts"][0]["verdict"] = json!("perhaps")).is_some());
}

fn the_report_is_what_the_histories_say(batch: &Path) {
    let page = batch.join("report.html");
    let (code, told) = verified(&page, None);
    assert!(code == 0 && told.contains("consistent with itself only"), "{told}");
    let (code, told) = verified(&page, Some(batch));
    assert!(
        code == 0 && told.contains("every figure and verdict of 5 runs is what the histories say"),
        "{told}"
    );
}

fn changes_are_found(batch: &Path) {
    let found = |path: &Path, change: &dyn Fn(&[u8]) -> Vec<u8>, sign: &str| {
        let whole = fs::read(path).unwrap();
        fs::write(path, change(&whole)).unwrap();
        let (code, told) = verified(&batch.join("report.html"), Some(batch));
        fs::write(path, whole).unwrap();
        assert!(code == 4 && told.contains(sign), "{sign} is not in {told}");
    };
    let replaced = |from: &'static str, to: &'static str| {
        move |bytes: &[u8]| {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            assert!(text.contains(from), "{from}");
            text.replacen(from, to, 1).into_bytes()
        }
    };
    found(&batch.join("report.html"), &replaced("<td", "<td "), "it was changed since it was written");
    let record = batch.join("1-ring-queue/record.json");
    let completed = read(&record)["tasks"]["completed"].as_u64().unwrap();
    let (from, to) = (format!("\"completed\": {completed}"), format!("\"completed\": {}", completed - 1));
    found(&record, &replaced(from.leak(), to.leak()), "ring-queue, block 1: tasks.completed is ");
    let holds = replaced("\"verdict\": \"holds\"", "\"verdict\": { \"unknown\": { \"reason\": \"\" } }");
    found(&record, &holds, "verdicts[");
    let history = batch.join("1-none/history.ndjson.zst");
    found(&history, &|bytes| [bytes, &[0]].concat(), "none, block 1: its history is another");
    found(
        &batch.join("1-none/facts.json"),
        &replaced("\"origin_ns\": ", "\"origin_ns\": 1"),
        "its facts are others",
    );
}
