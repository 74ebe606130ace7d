//! The scenarios that come with lockbench: one file each in `catalog/`.

use std::borrow::Cow;
use std::path::Path;

use crate::spec::{Grid, KnownSpec, Scenario, SpecError, did_you_mean};

/// Names and texts, in the order in which they are listed.
pub const ALL: &[(&str, &str)] = &[
    ("smoke", include_str!("../catalog/smoke.toml")),
    ("vm-lifecycle", include_str!("../catalog/vm-lifecycle.toml")),
    ("capacity-spread", include_str!("../catalog/capacity-spread.toml")),
    ("capacity-hot", include_str!("../catalog/capacity-hot.toml")),
    ("capacity-zipf", include_str!("../catalog/capacity-zipf.toml")),
    ("hot-key", include_str!("../catalog/hot-key.toml")),
    ("virtual-router", include_str!("../catalog/virtual-router.toml")),
    ("transfer", include_str!("../catalog/transfer.toml")),
    ("transfer-mirror", include_str!("../catalog/transfer-mirror.toml")),
    ("scheduled-job", include_str!("../catalog/scheduled-job.toml")),
    ("waiting-100000", include_str!("../catalog/waiting-100000.toml")),
    ("held-10000", include_str!("../catalog/held-10000.toml")),
    ("leases-end", include_str!("../catalog/leases-end.toml")),
    ("late-answer", include_str!("../catalog/late-answer.toml")),
    ("shared-pool", include_str!("../catalog/shared-pool.toml")),
    ("connections-full", include_str!("../catalog/connections-full.toml")),
    ("thundering-1000", include_str!("../catalog/thundering-1000.toml")),
    ("holder-pause", include_str!("../catalog/holder-pause.toml")),
    ("holder-stall", include_str!("../catalog/holder-stall.toml")),
    ("holder-kill", include_str!("../catalog/holder-kill.toml")),
    ("holder-cut", include_str!("../catalog/holder-cut.toml")),
    ("server-kill", include_str!("../catalog/server-kill.toml")),
    ("server-pause", include_str!("../catalog/server-pause.toml")),
    ("waiter-cut", include_str!("../catalog/waiter-cut.toml")),
    ("promotion", include_str!("../catalog/promotion.toml")),
    ("clock-jump", include_str!("../catalog/clock-jump.toml")),
    ("leader-kill", include_str!("../catalog/leader-kill.toml")),
    ("leader-pause", include_str!("../catalog/leader-pause.toml")),
    ("owner-pause", include_str!("../catalog/owner-pause.toml")),
    ("owner-kill", include_str!("../catalog/owner-kill.toml")),
    ("owner-cut", include_str!("../catalog/owner-cut.toml")),
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

/// What `--set` would say to have a scenario in its short form.
///
/// # Errors
/// As [`load_grid`], and where it has none.
pub fn small(name: &str) -> Result<Vec<(String, String)>, SpecError> {
    let (origin, text) = find(name)?;
    let grid = Grid::parse(&origin, &text, &[])?;
    let none = || SpecError {
        place: origin.clone(),
        what: "it has no short form: say under `[small]` what of it is other there, or leave --small out"
            .to_owned(),
    };
    grid.cells[0].spec.small_settings().ok_or_else(none)
}

/// Every known failure that the catalogue shows, with the name of its scenario.
///
/// # Errors
/// When a scenario is not valid.
pub fn known() -> Result<Vec<(&'static str, KnownSpec)>, SpecError> {
    let mut all = Vec::new();
    for (name, _) in ALL {
        all.extend(load(name, &[])?.spec.known.into_iter().map(|known| (*name, known)));
    }
    Ok(all)
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

    #[test]
    fn every_scenario_has_a_short_form_and_draws_what_must_take_effect_whatever_the_seed() {
        for (name, _) in ALL {
            let short = small(name).unwrap();
            let full = load(name, &[]).unwrap();
            let short = load(name, &short).unwrap();
            let work = |scenario: &Scenario| {
                let tasks = workload::draw(scenario, 1).unwrap().tasks.len();
                (tasks as u64) * u64::from(scenario.spec.blocks)
            };
            assert!(work(&short) < work(&full), "{name}");
            assert!(short.spec.takes_s() <= 40.0 || short.spec.duration_s.is_none(), "{name}");
            for scenario in [&full, &short] {
                let seeds = if work(scenario) > 20_000 { 1 } else { 40 };
                // Some seeds give a key more load than there may be, and are refused for that.
                for plan in (0..seeds).filter_map(|seed| workload::draw(scenario, seed).ok()) {
                    workload::enough_faults(scenario, &plan, |_| true).unwrap();
                }
            }
        }
    }

    #[test]
    fn every_known_failure_has_a_row_of_its_own_that_can_be_drawn_in_both_lengths() {
        let all = known().unwrap();
        let names: std::collections::BTreeSet<&str> =
            all.iter().map(|(_, known)| known.row.as_str()).collect();
        assert_eq!(names.len(), all.len());
        for (scenario, known) in &all {
            for quick in [false, true] {
                let scenario = load(scenario, &known.settings(quick)).unwrap();
                workload::draw(&scenario, 1).unwrap();
                for plan in (0..20).filter_map(|seed| workload::draw(&scenario, seed).ok()) {
                    workload::enough_faults(&scenario, &plan, |_| true).unwrap();
                }
            }
        }
    }
}
