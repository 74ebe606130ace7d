//! Every batch of a folder on one page, the newest first.

use std::path::Path;

use askama::Template;

use crate::chart::palette;
use crate::side::batches_in;
use crate::table::{Cell, Mark};
use crate::{Comparison, ReportError, callers, format, load};

#[derive(Template)]
#[template(path = "index.html")]
struct Page {
    folder: String,
    overview: String,
    colours: String,
    style: &'static str,
    entries: Vec<Entry>,
}

/// A batch.
struct Entry {
    /// Where its page is, from the folder.
    link: String,
    scenario: String,
    started: String,
    machine: String,
    commit: String,
    contenders: String,
    standing: Cell,
    exit: Cell,
}

/// The page of all batches in a folder, or one level below; `None` where there are none.
///
/// # Errors
/// When the folder cannot be read. A batch that cannot is on the page, with the reason.
pub(crate) fn index(folder: &Path) -> Result<Option<String>, ReportError> {
    let mut batches: Vec<_> = batches_in(folder)?.into_iter().map(|path| (load(&path), path)).collect();
    if batches.is_empty() {
        return Ok(None);
    }
    let began =
        |of: &Result<Comparison, ReportError>| of.as_ref().ok().map(|of| of.manifest.started_utc.clone());
    batches.sort_by_cached_key(|(of, path)| std::cmp::Reverse((began(of), path.clone())));
    let entries: Vec<Entry> = batches
        .iter()
        .map(|(of, path)| {
            let inner = path.strip_prefix(folder).unwrap_or(path);
            match of {
                Ok(comparison) => Entry::of(comparison, inner),
                Err(error) => Entry::unreadable(&error.to_string(), inner),
            }
        })
        .collect();
    let name =
        folder.canonicalize().ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let page = Page {
        folder: name.unwrap_or_else(|| folder.display().to_string()),
        overview: format!(
            "{}, the newest first.",
            format::plural(entries.len() as u64, "batch").replace("batchs", "batches")
        ),
        colours: palette::css(),
        style: include_str!("../templates/report.css"),
        entries,
    };
    let page = page.render();
    page.map(Some).map_err(|error| ReportError::Render { renderer: "index", reason: error.to_string() })
}

impl Entry {
    fn of(comparison: &Comparison, inner: &Path) -> Self {
        let (manifest, conclusion) = (&comparison.manifest, comparison.conclusion());
        let names: Vec<&str> = comparison.contenders().map(|row| row.contender.as_str()).collect();
        let exit = match conclusion.exit_code {
            0 => Cell::marked(Mark::Good, "0"),
            code => Cell::marked(Mark::Bad, code.to_string())
                .noted(conclusion.reasons.first().cloned().unwrap_or_default()),
        };
        Self {
            link: link(inner),
            scenario: callers::title(comparison),
            started: format::utc(&manifest.started_utc),
            machine: manifest.machine.class(),
            commit: manifest.commit.clone().unwrap_or_else(|| format::MISSING.to_owned()),
            contenders: names.join(", "),
            standing: conclusion.standing.into(),
            exit,
        }
    }

    fn unreadable(why: &str, inner: &Path) -> Self {
        let missing = || format::MISSING.to_owned();
        Self {
            link: link(inner),
            scenario: inner.display().to_string(),
            started: missing(),
            machine: missing(),
            commit: missing(),
            contenders: missing(),
            standing: Cell::marked(Mark::Doubt, "cannot be read").noted(why),
            exit: Cell::text(missing()),
        }
    }
}

/// The page of a batch as a relative URL.
fn link(inner: &Path) -> String {
    let mut link = String::new();
    for byte in inner.to_string_lossy().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                link.push(char::from(byte))
            }
            _ => link.push_str(&format!("%{byte:02X}")),
        }
    }
    // Whatever a folder is called, it is no scheme.
    format!("./{link}/report.html")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::fixture;

    #[test]
    fn an_index_links_every_batch_and_says_which_cannot_be_read() {
        let runs = tempfile::tempdir().unwrap();
        assert!(index(runs.path()).unwrap().is_none());
        for name in ["one/first", "a <b> \"c\""] {
            let folder = runs.path().join(name);
            fs::create_dir_all(&folder).unwrap();
            fixture::store(&fixture::small(), &folder);
        }
        let odd = runs.path().join("odd");
        fs::create_dir(&odd).unwrap();
        fs::write(odd.join("manifest.json"), "{").unwrap();
        let files = crate::write_all(runs.path()).unwrap();
        assert_eq!(files, [runs.path().join("index.html")]);
        let page = fs::read_to_string(&files[0]).unwrap();
        assert!(
            page.contains("href=\"./one/first/report.html\"")
                && page.contains("3 batches, the newest first.")
        );
        assert!(page.contains("href=\"./a%20%3Cb%3E%20%22c%22/report.html\"") && !page.contains("<b>"));
        assert!(page.contains("cannot be read") && page.contains("3 exclusion broken"));
    }
}
