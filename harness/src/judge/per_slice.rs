//! Means by slice of time.

use crate::record::SLICE_NS;

/// Sums and counts by slice of time.
#[derive(Default)]
pub(super) struct PerSlice(Vec<(u128, u64)>);

impl PerSlice {
    pub(super) fn add(&mut self, at_ns: u64, ns: u64) {
        let slice = (at_ns / SLICE_NS) as usize;
        if self.0.len() <= slice {
            self.0.resize(slice + 1, (0, 0));
        }
        let (sum, count) = &mut self.0[slice];
        (*sum, *count) = (*sum + u128::from(ns), *count + 1);
    }

    pub(super) fn means(self) -> Vec<Option<u64>> {
        let mean = |(sum, count): (u128, u64)| (count > 0).then(|| (sum / u128::from(count)) as u64);
        self.0.into_iter().map(mean).collect()
    }
}
