//! Tasks that arrive when others once did.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};

use rand_chacha::ChaCha8Rng;

use super::shape::{Load, MOST_TASKS, MOST_WINDOW_S, Shape, Start};
use crate::spec::arrivals::ShapeWord;
use crate::spec::error::Wrong;
use crate::spec::units::nanos;

pub(super) const SHAPE: Shape = Shape {
    fields: "`arrivals = { shape = \"recorded\", file = … }`",
    asked: |spec| {
        let arrivals = spec.arrivals.as_ref()?;
        let alone = spec.rate_per_s.is_none() && spec.burst.is_none() && spec.burst_every_s.is_none();
        if arrivals.shape != ShapeWord::Recorded || !alone {
            return None;
        }
        Some(Box::new(Recorded { times_s: read(arrivals.file.as_deref()?), duration_s: spec.duration_s }))
    },
};

/// As the file says, from its first time on; of a longer one as much as fits in the window.
#[derive(Debug)]
struct Recorded {
    times_s: Result<Vec<f64>, String>,
    /// None: until the last.
    duration_s: Option<f64>,
}

/// Bytes of a file, at most: ten million lines.
const MOST_BYTES: u64 = 1 << 30;

/// The times of a file, in their order, from the first on.
fn read(path: &str) -> Result<Vec<f64>, String> {
    let file = File::open(path).map_err(|error| format!("cannot read {path}: {error}"))?;
    let mut times_s: Vec<f64> = Vec::new();
    for (number, line) in BufReader::new(file.take(MOST_BYTES)).lines().enumerate() {
        let place = format!("{path}, line {}", number + 1);
        let line = line.map_err(|error| format!("{place}: {error}"))?;
        let first = line.split([',', ';', '\t', ' ']).next().unwrap_or_default();
        match first.parse::<f64>() {
            _ if line.trim().is_empty() => {}
            Ok(at_s) if at_s.is_finite() && at_s.abs() < 1e12 => times_s.push(at_s),
            Err(_) if number == 0 => {}
            _ => return Err(format!("{place}: `{first}` is no time in seconds")),
        }
        if times_s.len() as f64 > MOST_TASKS {
            return Err(format!("{path}: more than 10 million tasks in one run"));
        }
    }
    times_s.sort_by(f64::total_cmp);
    let first = *times_s.first().ok_or_else(|| format!("{path}: no time in it"))?;
    times_s.iter_mut().for_each(|at_s| *at_s -= first);
    Ok(times_s)
}

impl Recorded {
    fn whole_s(&self) -> f64 {
        let last_s = self.times_s.as_ref().ok().and_then(|times_s| times_s.last().copied()).unwrap_or(0.0);
        self.duration_s.unwrap_or(last_s + 1e-3)
    }
}

impl Load for Recorded {
    fn validate(&self) -> Result<(), Wrong> {
        if let Err(what) = &self.times_s {
            return Err(Wrong { key: "arrivals", what: what.clone() });
        }
        crate::spec::error::within("duration_s", self.whole_s(), 1e-6, MOST_WINDOW_S)
    }

    fn window_ns(&self) -> u64 {
        nanos(self.whole_s())
    }

    fn is_paced(&self) -> bool {
        true
    }

    fn starts<'a>(&'a self, _: &'a mut ChaCha8Rng) -> Box<dyn Iterator<Item = Start> + 'a> {
        let times_s = self.times_s.iter().flatten().copied();
        let within = times_s.take_while(|at_s| *at_s < self.whole_s());
        Box::new(within.map(|at_s| Start { at_ns: nanos(at_s), turn: None, entry: None }))
    }
}
