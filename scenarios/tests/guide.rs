//! The guide and the pages beside it, as their readers use them: links lead somewhere, commands are understood, plans can be made of them, and
//! those that are short are run.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};
use scenarios::requirements::Requirements;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// What stands on a page.
#[derive(Default)]
struct Page {
    links: Vec<String>,
    /// As a link names them: GitHub and mdBook agree on it.
    anchors: BTreeSet<String>,
    /// The word behind the marks, and what is between them.
    blocks: Vec<(String, String)>,
    titles: usize,
}

fn read(path: &Path) -> Page {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut page = Page::default();
    let (mut heading, mut block) = (None::<String>, None::<(String, String)>);
    for event in Parser::new_ext(&text, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                page.links.push(dest_url.into_string());
            }
            Event::Start(Tag::Heading { level, .. }) => {
                page.titles += usize::from(level == HeadingLevel::H1);
                heading = Some(String::new());
            }
            Event::End(TagEnd::Heading(_)) => {
                let kept = |c: char| c.is_alphanumeric() || c == '-' || c == '_' || c == ' ';
                let words = heading.take().unwrap().to_lowercase();
                page.anchors.insert(words.chars().filter(|c| kept(*c)).collect::<String>().replace(' ', "-"));
            }
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
                block = Some((info.into_string(), String::new()));
            }
            Event::End(TagEnd::CodeBlock) => page.blocks.extend(block.take()),
            Event::Text(text) | Event::Code(text) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&text);
                }
                if let Some((_, block)) = &mut block {
                    block.push_str(&text);
                }
            }
            _ => {}
        }
    }
    page
}

fn markdown(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(markdown(&path));
        } else if path.extension().is_some_and(|ending| ending == "md") {
            all.push(path);
        }
    }
    all.sort();
    all
}

/// Where a link of a page leads nowhere, and why.
fn dead(page: &Path, link: &str) -> Option<String> {
    if link.contains("://") {
        return None;
    }
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let path = match file {
        "" => page.to_owned(),
        file => page.parent().unwrap().join(file),
    };
    if !path.exists() {
        return Some(format!("{}: {link}: there is no such file", page.display()));
    }
    let found = anchor.is_empty() || read(&path).anchors.contains(anchor);
    (!found).then(|| format!("{}: {link}: there is no such heading", page.display()))
}

#[test]
fn every_link_leads_somewhere_and_every_page_of_the_book_is_in_its_summary() {
    let docs = root().join("docs");
    let pages: Vec<PathBuf> = markdown(&docs)
        .into_iter()
        .chain(["README.md", "ARCHITECTURE.md"].map(|name| root().join(name)))
        .collect();
    let dead_links: Vec<String> = pages
        .iter()
        .flat_map(|page| read(page).links.into_iter().filter_map(|link| dead(page, &link)))
        .collect();
    assert_eq!(dead_links, Vec::<String>::new());
    let summary = docs.join("SUMMARY.md");
    assert!(dead(&summary, "guide/nowhere.md").is_some(), "a dead link is noticed");
    assert!(dead(&summary, "findings.md#nowhere").is_some(), "a dead anchor, too");
    let listed: BTreeSet<PathBuf> = read(&summary).links.iter().map(|link| docs.join(link)).collect();
    let there: BTreeSet<PathBuf> = markdown(&docs).into_iter().filter(|page| *page != summary).collect();
    assert_eq!(listed, there);
    for page in there {
        assert_eq!(read(&page).titles, 1, "{}: a page has one title", page.display());
    }
}

/// The commands of a page, and whether each is run here.
fn commands(page: &Path) -> Vec<(String, bool)> {
    let mut all = Vec::new();
    for (info, text) in read(page).blocks {
        let mut words = info.split(',');
        if words.next() != Some("sh") {
            continue;
        }
        let run = words.any(|word| word == "run");
        let own = |line: &&str| line.starts_with("lockbench ");
        all.extend(text.lines().filter(own).map(|line| (line.to_owned(), run)));
    }
    all
}

fn shell(folder: &Path, line: &str) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_lockbench")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    Command::new("bash").args(["-c", line]).env("PATH", path).current_dir(folder).output().unwrap()
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What would run, told without running it: by `explain`, which draws the plan. `None`: nothing is planned.
fn planned(line: &str) -> Option<String> {
    let (verb, rest) = line.strip_prefix("lockbench ")?.split_once(' ')?;
    // A batch of somebody's own is not here.
    if rest.contains("--resume") || rest.contains("://") || rest.contains("--with") || rest.contains("out/") {
        return None;
    }
    let mut kept = rest.to_owned();
    for option in ["--budget", "--limit", "--requirements"] {
        if let Some((before, after)) = kept.clone().split_once(option) {
            let after = after.trim_start().split_once(' ').map_or("", |(_, after)| after);
            kept = format!("{before}{after}");
        }
    }
    let kept = kept.replace("--until-decided", "");
    match verb {
        "run" | "capacity" | "review" | "calibrate" | "explain" => {
            Some(seeded(format!("lockbench explain {kept}")))
        }
        "matrix" => Some(format!("lockbench matrix --list {}", kept.replace("--list", ""))),
        _ => None,
    }
}

