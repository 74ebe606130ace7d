//! Several records side by side.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use harness::record::capacity::{Carried, carried};
use harness::record::difference::Rule;
use harness::record::{
    Carries, GateRecord, Latency, Manifest, Metric, Role, RunRecord, SCHEMA_VERSION, implausible,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::ReportError;

/// A batch as it is reported: one row per contender, over all its blocks.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// What was asked for and where it ran.
    pub manifest: Manifest,
    /// Contenders in the order of their first run, then controls in the same order.
    pub rows: Vec<Row>,
    /// What a gate said of it, if it was put to one.
    pub gate: Option<GateRecord>,
    /// Probes for capacities, in the order in which they ran.
    pub probes: Vec<RunRecord>,
}

/// One contender or control over the blocks of a batch.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its name.
    pub contender: String,
    /// One sentence on how it works.
    pub summary: String,
    /// Compared, or a check of the bench.
    pub role: Role,
    /// Its runs, by block.
    pub records: Vec<RunRecord>,
    /// Distributions of all valid blocks, merged.
    pub latency: Latency,
    /// Tasks per second that completed within the arrival window, over the valid blocks; `None` where none is.
    pub goodput_per_s: Option<Spread>,
}

/// A figure over blocks. The run is the unit of replication, so the range of the blocks is the error that is shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Middle value; of an even number, the mean of the middle two.
    pub median: f64,
    /// Least value.
    pub min: f64,
    /// Greatest value.
    pub max: f64,
}

impl Spread {
    /// The spread of the values; `None` of none.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Some(Self { median: f64::midpoint(low, high), min, max })
    }

    /// Whether the two ranges share a value.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.min <= other.max && other.min <= self.max
    }
}

/// The metric that probes tell of.
const CAPACITY: &str = "capacity";

impl Comparison {
    /// Puts the records of a batch side by side, whatever order they come in.
    #[must_use]
    pub fn new(manifest: Manifest, mut records: Vec<RunRecord>) -> Self {
        records.sort_by_key(|record| record.order);
        let (probes, runs): (Vec<_>, Vec<_>) = records.into_iter().partition(|record| record.probe.is_some());
        let mut groups: Vec<Vec<RunRecord>> = Vec::new();
        for record in runs {
            match groups.iter_mut().find(|group| group[0].contender == record.contender) {
                Some(group) => group.push(record),
                None => groups.push(vec![record]),
            }
        }
        let mut rows: Vec<Row> = groups.into_iter().map(Row::new).collect();
        // Stable: the order of first appearance stays within each role.
        rows.sort_by_key(|row| row.role == Role::Control);
        let mut comparison = Self { manifest, rows, probes, gate: None };
        comparison.tell_runs_what_is_carried();
        comparison
    }

    /// A run has the capacity that the probes of its block tell, so that it is a figure like others; in a block of probes alone the last
    /// of them has it.
    fn tell_runs_what_is_carried(&mut self) {
        for of in self.carried() {
            let own = of.limited.is_none();
            let rows = self.rows.iter_mut().filter(|row| row.contender == of.contender);
            let mut runs: Vec<&mut RunRecord> = rows.flat_map(|row| &mut row.records).collect();
            let mut probes: Vec<&mut RunRecord> =
                self.probes.iter_mut().filter(|probe| probe.contender == of.contender).collect();
            for (block, per_s) in &of.blocks {
                let of_block = |run: &&mut &mut RunRecord| run.block == *block;
                let told = runs.iter_mut().find(of_block).or(probes.iter_mut().rfind(of_block));
                if let Some(told) = told {
                    told.carries = Some(Carries { per_s: *per_s, own });
                }
            }
        }
    }

    /// The valid records that tell a figure of a row, one a block: its runs; and of its capacity, in blocks of probes alone, a probe each.
    #[must_use]
    pub fn telling<'a>(&'a self, row: &'a Row, metric: &Metric) -> Vec<&'a RunRecord> {
        let probes = self.probes.iter().filter(|probe| probe.contender == row.contender);
        let told = probes.filter(|probe| probe.carries.is_some() && metric.name == CAPACITY);
        row.valid().chain(told).collect()
    }

