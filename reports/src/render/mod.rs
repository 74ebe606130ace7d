//! The looks of a comparison, one file each.

mod bencher;
mod csv;
mod github_bigger;
mod github_smaller;
mod hdr_log;
mod html;
mod junit;
mod markdown;
mod prometheus;

pub(crate) use csv::quoted;

use crate::{Comparison, ReportError};

/// A look: a pure function from a comparison to a text. Equal input gives equal bytes.
#[derive(Debug, Clone, Copy)]
pub struct Renderer {
    /// Its name, unique.
    pub name: &'static str,
    /// The file it fills in the batch directory, unique.
    pub file: &'static str,
    /// Makes the text.
    pub render: fn(&Comparison) -> Result<String, ReportError>,
}

/// All looks.
pub const ALL: &[Renderer] = &[
    html::RENDERER,
    markdown::RENDERER,
    csv::RENDERER,
    junit::RENDERER,
    github_bigger::RENDERER,
    github_smaller::RENDERER,
    bencher::RENDERER,
    prometheus::RENDERER,
    hdr_log::RENDERER,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::fixture;

    #[test]
    fn names_and_files_are_unique() {
        let names: BTreeSet<_> = ALL.iter().map(|renderer| renderer.name).collect();
        let files: BTreeSet<_> = ALL.iter().map(|renderer| renderer.file).collect();
        assert_eq!((names.len(), files.len()), (ALL.len(), ALL.len()));
    }

    #[test]
    fn every_file_is_registered() {
        let sources = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/render")).unwrap();
        assert_eq!(sources.count(), ALL.len() + 1, "one file per look, and mod.rs");
    }

    #[test]
    fn equal_input_gives_equal_bytes() {
        for renderer in ALL {
            let (one, two) = ((renderer.render)(&fixture::small()), (renderer.render)(&fixture::small()));
            assert_eq!(one.unwrap(), two.unwrap(), "{}", renderer.name);
        }
    }

    #[test]
    fn a_killed_batch_without_any_run_still_renders() {
        let mut killed = fixture::small();
        killed.manifest.end = None;
        killed.rows.clear();
        for renderer in ALL {
            (renderer.render)(&killed).unwrap();
        }
    }
}
