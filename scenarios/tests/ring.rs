//! `lockbench ring` as a shell meets it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;

use assert_cmd::Command;

/// Exit code, standard output, standard error.
fn ring(arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut command = Command::cargo_bin("lockbench").unwrap();
    let output = command.arg("ring").args(arguments).write_stdin(input).output().unwrap();
    let [out, error] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    (output.status.code().unwrap(), out, error)
}

#[test]
fn every_recorded_lookup_of_the_original_comes_out_the_same() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/ring/zstack-compat.tsv");
    let Ok(table) = std::fs::read_to_string(&file) else {
        println!("skipped: the recorded look-ups are not on this machine");
        return;
    };
    let mut by_ring: BTreeMap<&str, (String, String)> = BTreeMap::new();
    for line in table.lines().skip(1) {
        let (nodes, row) = line.split_once('\t').unwrap();
        let (keys, rows) = by_ring.entry(nodes).or_default();
        *keys += &format!("{}\n", row.split_once('\t').unwrap().0);
        *rows += &format!("{row}\n");
    }
    assert!(by_ring.len() > 1);
    for (nodes, (keys, rows)) in by_ring {
        let (code, out, _) = ring(&["--hash", "zstack-compat", "--nodes", nodes], &keys);
        assert_eq!((code, out), (0, rows), "{nodes}");
    }
}

#[test]
fn standard_output_has_the_keys_alone_and_standard_error_the_rest() {
    let nodes = "10.0.0.1,10.0.0.2";
    let keys = ["932763162d054c04adaab6ab498c9139", "0f6bed5d416c42a89900433a15f24657"];
    let (code, out, error) = ring(
        &["--hash", "zstack-compat", "--nodes", nodes, "--join", "10.0.0.3", keys[0], keys[1]],
        "unread\n",
    );
    assert_eq!(code, 0, "{error}");
    assert_eq!(
        out,
        format!("{}\t1210020614\t10.0.0.2\n{}\t535417509\t10.0.0.2\n", keys[0], keys[1]),
        "{error}"
    );
    // The arithmetic of the reference: 23.6 / 76.4 % become 23.6 / 56.2 / 20.2 %.
    assert!(
        error.contains("largest of 2 nodes: 10.0.0.2 with 76.4 % of the ring, 1.53 of the fair share"),
        "{error}"
    );
    assert!(error.contains("moves 0 of 2 keys (20.2 % of the ring; fair would be 33.3 %)"), "{error}");
    assert!(error.contains("after it, largest of 3 nodes: 10.0.0.2 with 56.2 %"), "{error}");
}

#[test]
fn a_join_moves_keys_to_the_joiner_alone_and_each_is_named() {
    let keys: String = (0..300).map(|key| format!("vm-{key}\n")).collect();
    let before = ring(&["--nodes", "a,b,c"], &keys).1;
    let after = ring(&["--nodes", "a,b,c,d"], &keys).1;
    let (_, out, error) = ring(&["--nodes", "a,b,c", "--join", "d"], &keys);
    assert_eq!(out, before);
    let columns = |text: &str| -> Vec<(String, String)> {
        let cut = |line: &str| line.split('\t').map(str::to_owned).collect::<Vec<_>>();
        text.lines().map(cut).map(|row| (row[0].clone(), row[2].clone())).collect()
    };
    let moved: Vec<String> = columns(&before)
        .into_iter()
        .zip(columns(&after))
        .filter(|((_, from), (_, to))| from != to)
        .map(|((key, from), (_, to))| {
            assert_eq!(to, "d");
            format!("moves: {key} from {from} to d")
        })
        .collect();
    assert!((30..150).contains(&moved.len()), "{} of 300 keys, a quarter is fair", moved.len());
    assert!(error.lines().filter(|line| line.starts_with("moves: ")).eq(&moved), "{error}");
    assert!(error.contains(&format!("join of d: moves {} of 300 keys", moved.len())), "{error}");
}

#[test]
fn keys_come_from_standard_input_too() {
    let (_, from_arguments, _) = ring(&["--nodes", "a,b", "vm-1", "vm-2", "vm-3"], "");
    assert_eq!(from_arguments.lines().count(), 3);
    assert_eq!(ring(&["--nodes", "a,b"], "vm-1\r\nvm-2\n\nvm-3").1, from_arguments);
    assert_eq!(ring(&["--nodes", "a,b", "vm-1", "-", "vm-3"], "vm-2\n").1, from_arguments);
    let (code, out, error) = ring(&["--nodes", "a,b"], "");
    assert_eq!((code, out.as_str()), (0, ""));
    assert!(error.contains("of the fair share"), "{error}");
}

#[test]
fn bad_input_is_named_with_its_remedy() {
    for (arguments, input, message) in [
        (&["vm-1"][..], "", "--nodes"),
        (&["--nodes", "a", "--hash", "md5"], "", "zstack-compat"),
        (&["--nodes", "a,,b"], "", "--nodes: a node has no name"),
        (&["--nodes", "a,b,a"], "", "a and a are one node"),
        (&["--nodes", "a,b", "--join", "b"], "", "--join: b and b are one node"),
        (&["--nodes", "a,b"], "vm-1\nvm\t2\n", "standard input, line 2: a tab"),
        (&["--nodes", "a,b", "--jion", "c"], "", "--join"),
    ] {
        let (code, out, error) = ring(arguments, input);
        assert_eq!(code, 2, "{arguments:?}: {error}");
        assert!(error.contains(message), "{arguments:?}: {error}");
        assert!(out.lines().all(|line| line.split('\t').count() == 3), "{out}");
    }
}

#[test]
fn a_reader_that_leaves_early_ends_it_quietly() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    // More than a pipe holds, so that it is still writing when the reader leaves.
    std::fs::write(&keys, (0..200_000).map(|key| format!("vm-{key}\n")).collect::<String>()).unwrap();
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("lockbench"))
        .args(["ring", "--nodes", "a,b"])
        .stdin(std::fs::File::open(keys).unwrap())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with("vm-0\t"), "{first}");
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}
