//! Acquire and release beside the two requests that they could not do without.

use harness::engine::monotonic_ns;
use harness::model::Histogram;
use lock_backends::{Bare, Endpoint, Least, LockClient, LockError, Variant};

use super::nodes::{ask, session};
use super::spread::Spread;
use super::turns::order;
use crate::batch::Show as _;
use crate::progress::Display;

/// Rounds in which the variants take turns, so that all meet the same machine.
pub(super) const ROUNDS: u32 = 25;
/// How often a pair is done in a round. Even, since who goes first changes every time.
pub(super) const EACH: u32 = 20;
/// And before that on new connections, which prepare their statements.
const UNMEASURED: u32 = 3;

/// What was measured of a variant: of each round its median.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    pair_ns: Vec<f64>,
    floor_ns: Vec<f64>,
    operations: u64,
}

/// A request, at the median of each round.
#[derive(Debug, Default)]
pub(super) struct Requests {
    round_trip_ns: Vec<f64>,
    write_ns: Vec<f64>,
}

impl Pairs {
    pub(super) fn pair_ns(&self) -> Option<Spread> {
        Spread::of(&self.pair_ns)
    }

    /// `None` of a variant that asks no server.
    pub(super) fn floor_ns(&self) -> Option<Spread> {
        Spread::of(&self.floor_ns)
    }

    /// How many times its floor the pair took, from the two medians of each round. `None` without a floor.
    pub(super) fn times_its_floor(&self) -> Option<Spread> {
        let ratios = self.pair_ns.iter().zip(&self.floor_ns).map(|(pair_ns, floor_ns)| pair_ns / floor_ns);
        Spread::of(&ratios.collect::<Vec<_>>())
    }

    /// Requests of one pair.
    pub(super) fn operations(&self) -> f64 {
        self.operations as f64 / (self.pair_ns.len() as f64 * f64::from(EACH))
    }
}

impl Requests {
    pub(super) fn round_trip_ns(&self) -> Option<Spread> {
        Spread::of(&self.round_trip_ns)
    }

    pub(super) fn write_ns(&self) -> Option<Spread> {
        Spread::of(&self.write_ns)
    }
}

/// Every variant of a server in every round, in an order drawn for that round, each beside its own floor.
pub(super) async fn pairs(
    variants: &[&'static Variant],
    endpoint: &Endpoint,
    seed: u64,
    server: &str,
    display: &Display,
) -> anyhow::Result<(Requests, Vec<Pairs>)> {
    let mut requests = Requests::default();
    let mut pairs: Vec<Pairs> = variants.iter().map(|_| Pairs::default()).collect();
    for round in 0..ROUNDS {
        display.line(&format!("{server}: pairs, round {}", round + 1));
        if let Some(bare) = bare(variants, endpoint).await? {
            requests.round_trip_ns.push(of_request(&*bare, Least::RoundTrips).await?);
            requests.write_ns.push(of_request(&*bare, Least::Writes).await?);
        }
        for place in order(variants.len(), seed, &format!("{server} pair"), round) {
            beside_its_floor(variants[place], endpoint, &mut pairs[place]).await?;
        }
    }
    Ok((requests, pairs))
}

/// Some servers give every connection a process; how far apart two of them are scheduled decides a fifth of the time of a
/// request, for as long as they live. So each round opens its own, and that becomes part of the spread.
async fn bare(
    variants: &[&'static Variant],
    endpoint: &Endpoint,
) -> Result<Option<Box<dyn Bare>>, LockError> {
    match variants.first().and_then(|variant| lock_backends::server_of(variant)) {
        Some(server) => (server.bare)(endpoint).await.map(Some),
        None => Ok(None),
    }
}

/// One round of a variant. Floor and pair are taken in turns in one loop, and who goes first changes, so that both follow
/// the one as often as the other: what a request takes depends on what the processors did just before.
async fn beside_its_floor(
    variant: &'static Variant,
    endpoint: &Endpoint,
    pairs: &mut Pairs,
) -> anyhow::Result<()> {
    let client = session(variant, endpoint).await?;
    let bare = bare(&[variant], endpoint).await?.filter(|_| variant.least != Least::Nothing);
    for _ in 0..UNMEASURED {
        pair(&client).await?;
        if let Some(bare) = &bare {
            two_requests(&**bare, variant.least).await?;
        }
    }
    let (mut floor_ns, mut pair_ns) = (Histogram::default(), Histogram::default());
    let before = client.counts().operations;
    for turn in 0..EACH {
        if turn % 2 == 1 {
            pair_ns.record_ns(pair(&client).await?);
        }
        if let Some(bare) = &bare {
            floor_ns.record_ns(two_requests(&**bare, variant.least).await?);
        }
        if turn % 2 == 0 {
            pair_ns.record_ns(pair(&client).await?);
        }
    }
    pairs.operations += client.counts().operations - before;
    pairs.pair_ns.extend(median(&pair_ns));
    pairs.floor_ns.extend(median(&floor_ns));
    client.close().await;
    Ok(())
}

async fn of_request(bare: &dyn Bare, least: Least) -> Result<f64, LockError> {
    let mut two_ns = Histogram::default();
    for _ in 0..EACH {
        two_ns.record_ns(two_requests(bare, least).await?);
    }
    Ok(median(&two_ns).unwrap_or(0.0) / 2.0)
}

async fn pair(client: &LockClient) -> Result<u64, LockError> {
    let start_ns = monotonic_ns();
    client.acquire_request(ask("pair", u64::MAX)).await?.release().await?;
    Ok(monotonic_ns() - start_ns)
}

/// One after the other, as release follows acquire.
async fn two_requests(bare: &dyn Bare, least: Least) -> Result<u64, LockError> {
    let start_ns = monotonic_ns();
    for _ in 0..2 {
        match least {
            Least::Nothing => {}
            Least::RoundTrips => bare.ping().await?,
            Least::Writes => bare.write().await?,
        }
    }
    Ok(monotonic_ns() - start_ns)
}

fn median(of: &Histogram) -> Option<f64> {
    of.quantile_ns(0.5).map(|ns| ns as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_pairs_floor_and_variant_of_one_round() {
        // The machine was half as fast in the second round: for both.
        let drifting =
            Pairs { pair_ns: vec![120.0, 240.0], floor_ns: vec![100.0, 200.0], operations: 4 * 20 };
        let ratio = drifting.times_its_floor().unwrap();
        assert!((ratio.low - 1.2).abs() < 1e-9 && (ratio.high - 1.2).abs() < 1e-9, "{ratio}");
        assert!((drifting.operations() - 2.0).abs() < 1e-9);
        let without = Pairs { pair_ns: vec![120.0], ..Pairs::default() };
        assert_eq!(without.times_its_floor(), None);
    }
}
