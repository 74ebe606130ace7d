//! The scenarios that come with lockbench: one file each in `catalog/`.

use std::borrow::Cow;
use std::path::Path;

use crate::spec::{Grid, Scenario, SpecError, did_you_mean};

/// Names and texts, in the order in which they are listed.
pub const ALL: &[(&str, &str)] = &[
    ("smoke", include_str!("../catalog/smoke.toml")),
    ("vm-lifecycle", include_str!("../catalog/vm-lifecycle.toml")),
    ("capacity-spread", include_str!("../catalog/capacity-spread.toml")),
    ("capacity-hot", include_str!("../catalog/capacity-hot.toml")),
    ("capacity-zipf", include_str!("../catalog/capacity-zipf.toml")),
    ("hot-key", include_str!("../catalog/hot-key.toml")),
    ("virtual-router", include_str!("../catalog/virtual-router.toml")),
    ("thundering-1000", include_str!("../catalog/thundering-1000.toml")),
    ("holder-pause", include_str!("../catalog/holder-pause.toml")),
    ("holder-kill", include_str!("../catalog/holder-kill.toml")),
    ("leader-kill", include_str!("../catalog/leader-kill.toml")),
    ("leader-pause", include_str!("../catalog/leader-pause.toml")),
    ("owner-pause", include_str!("../catalog/owner-pause.toml")),
    ("owner-kill", include_str!("../catalog/owner-kill.toml")),
    ("ring-join", include_str!("../catalog/ring-join.toml")),
    ("ring-leave", include_str!("../catalog/ring-leave.toml")),
    ("rings-differ", include_str!("../catalog/rings-differ.toml")),
];

/// Finds a scenario by its name in the catalogue, or by the path of a file.
///
/// # Errors
/// When there is neither, the file cannot be read, or the scenario is not valid.
pub fn load(name: &str, settings: &[(String, String)]) -> Result<Scenario, SpecError> {
    let (origin, text) = find(name)?;
    Scenario::parse(&origin, &text, settings)
}

/// The same where fields may be lists of values to sweep.
///
/// # Errors
/// As [`load`].
pub fn load_grid(name: &str, settings: &[(String, String)]) -> Result<Grid, SpecError> {
    let (origin, text) = find(name)?;
    Grid::parse(&origin, &text, settings)
}

/// Where a scenario is, and its text.
fn find(name: &str) -> Result<(String, Cow<'static, str>), SpecError> {
    if let Some((name, text)) = ALL.iter().find(|(listed, _)| *listed == name) {
        return Ok((format!("catalog/{name}.toml"), Cow::Borrowed(text)));
    }
    let wrong = |what: String| SpecError { place: name.to_owned(), what };
    if Path::new(name).extension().is_none_or(|extension| extension != "toml") {
        let names: Vec<_> = ALL.iter().map(|(name, _)| *name).collect();
        return Err(wrong(format!(
            "unknown scenario{}; there are {}, or give the path of a .toml file",
            did_you_mean(name, names.iter().copied()),
            names.join(", ")
        )));
    }
    let text =
        std::fs::read_to_string(name).map_err(|error| wrong(format!("cannot read the scenario: {error}")))?;
    Ok((name.to_owned(), Cow::Owned(text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload;

    #[test]
    fn every_file_of_the_catalogue_is_listed_and_valid() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("catalog");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        files.sort();
        let mut listed: Vec<_> = ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
        listed.sort();
        assert_eq!(files, listed);
        for (name, _) in ALL {
            let scenario = load(name, &[]).unwrap();
            assert_eq!(scenario.spec.name, *name);
            workload::draw(&scenario, 1).unwrap();
        }
    }
}