    /// The rows that are compared.
    pub fn contenders(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.role == Role::Contender)
    }

    /// The rows that check the bench.
    pub fn controls(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.role == Role::Control)
    }

    /// All runs.
    pub fn records(&self) -> impl Iterator<Item = &RunRecord> {
        self.rows.iter().flat_map(|row| &row.records)
    }

    /// What each carries, contenders first; empty where no capacity was looked for.
    #[must_use]
    pub fn carried(&self) -> Vec<Carried> {
        let Some(level) = &self.manifest.service_level else { return Vec::new() };
        let mut groups: Vec<Vec<RunRecord>> = Vec::new();
        for probe in &self.probes {
            match groups.iter_mut().find(|group| group[0].contender == probe.contender) {
                Some(group) => group.push(probe.clone()),
                None => groups.push(vec![probe.clone()]),
            }
        }
        let groups: Vec<&[RunRecord]> = groups.iter().map(Vec::as_slice).collect();
        let mut all = carried(level, self.manifest.machine.cores, &groups);
        // In the order of the rows, wherever there is one; contenders stand first there.
        let place = |name: &str| self.rows.iter().position(|row| row.contender == name);
        all.sort_by_key(|one| (one.role == Role::Control, place(&one.contender).unwrap_or(usize::MAX)));
        all
    }

    /// Whether no contender's goodput is apart from another's: all ranges of the blocks overlap.
    pub(crate) fn ranges_of_goodput_meet(&self) -> bool {
        let spreads: Vec<Spread> = self.contenders().filter_map(|row| row.goodput_per_s).collect();
        spreads.iter().all(|a| spreads.iter().all(|b| a.overlaps(b)))
    }

    /// Whether there is nothing to see in it: that is so, or all medians are within what would matter.
    pub(crate) fn goodput_is_alike(&self) -> bool {
        let medians = || self.contenders().filter_map(|row| row.goodput_per_s).map(|of| of.median);
        let (least, greatest) = (medians().fold(f64::MAX, f64::min), medians().fold(0.0, f64::max));
        self.ranges_of_goodput_meet() || greatest <= least * (1.0 + Rule::default().least)
    }

    /// Runs asked for, as far as known: each row that appears, once per block.
    pub(crate) fn runs_expected(&self) -> usize {
        self.rows.len() * self.manifest.blocks as usize
    }
}

/// What a run measured that proves nothing is no figure of its row.
fn valid(records: &[RunRecord]) -> impl Iterator<Item = &RunRecord> {
    records.iter().filter(|record| record.invalid.is_empty())
}

impl Row {
    /// `records` are of one contender and at least one.
    fn new(mut records: Vec<RunRecord>) -> Self {
        records.sort_by_key(|record| (record.block, record.order));
        let mut latency = Latency::default();
        for record in valid(&records) {
            let each = &record.latency;
            latency.response.merge(&each.response);
            latency.excess.merge(&each.excess);
            latency.response_failed.merge(&each.response_failed);
            latency.wait.merge(&each.wait);
            latency.release.merge(&each.release);
            latency.hand_over.merge(&each.hand_over);
            latency.bystander.merge(&each.bystander);
            latency.lag.merge(&each.lag);
            latency.burst.merge(&each.burst);
        }
        let goodput_per_s = Spread::of(valid(&records).map(|record| record.goodput_per_s));
        let first = &records[0];
        Self {
            contender: first.contender.clone(),
            summary: first.summary.clone(),
            role: first.role,
            latency,
            goodput_per_s,
            records,
        }
    }

    /// The runs whose figures count.
    pub(crate) fn valid(&self) -> impl Iterator<Item = &RunRecord> {
        valid(&self.records)
    }

