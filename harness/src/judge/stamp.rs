//! A stamp that is not known yet, in no more room than one: there is one for each step of a plan, or several.

/// A stamp, or none yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp(u64);

impl Stamp {
    /// No clock comes to it.
    const NONE: u64 = u64::MAX;

    pub(super) fn at(ns: u64) -> Self {
        Self(ns)
    }

    pub(super) fn ns(self) -> Option<u64> {
        (self.0 != Self::NONE).then_some(self.0)
    }
}

impl Default for Stamp {
    fn default() -> Self {
        Self(Self::NONE)
    }
}