/// Of one in some hundred seeds a plan is refused, since it would load a resource too much.
fn seeded(command: String) -> String {
    if command.contains("--seed") { command } else { command + " --seed 7" }
}

#[test]
fn every_command_of_the_guide_is_understood_and_those_that_are_short_run() {
    let mut seen = (0, 0, 0);
    for page in markdown(&root().join("docs/guide")) {
        let folder = tempfile::tempdir().unwrap();
        for (info, text) in read(&page).blocks {
            if let Some((_, name)) = info.split_once("file=") {
                let path = folder.path().join(name);
                fs::write(&path, text).unwrap();
                Requirements::read(&path).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
            }
        }
        // The scenario that a page talks of before it makes one.
        let made =
            commands(&page).iter().any(|(line, run)| *run && line.starts_with("lockbench init mine.toml"));
        if !made {
            shell(folder.path(), "lockbench init mine.toml --nodes 3");
        }
        let mut all = commands(&page);
        // What is made comes before what it is used in, wherever it stands.
        all.sort_by_key(|(_, run)| !run);
        for (line, run) in all {
            let place = format!("{}: {line}", page.display());
            seen.0 += 1;
            let understood = shell(folder.path(), &format!("{} --help", line.split(" > ").next().unwrap()));
            assert!(understood.status.success(), "{place}\n{}", told(&understood));
            if run {
                let output = shell(folder.path(), &line);
                // A machine with other work may be too busy for a valid run, and a page of it says so.
                assert!(matches!(output.status.code(), Some(0 | 4)), "{place}\n{}", told(&output));
                seen.1 += 1;
            } else if let Some(plan) = planned(&line) {
                let output = shell(folder.path(), &plan);
                assert!(output.status.success(), "{place}\n{plan}\n{}", told(&output));
                seen.2 += 1;
            }
        }
    }
    let (all, run, planned) = seen;
    assert!(all > 40 && run >= 10 && planned > 20, "{seen:?}");
    let folder = tempfile::tempdir().unwrap();
    let misspelt = shell(folder.path(), "lockbench run smoke --contender redis --help");
    assert!(!misspelt.status.success(), "a command that cannot be is noticed");
}

/// Commands of all other pages: those of README and docs begin with `lockbench` or as one runs it from a checkout.
#[test]
fn every_command_of_the_other_pages_is_understood() {
    let folder = tempfile::tempdir().unwrap();
    let pages = markdown(&root().join("docs"))
        .into_iter()
        .filter(|page| !page.starts_with(root().join("docs/guide")));
    let mut lines = BTreeSet::new();
    for page in pages.chain([root().join("README.md")]) {
        for (_, text) in read(&page).blocks {
            for line in text.lines() {
                let own =
                    line.strip_prefix("cargo run --release -- ").or_else(|| line.strip_prefix("lockbench "));
                // What follows a mark is said to people; what stands in angles is to be filled in.
                let own = own.map(|words| words.split(" # ").next().unwrap().trim());
                lines.extend(
                    own.filter(|words| !words.contains('…')).map(|words| words.replace(['<', '>'], "")),
                );
            }
        }
    }
    assert!(lines.len() > 40, "{lines:?}");
    for line in lines {
        // Behind two dashes it would be for another command.
        let (own, theirs) = line.split_once(" -- ").unwrap_or((&line, ""));
        let understood = shell(folder.path(), &format!("lockbench {own} --help -- {theirs}"));
        assert!(understood.status.success(), "{line}\n{}", told(&understood));
    }
}

/// Built as a book where mdBook is, which takes too long to build for every run: links and structure are looked at above either way.
#[test]
fn the_book_is_built_where_mdbook_is() {
    let Ok(version) = Command::new("mdbook").arg("--version").output() else {
        eprintln!("skipped: no mdbook on the path (cargo install mdbook --locked)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let built = Command::new("mdbook")
        .args(["build", "docs", "--dest-dir"])
        .arg(folder.path())
        .current_dir(root())
        .output()
        .unwrap();
    assert!(built.status.success(), "{version:?}\n{}", told(&built));
    assert!(folder.path().join("guide/choose-a-mechanism.html").is_file());
}
