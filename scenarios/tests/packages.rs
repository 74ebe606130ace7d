//! What our packages promise to those who build them: licences and the oldest Rust.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::process::Command;

use serde_json::Value;

/// Licences that ask for no more than a notice.
const LICENCES: &[&str] = &[
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--locked"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    match metadata["packages"].take() {
        Value::Array(packages) => packages,
        other => panic!("{other}"),
    }
}

/// Whether the terms can be met with licences of the list alone: one of an OR, each of an AND. In lists of old, `/` is OR.
fn is_allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    let mut words: Vec<String> = Vec::new();
    for word in expression.replace('(', " ( ").replace(')', " ) ").split_whitespace() {
        match words.last_mut() {
            Some(last) if word == "WITH" || last.ends_with(" WITH") => *last = format!("{last} {word}"),
            _ => words.push(word.to_owned()),
        }
    }
    let mut at = 0;
    let allowed = any_of(&words, &mut at);
    allowed && at == words.len()
}

fn any_of(words: &[String], at: &mut usize) -> bool {
    let mut allowed = all_of(words, at);
    while words.get(*at).is_some_and(|word| word == "OR") {
        *at += 1;
        allowed |= all_of(words, at);
    }
    allowed
}

fn all_of(words: &[String], at: &mut usize) -> bool {
    let mut allowed = one(words, at);
    while words.get(*at).is_some_and(|word| word == "AND") {
        *at += 1;
        allowed &= one(words, at);
    }
    allowed
}

fn one(words: &[String], at: &mut usize) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if word != "(" {
        return LICENCES.contains(&word.as_str());
    }
    let allowed = any_of(words, at);
    *at += 1;
    allowed && words.get(*at - 1).is_some_and(|word| word == ")")
}

#[test]
fn a_licence_is_read_as_its_words_say() {
    for allowed in ["MIT", "MIT OR GPL-3.0", "GPL-2.0/MIT", "(MIT OR Apache-2.0) AND Unicode-3.0"] {
        assert!(is_allowed(allowed), "{allowed}");
    }
    assert!(is_allowed("Apache-2.0 WITH LLVM-exception OR GPL-3.0"));
    for refused in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR Apache-2.0) AND GPL-3.0", "(MIT", "MIT WITH X"]
    {
        assert!(!is_allowed(refused), "{refused}");
    }
}

#[test]
fn every_dependency_may_be_used_for_a_notice() {
    for package in packages() {
        let licence = package["license"].as_str().unwrap_or_default();
        assert!(is_allowed(licence), "{} {}: `{licence}`", package["name"], package["version"]);
    }
}

/// One toolchain cannot build with an older one: that no dependency asks for a newer Rust than ours is what it can tell.
#[test]
fn no_dependency_asks_for_a_newer_rust_than_ours_and_this_one_is_new_enough() {
    let packages = packages();
    let ours = packages.iter().find(|package| package["name"] == "lock-backends").unwrap();
    let ours = version(ours["rust_version"].as_str().unwrap());
    for package in &packages {
        let Some(asked) = package["rust_version"].as_str() else { continue };
        assert!(version(asked) <= ours, "{} asks for Rust {asked}", package["name"]);
    }
    let output = Command::new("rustc").arg("--version").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(version(said.split_whitespace().nth(1).unwrap()) >= ours, "{said}");
}

fn version(text: &str) -> Vec<u32> {
    let numbers = text.split(['-', '+']).next().unwrap().split('.');
    let mut numbers: Vec<u32> = numbers.map(|number| number.parse().unwrap()).collect();
    numbers.resize(3, 0);
    numbers
}
