//! Which rate to probe next, from what the probes of a block have told so far.

/// How near the two rates on either side of the limit must be for a search to end.
pub(super) const NEAR: f64 = 1.05;

/// The same for a ceiling, which is compared with nobody: it tells whom the bench itself may hold back, at four fifths of it.
pub(super) const NEAR_A_CEILING: f64 = 1.15;

/// From one rate to the next while the limit lies on one side only.
const STEP: f64 = 1.5;

/// The same around an estimate.
const SMALL_STEP: f64 = 1.12;

/// Where probes lie around an estimate, before the jitter.
const AROUND: [f64; 3] = [1.0, 0.92, 1.08];

/// How far the jitter moves each of them at most.
const JITTER: f64 = 0.02;

/// Probes of one contender in a block, at most; a contender whose answers have no order at all ends so.
pub(super) const MOST_PROBES: usize = 40;

/// No rate lies outside: nothing on one machine carries more, and nobody waits for less.
const RATES: std::ops::RangeInclusive<f64> = 0.1..=1e6;

/// A probe, as the search sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Seen {
    /// Tasks per second that were offered.
    pub(super) rate: f64,
    /// Whether the service level was met.
    pub(super) met: bool,
    /// Whether it was met with so much to spare that the limit is far away.
    pub(super) easily: bool,
    /// Whether it was missed by so little that the next probe may meet it.
    pub(super) narrowly: bool,
}

/// The search of the first block: up by half, and by two such steps at once from a rate that was met easily, until one is missed
/// (down, where none is met), then half-way between the two, until they are as near as asked. A miss that only one probe has seen may be a hiccup of the machine: the rate that ends the
/// search is probed twice, and a narrow miss at once, since all that lies below it would be searched in vain. `None`: it is over.
pub(super) fn climb(seen: &[Seen], start: f64, near: f64) -> Option<f64> {
    if seen.is_empty() {
        return Some(start);
    }
    let next = match sides(seen) {
        (None, Some(high)) if !narrowly(seen, high) || count(seen, high) > 1 => high / STEP,
        (Some(low), None) if easily(seen, low) => low * STEP * STEP,
        (Some(low), None) => low * STEP,
        (_, Some(high)) if narrowly(seen, high) && count(seen, high) < 2 => high,
        (Some(low), Some(high)) if high / low > near => (low * high).sqrt(),
        (Some(_), Some(high)) if count(seen, high) < 2 => high,
        _ => return None,
    };
    within(next, seen.len())
}

/// The probes of a later block: three around what the blocks before told, each moved by its jitter (−1 to 1), then outward
/// until they lie on both sides of the limit. `None`: enough.
pub(super) fn around(seen: &[Seen], estimate: f64, jitter: f64) -> Option<f64> {
    let next = match (AROUND.get(seen.len()), sides(seen)) {
        (Some(place), _) => estimate * place * (1.0 + JITTER * jitter),
        (None, (None, Some(high))) => high / SMALL_STEP,
        (None, (Some(low), None)) => low * SMALL_STEP,
        _ => return None,
    };
    within(next, seen.len())
}

/// The highest rate that was met, and the lowest beyond it that was missed; where none was met, the lowest that was missed.
pub(super) fn sides(seen: &[Seen]) -> (Option<f64>, Option<f64>) {
    let rates = |met: bool| seen.iter().filter(move |probe| probe.met == met).map(|probe| probe.rate);
    let low = rates(true).reduce(f64::max);
    let high = rates(false).filter(|rate| low.is_none_or(|low| *rate > low)).reduce(f64::min);
    (low, high)
}

/// The lowest rate that is not known to be met; `None` before the first probe.
pub(super) fn beyond(seen: &[Seen]) -> Option<f64> {
    let (low, high) = sides(seen);
    high.or(low.map(|low| low * STEP * STEP))
}

fn easily(seen: &[Seen], rate: f64) -> bool {
    seen.iter().any(|probe| probe.rate == rate && probe.met && probe.easily)
}

fn narrowly(seen: &[Seen], rate: f64) -> bool {
    seen.iter().any(|probe| probe.rate == rate && probe.narrowly)
}

fn count(seen: &[Seen], rate: f64) -> usize {
    seen.iter().filter(|probe| probe.rate == rate).count()
}

fn within(rate: f64, probes: usize) -> Option<f64> {
    (RATES.contains(&rate) && probes < MOST_PROBES).then_some(rate)
}

#[cfg(test)]
mod tests;
