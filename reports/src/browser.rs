//! Reports opened in a real browser, also as people with other eyes or hands have them (axe-core, beside this folder). Where there is no
//! Chromium the tests are skipped, and say so; one that is named by `CHROMIUM` must be there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use harness::record::Verdict;
use sha2::{Digest as _, Sha256};

use crate::{Comparison, fixture, render};

/// What a test asks of the page is put into a comment at its end.
const ASK: &str = "\
const told = [];
const tell = (name, value) => told.push(`${name}=${value}`);
const all = (what) => [...document.querySelectorAll(what)];
let refused = 0;
document.addEventListener('securitypolicyviolation', () => { refused += 1; });
addEventListener('error', () => { refused += 1; });
addEventListener('load', async () => {
  await ask();
  tell('requests', performance.getEntriesByType('resource').length);
  tell('refused', refused);
  tell('wide', document.documentElement.scrollWidth - innerWidth);
  document.body.append(document.createComment(`TOLD ${told.join(' | ')} `));
});
";

/// The browser: `CHROMIUM`, or whichever is on the path.
fn chromium() -> Option<PathBuf> {
    let named = std::env::var_os("CHROMIUM").filter(|name| !name.is_empty()).map(PathBuf::from);
    assert!(named.as_ref().is_none_or(|path| path.is_file()), "CHROMIUM is no file: {named:?}");
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let of = |name: &str| {
        std::env::split_paths(&paths).map(|folder| folder.join(name)).find(|path| path.is_file())
    };
    let found = named.or_else(|| ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(of));
    if found.is_none() {
        eprintln!("skipped: no chromium on the path (apt-get install chromium, or CHROMIUM=PATH)");
    }
    found
}

/// How a page is looked at.
#[derive(Debug, Clone, Copy)]
struct Window {
    size: &'static str,
    dark: bool,
}

const WIDE: Window = Window { size: "1280,900", dark: false };
/// No window of Chromium is narrower.
const NARROW: Window = Window { size: "500,900", dark: false };
const DARK: Window = Window { size: "1280,900", dark: true };

/// What a page answers to a script; `None` where there is no browser.
fn asked(comparison: &Comparison, window: Window, ask: &str) -> Option<Vec<(String, String)>> {
    asked_with("", comparison, window, ask)
}

/// The same with a library that the script may use.
fn asked_with(
    library: &str,
    comparison: &Comparison,
    window: Window,
    ask: &str,
) -> Option<Vec<(String, String)>> {
    let browser = chromium()?;
    let html = render::ALL.iter().find(|look| look.name == "html").unwrap();
    let page = (html.render)(comparison).unwrap();
    let script = format!("{library}\n{ASK}\nasync function ask() {{\n{ask}\n}}\n");
    let digest = BASE64_STANDARD.encode(Sha256::digest(&script));
    // The page lets no script in but its own, so it has to be told of this one.
    let page = page.replacen("script-src '", &format!("script-src 'sha256-{digest}' '"), 1);
    let page = page.replacen("<style>", &format!("<script>{script}</script>\n<style>"), 1);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.html");
    fs::write(&path, page).unwrap();
    let (dom, errors) = opened(&browser, folder.path(), &path, window);
    let comment = dom.rsplit("TOLD ").next().filter(|_| dom.contains("<!--TOLD "));
    let told = comment.unwrap_or_else(|| panic!("the page has not answered: {errors}"));
    let told = told.split(" -->").next().unwrap().split(" | ");
    assert!(!errors.contains("CONSOLE"), "{errors}");
    Some(told.map(|line| line.split_once('=').unwrap()).map(|(a, b)| (a.to_owned(), b.to_owned())).collect())
}

fn opened(browser: &Path, folder: &Path, page: &Path, window: Window) -> (String, String) {
    let output = Command::new("timeout")
        .arg("120")
        .arg(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--hide-scrollbars",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
        ])
        .args(["--enable-logging=stderr", "--dump-dom", "--virtual-time-budget=5000"])
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .arg(format!("--window-size={}", window.size))
        .args(window.dark.then_some("--blink-settings=preferredColorScheme=0"))
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

fn answer<'a>(told: &'a [(String, String)], name: &str) -> &'a str {
    let found = told.iter().find(|(known, _)| known == name);
    &found.unwrap_or_else(|| panic!("{name} was not told: {told:?}")).1
}