    /// `part ÷ grants` over all valid blocks that know `part`; `None` when none does or nothing was granted.
    pub(crate) fn per_grant(&self, part: impl Fn(&RunRecord) -> Option<u64>) -> Option<f64> {
        let mut grants = 0;
        let mut sum = 0;
        for record in self.valid() {
            if let Some(value) = part(record) {
                sum += value;
                grants += record.grants;
            }
        }
        (grants > 0).then(|| sum as f64 / grants as f64)
    }

    /// Sum of a figure over the blocks.
    pub(crate) fn total(&self, part: impl Fn(&RunRecord) -> u64) -> u64 {
        self.records.iter().map(part).sum()
    }
}

/// A batch as it is stored.
#[derive(Debug, Clone)]
pub struct Stored {
    /// What was asked for and where it ran.
    pub manifest: Manifest,
    /// Every run with its folder, probes included.
    pub runs: Vec<(PathBuf, RunRecord)>,
    /// What a gate said of it, if it was put to one.
    pub gate: Option<GateRecord>,
}

impl From<Stored> for Comparison {
    fn from(stored: Stored) -> Self {
        let Stored { manifest, runs, gate } = stored;
        Self { gate, ..Self::new(manifest, runs.into_iter().map(|(_, record)| record).collect()) }
    }
}

/// The rows of a batch directory, side by side. A batch that was killed has no `end` and maybe fewer records; it loads all the same.
///
/// # Errors
///
/// Those of [`stored`].
pub fn load(dir: &Path) -> Result<Comparison, ReportError> {
    Ok(stored(dir)?.into())
}

/// Reads `manifest.json`, every `*/record.json` and, where there is one, the `gate.json` of a batch directory.
///
/// # Errors
///
/// A file that cannot be read, is no such JSON, or has another schema version; the error names the file.
pub fn stored(dir: &Path) -> Result<Stored, ReportError> {
    let path = dir.join("manifest.json");
    let manifest: Manifest = read_json(&path)?;
    if manifest.blocks > MOST_BLOCKS {
        let what = format!(".blocks: {} is more than {MOST_BLOCKS}", manifest.blocks);
        return Err(ReportError::Implausible { path, what });
    }
    let unreadable = |source| ReportError::Read { path: dir.to_owned(), source };
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path().join("record.json");
        if path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    let mut runs = Vec::new();
    for path in paths {
        let record: RunRecord = read_json(&path)?;
        if !(1..=manifest.blocks).contains(&record.block) {
            let what = format!(".block: {} of {}", record.block, manifest.blocks);
            return Err(ReportError::Implausible { path, what });
        }
        runs.push((path.parent().unwrap_or(dir).to_owned(), record));
    }
    let gate = dir.join("gate.json");
    let gate = if gate.is_file() { Some(read_json(&gate)?) } else { None };
    Ok(Stored { manifest, runs, gate })
}

/// The most blocks of a batch, as scenarios have them at most; the reports have a place for each.
const MOST_BLOCKS: u32 = 1_000;

/// The longest record; those of a week's run are shorter.
const MOST_BYTES: u64 = 256 << 20;

pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, ReportError> {
    #[derive(Deserialize)]
    struct Version {
        schema_version: u32,
    }
    let unreadable = |source| ReportError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(unreadable)?;
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(ReportError::TooLong { path: path.to_owned(), most: MOST_BYTES });
    }
    let bad = |source| ReportError::Json { path: path.to_owned(), source };
    // The version comes first: another schema would fail on some field and hide the reason.
    let Version { schema_version: found } = serde_json::from_slice(&bytes).map_err(bad)?;
    if found != SCHEMA_VERSION {
        return Err(ReportError::Schema { path: path.to_owned(), found, expected: SCHEMA_VERSION });
    }
    if let Some(what) = implausible(&serde_json::from_slice(&bytes).map_err(bad)?) {
        return Err(ReportError::Implausible { path: path.to_owned(), what });
    }
    serde_json::from_slice(&bytes).map_err(bad)
}

#[cfg(test)]
mod tests;
