//! The conclusion of [`harness::record`], asked of a comparison.

use harness::record::{BatchEnd, Conclusion, RunRecord, Standing, conclude, must_be_caught, programmed_ns};

use crate::{Comparison, Row};

impl Comparison {
    /// What the batch amounts to.
    #[must_use]
    pub fn conclusion(&self) -> Conclusion {
        self.concluded(&BatchEnd::of(&self.manifest))
    }

    /// What the batch amounts to, where it ended so.
    #[must_use]
    pub fn concluded(&self, end: &BatchEnd) -> Conclusion {
        let rows: Vec<&[RunRecord]> = self.rows.iter().map(|row| row.records.as_slice()).collect();
        conclude(&self.manifest, &rows, &self.probes, end, self.gate.as_ref())
    }

    /// What can be said of a row of this comparison.
    #[must_use]
    pub fn standing_of(&self, row: &Row) -> Standing {
        let place = self.rows.iter().position(|other| other.contender == row.contender);
        let mut rows = self.conclusion().rows;
        rows.swap_remove(place.expect("the row is of this comparison"))
    }
}

impl Row {
    /// A control that excludes nothing, so that the checks must catch it.
    pub(crate) fn must_be_caught(&self) -> bool {
        must_be_caught(&self.records)
    }

    /// The wait that a control promised.
    pub(crate) fn programmed_ns(&self) -> Option<u64> {
        programmed_ns(&self.records)
    }
}

#[cfg(test)]
mod reasons;
#[cfg(test)]
mod tests;