#[test]
fn a_report_reads_toggles_sorts_and_asks_the_network_for_nothing() {
    let ask = "
  tell('verdict', document.querySelector('#found .badge').textContent.trim());
  const before = all('#matrix tbody tr').filter((row) => !row.hidden).length;
  const button = all('#contenders button').find((one) => one.textContent.includes('redis-naive'));
  const look = button.parentElement.dataset.k;
  button.click();
  tell('pressed', button.getAttribute('aria-pressed'));
  tell('gone', before - all('#matrix tbody tr').filter((row) => !row.hidden).length);
  tell('drawn', all(`svg .${look}`).filter((one) => one.style.display !== 'none').length);
  button.click();
  tell('back', all(`svg .${look}`).filter((one) => one.style.display !== 'none').length > 0);
  const head = all('#matrix thead th')[0];
  head.querySelector('button').click();
  tell('sorted', head.getAttribute('aria-sort'));
  tell('first', all('#matrix tbody tr:not(.label) th')[0].textContent);
  const reached = all('a[href], button, summary, [tabindex=\"0\"]').filter((one) => one.tabIndex === 0);
  reached.forEach((one) => one.focus());
  tell('focus', document.activeElement === reached.at(-1));
  const dot = document.querySelector('#tail .chart svg polyline[class^=k]').getBoundingClientRect();
  const svg = document.querySelector('#tail .chart svg');
  svg.dispatchEvent(new PointerEvent('pointermove', { clientX: dot.left, clientY: dot.bottom, bubbles: true }));
  tell('tip', document.querySelector('.tip').textContent.trim());
";
    let Some(told) = asked(&fixture::rich(), WIDE, ask) else { return };
    let of = |name| answer(&told, name);
    assert!(of("verdict").ends_with("3 exclusion broken"), "{told:?}");
    assert_eq!((of("pressed"), of("gone"), of("drawn"), of("back")), ("false", "1", "0", "true"), "{told:?}");
    assert_eq!((of("sorted"), of("first")), ("ascending", "etcd-queue"), "{told:?}");
    assert_eq!((of("focus"), of("requests"), of("refused")), ("true", "0", "0"), "{told:?}");
    assert!(of("tip").contains('·') && of("tip").contains("50"), "{told:?}");
}

/// Every kind of report that somebody may have to read.
fn kinds() -> Vec<(&'static str, Comparison)> {
    let long: &'static str = "a-name-of-two-hundred-letters-".repeat(7).leak();
    let hostile = fixture::named(&["<script>alert(1)</script>", long, "\u{202e}right-to-left\u{5d0}"], 2);
    let twenty: Vec<&'static str> = (0..20).map(|n| &*format!("contender-{n}").leak()).collect();
    let mut failed = fixture::small();
    for run in failed.rows.iter_mut().flat_map(|row| &mut row.records) {
        run.invalid.push("the machine was too busy".to_owned());
        for answer in &mut run.verdicts {
            answer.verdict = Verdict::Unknown { reason: "too few".to_owned() };
        }
    }
    vec![
        ("hostile", hostile),
        ("twenty", fixture::named(&twenty, 1)),
        ("one", fixture::named(&["ring-queue"], 1)),
        ("brief", fixture::brief()),
        ("failed", Comparison::new(failed.manifest.clone(), failed.records().cloned().collect())),
        ("overtaken", fixture::overtaken()),
        ("probed", fixture::probed()),
    ]
}

/// Asks axe-core, which looks for what keeps people with other eyes or hands out.
const ASK_AXE: &str = "
  const found = await axe.run(document, { resultTypes: ['violations'] });
  tell('axe', found.violations.map((one) => `${one.id}: ${one.nodes.map((n) => n.target).slice(0, 3).join(' ')}`).join('; '));
  tell('rules', found.passes.length);
  tell('cards', getComputedStyle(document.querySelector('#matrix td')).display);
";

fn axe() -> String {
    let packed: &[u8] = include_bytes!("../axe-core/axe.min.js.zst");
    String::from_utf8(zstd::decode_all(packed).unwrap()).unwrap()
}

#[test]
fn every_kind_of_report_fits_a_narrow_window_and_keeps_nobody_out() {
    let axe = axe();
    for (name, comparison) in kinds() {
        for window in [NARROW, DARK] {
            let Some(told) = asked_with(&axe, &comparison, window, ASK_AXE) else { return };
            let of = |what| answer(&told, what);
            assert_eq!((of("axe"), of("requests"), of("refused")), ("", "0", "0"), "{name}, {window:?}");
            assert!(of("rules").parse::<u32>().unwrap() > 20, "{name}: {told:?}");
            let cards = if window.size == NARROW.size { "grid" } else { "table-cell" };
            assert_eq!((of("cards"), of("wide")), (cards, "0"), "{name}, {window:?}: {told:?}");
        }
    }
}

#[test]
fn what_keeps_people_out_is_found() {
    let ask = format!("document.documentElement.removeAttribute('lang');\n{ASK_AXE}");
    let Some(told) = asked_with(&axe(), &fixture::small(), WIDE, &ask) else { return };
    assert!(answer(&told, "axe").contains("html-has-lang"), "{told:?}");
}

/// Writes every kind of report into a folder, for people who want to look at them:
/// `REPORTS_KEEP=DIR cargo test -p reports pages_to_look_at`.
#[test]
fn pages_to_look_at() {
    let Some(folder) = std::env::var_os("REPORTS_KEEP").map(PathBuf::from) else { return };
    let folder = folder.join("pages");
    fs::create_dir_all(&folder).unwrap();
    let html = render::ALL.iter().find(|look| look.name == "html").unwrap();
    for (name, comparison) in kinds().into_iter().chain([("rich", fixture::rich())]) {
        fs::write(folder.join(format!("{name}.html")), (html.render)(&comparison).unwrap()).unwrap();
    }
}
