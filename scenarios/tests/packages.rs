//! What our packages promise to those who build them: licences, the oldest Rust, and that two of them can be used alone.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
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
    // Of data, Mozilla's list of authorities: asks for its own text to go along, as the others do.
    "CDLA-Permissive-2.0",
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

/// One toolchain cannot build with an older one: that no dependency asks for a newer Rust than ours is what it can tell. That we
/// use nothing newer of the standard library is clippy's `incompatible_msrv`, which the workspace denies.
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

/// The crates that others may use without the bench.
const ALONE: &[&str] = &["lock-backends", "queue-lockfree"];

/// As `cargo package` makes it, unpacked where no workspace is around it.
fn packaged(name: &str, folder: &Path) -> PathBuf {
    let target = folder.join("target");
    let output = Command::new(env!("CARGO"))
        .args(["package", "--allow-dirty", "--no-verify", "--offline", "--locked", "--package", name])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    let name = format!("{name}-{}", env!("CARGO_PKG_VERSION"));
    let packed = target.join("package").join(format!("{name}.crate"));
    let unpacked = Command::new("tar").arg("-xzf").arg(packed).arg("-C").arg(folder).status().unwrap();
    assert!(unpacked.success(), "{name}");
    folder.join(name)
}

/// Files below a folder, as paths from there.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_owned());
            }
        }
    }
    found
}

/// `cargo package` itself builds what it has packed, all dependencies anew: too long for each change, so this looks at
/// what such a build would miss.
#[test]
fn a_package_holds_its_sources_and_asks_the_registry_alone() {
    for name in ALONE {
        let folder = tempfile::tempdir().unwrap();
        let package = packaged(name, folder.path());
        let packed = files(&package);
        for file in ["README.md", "LICENSE-APACHE", "LICENSE-MIT", "Cargo.toml", "Cargo.lock"] {
            assert!(packed.contains(Path::new(file)), "{name}: {file} is not packed");
        }
        let sources = files(&Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(name).join("src"));
        for source in sources {
            assert!(packed.contains(&Path::new("src").join(&source)), "{name}: {source:?} is not packed");
        }
        let strange = packed.iter().find(|file| file.starts_with("tests") || file.starts_with("benches"));
        assert_eq!(strange, None, "{name}: it needs the servers of `harness`, which is not published");
        for file in packed.iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs")) {
            for included in included(&fs::read_to_string(package.join(file)).unwrap()) {
                let path = package.join(file.parent().unwrap()).join(&included);
                assert!(path.exists(), "{name}: {file:?} includes {included}, which is not packed");
            }
        }
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--offline", "--locked", "--all-features"])
            .current_dir(&package)
            .output()
            .unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
        for dependency in metadata["packages"].as_array().unwrap() {
            let from = dependency["source"].as_str().unwrap_or_default();
            let is_itself = dependency["name"] == *name;
            assert!(
                is_itself || from.starts_with("registry+"),
                "{name}: {} from {from:?}",
                dependency["name"]
            );
        }
    }
}

/// The files that a source takes in by `include_str!`, from its own folder.
fn included(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (_, rest) in
        source.match_indices("include_str!(\"").map(|(at, call)| source.split_at(at + call.len()))
    {
        found.extend(rest.split_once('"').map(|(path, _)| path.to_owned()));
    }
    found
}
