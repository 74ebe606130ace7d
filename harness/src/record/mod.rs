//! What a batch leaves behind: one [`Manifest`] per batch, one [`RunRecord`] per run. This is the only module of
//! this crate that `reports` reads; its JSON is the stored format, versioned by [`SCHEMA_VERSION`].

mod file;
mod history;
mod calibration;
mod probe;
mod sweep;
mod manifest;
mod plausible;
mod verdict;
mod figures;
mod faults;
mod run;
mod steady;
mod unit;
mod metric;
pub mod difference;
pub mod capacity;
mod estimate;
mod change_points;
mod trend;
mod gate;
mod standing;
mod conclusion;

pub use calibration::{Calibration, NoiseFloor};
pub use change_points::{ChangePoint, change_points};
pub use conclusion::{BatchEnd, Conclusion, conclude};
pub use estimate::Estimate;
pub use faults::{FaultFacts, FaultRecord, LeastFaults};
pub use figures::{Awareness, Backlog, Latency, Tally};
pub use file::write_json;
pub use gate::{Asked, GateAnswer, GateRecord, Kept, Limit, Threshold, judge_thresholds};
pub use history::{StoredHistory, encode_history, write_history};
pub use manifest::{End, HarnessCost, Machine, Manifest, Pinning, PlanFacts, SCHEMA_VERSION, Skipped};
pub use metric::{Better, Kind, METRICS, Metric, Reading};
pub use plausible::{GREATEST, implausible};
pub use probe::{OnTime, Probe, ServiceLevel};
pub use run::{Carries, Others, Peak, Role, RunRecord, SLICE_NS, ServerFacts, Survives, TOO_BUSY};
pub use standing::{Deed, Promise, Standing, must_be_caught, programmed_ns};
pub use steady::Steadiness;
pub use sweep::{CellValues, SweepAxis, SweepCell, SweepRecord};
pub use trend::{TrendPoint, digest};
pub use unit::Unit;
pub use verdict::{Amount, CheckFigure, CheckVerdict, Expected, Verdict};

pub use crate::model::{Histogram, Operations, Quantile};
