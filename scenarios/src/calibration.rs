//! Where the noise floors of classes of machines are kept, so that every batch on one can say what it is worth.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use harness::record::difference::{Ratio, Rule, Together, ratio};
use harness::record::{
    Calibration, Kind, METRICS, Manifest, NoiseFloor, RunRecord, SCHEMA_VERSION, digest, implausible,
    write_json,
};

use crate::contenders::AGAIN;

/// The folder where this user's calibrations are: `$XDG_CACHE_HOME/lockbench`, or `~/.cache/lockbench`; `None` where neither is
/// known.
#[must_use]
pub fn default_store() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    cache.map(|cache| cache.join("lockbench"))
}

/// What is known of a class of machines; `None` where nothing is, or what is stored cannot be read: a run goes on without.
#[must_use]
pub fn known(store: &Path, machine_class: &str) -> Option<Calibration> {
    let bytes = std::fs::read(file(store, machine_class)).ok()?;
    let value: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
    let calibration: Calibration =
        implausible(&value).is_none().then(|| serde_json::from_value(value).ok()).flatten()?;
    let fits = calibration.schema_version == SCHEMA_VERSION && calibration.machine_class == machine_class;
    fits.then_some(calibration)
}

/// Keeps a calibration; who was measured before and is not in it stays.
///
/// # Errors
/// When the folder cannot be written.
pub fn keep(store: &Path, calibration: &Calibration) -> anyhow::Result<PathBuf> {
    let class = &calibration.machine_class;
    let mut merged = calibration.clone();
    let measured = |name: &str| calibration.floors.iter().any(|floor| floor.contender == name);
    let before = known(store, class).map(|before| before.floors).unwrap_or_default();
    merged.floors.extend(before.into_iter().filter(|floor| !measured(&floor.contender)));
    let cannot = || format!("cannot write below {}; --store names another place", store.display());
    std::fs::create_dir_all(store).with_context(cannot)?;
    let file = file(store, class);
    write_json(&file, &merged).with_context(cannot)?;
    Ok(file)
}

fn file(store: &Path, machine_class: &str) -> PathBuf {
    store.join(format!("calibration-{}.json", digest(machine_class)))
}

/// What a batch in which everybody took part twice says of the noise.
#[must_use]
pub fn of_batch(manifest: &Manifest, runs: &[&RunRecord]) -> Calibration {
    let of = |name: &str| runs.iter().filter(|run| run.contender == name).copied().collect::<Vec<_>>();
    let mut names: Vec<&str> = runs.iter().filter_map(|run| run.contender.strip_suffix(AGAIN)).collect();
    names.sort_unstable();
    names.dedup();
    let mut floors = Vec::new();
    for name in names {
        let (once, again) = (of(name), of(&format!("{name}{AGAIN}")));
        for metric in METRICS.iter().filter(|metric| metric.kind == Kind::Measured) {
            let Some(ratio) = ratio(&again, &once, metric, Together::OfOneBatch) else { continue };
            floors.push(NoiseFloor {
                contender: name.to_owned(),
                metric: metric.name.to_owned(),
                blocks: ratio.blocks(),
                log_ratio_sd: ratio.sd(),
                ratio: ratio.ratio(),
                detectable_by_6: detectable(ratio.sd(), 6),
                detectable_by_10: detectable(ratio.sd(), 10),
            });
        }
    }
    Calibration {
        schema_version: SCHEMA_VERSION,
        machine_class: manifest.machine.class(),
        scenario: manifest.scenario.clone(),
        measured_utc: manifest.started_utc.clone(),
        blocks: manifest.blocks,
        floors,
    }
}

/// The least effect that so many blocks find in this noise.
fn detectable(sd: f64, blocks: u32) -> f64 {
    let rule = Rule::default();
    let any = Ratio::paired((0..blocks).map(|_| (1.0, 1.0)));
    any.map_or(f64::MAX, |ratio| ratio.least_detectable(rule.alpha, rule.power, Some(sd)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floor(contender: &str, log_ratio_sd: f64) -> NoiseFloor {
        NoiseFloor {
            contender: contender.to_owned(),
            metric: "goodput".to_owned(),
            blocks: 10,
            log_ratio_sd,
            ratio: 1.0,
            detectable_by_6: 0.1,
            detectable_by_10: 0.1,
        }
    }

    fn calibration(class: &str, floors: Vec<NoiseFloor>) -> Calibration {
        Calibration {
            schema_version: SCHEMA_VERSION,
            machine_class: class.to_owned(),
            scenario: "smoke".to_owned(),
            measured_utc: "2026-11-28T00:00:00Z".to_owned(),
            blocks: 10,
            floors,
        }
    }

    #[test]
    fn each_class_of_machines_has_its_own_and_what_was_known_of_others_stays() {
        let store = tempfile::tempdir().unwrap();
        assert_eq!(known(store.path(), "a"), None);
        keep(store.path(), &calibration("a", vec![floor("one", 0.1), floor("two", 0.2)])).unwrap();
        keep(store.path(), &calibration("b", vec![floor("one", 0.9)])).unwrap();
        let file = keep(store.path(), &calibration("a", vec![floor("one", 0.3)])).unwrap();
        let known_now = known(store.path(), "a").unwrap();
        assert_eq!(known_now.log_ratio_sd("one", "goodput"), Some(0.3));
        assert_eq!(known_now.log_ratio_sd("two", "goodput"), Some(0.2));
        std::fs::write(file, "{").unwrap();
        assert_eq!(known(store.path(), "a"), None, "what cannot be read is not known");
    }

    #[test]
    fn more_blocks_find_less() {
        // Of the ratio of two runs that each stray by a twentieth.
        let of = |blocks| detectable(0.05 * std::f64::consts::SQRT_2, blocks);
        assert!(of(5) > of(6) && of(6) > of(10));
        // As stated of 10 blocks at 5 % noise: 82 % power for a tenth.
        assert!((0.09..0.11).contains(&of(10)), "{}", of(10));
    }
}
