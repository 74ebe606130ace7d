//! How far the members of a server are that lockbench did not start, and how far their clocks are off.

use std::time::Duration;

use anyhow::Context as _;
use harness::engine::Clock;
use harness::record::{ClockDifference, MemberFacts};
use harness::servers::{ServerKind, redact};
use lock_backends::{Bare, Endpoint, LockError, Member, ServerTime, backends};
use tokio::time::timeout;

/// Round trips of which the median is told.
const ROUND_TRIPS: usize = 101;

/// Exchanges of which the quickest tells the time best.
const EXCHANGES: usize = 11;

/// How long a member is asked. One that is far away is asked less often.
const PATIENCE: Duration = Duration::from_secs(5);

/// All members behind a URL, each asked by itself. What is needed to ask stays on the server, under a name of lockbench's.
///
/// # Errors
/// When nobody says who the members are.
pub async fn members(kind: ServerKind, url: &str) -> anyhow::Result<Vec<MemberFacts>> {
    let server =
        backends::server(kind.name()).with_context(|| format!("{kind}: no locks are built for it"))?;
    let clock = Clock::real()?;
    let mut all = Vec::new();
    for Member { place, role, endpoint } in (server.members)(&Endpoint(url.to_owned())).await? {
        let mut facts = MemberFacts { place, role, round_trip_p50_ns: None, clock: None, failure: None };
        let asked = async {
            let bare = (server.bare)(&endpoint).await?;
            facts.round_trip_p50_ns = Some(round_trip(&*bare, &clock).await?);
            facts.clock = difference(&*bare, &clock).await?;
            Ok::<_, LockError>(())
        };
        facts.failure = match timeout(PATIENCE * 2, asked).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(redact(&error.to_string())),
            Err(_) => Some("no answer in time".to_owned()),
        };
        all.push(facts);
    }
    Ok(all)
}

/// The median.
async fn round_trip(bare: &dyn Bare, clock: &Clock) -> Result<u64, LockError> {
    let (mut took_ns, begun_ns) = (Vec::with_capacity(ROUND_TRIPS), clock.now_ns());
    while took_ns.len() < ROUND_TRIPS && Duration::from_nanos(clock.now_ns() - begun_ns) < PATIENCE {
        let sent_ns = clock.now_ns();
        bare.ping().await?;
        took_ns.push(clock.now_ns() - sent_ns);
    }
    took_ns.sort_unstable();
    Ok(took_ns[took_ns.len() / 2])
}

/// An exchange: when it was sent and answered here, and what the server's clock showed between the two.
#[derive(Debug, Clone, Copy)]
struct Exchange {
    sent_unix_ns: i64,
    took_ns: u64,
    server: ServerTime,
}

impl Exchange {
    /// The server's clock showed its time at some moment between sending and answer, so it is at most half of that from what it
    /// shows in their middle; and it had gone on by less than a step.
    fn difference(self) -> ClockDifference {
        let half_ns = self.took_ns / 2;
        let step_ns = self.server.step_us.saturating_mul(1000);
        let middle_ns = self.sent_unix_ns.saturating_add_unsigned(half_ns);
        let shown_ns = self.server.unix_us.saturating_mul(1000).saturating_add_unsigned(step_ns / 2);
        ClockDifference {
            ahead_ns: shown_ns.saturating_sub(middle_ns),
            error_ns: half_ns + 1 + step_ns.div_ceil(2),
        }
    }
}

async fn difference(bare: &dyn Bare, clock: &Clock) -> Result<Option<ClockDifference>, LockError> {
    let mut best: Option<Exchange> = None;
    for _ in 0..EXCHANGES {
        // In this order, so that the exchange as it is measured holds both readings of the clocks.
        let (sent_ns, sent_unix_ns) = (clock.now_ns(), unix_ns());
        let Some(server) = bare.clock().await? else { return Ok(None) };
        let exchange = Exchange { sent_unix_ns, took_ns: clock.now_ns() - sent_ns, server };
        best = best.filter(|best| best.took_ns <= exchange.took_ns).or(Some(exchange));
    }
    Ok(best.map(Exchange::difference))
}

fn unix_ns() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_true_difference_is_within_the_bound_wherever_the_time_is_spent() {
        // The server's clock is 7 ms ahead, and is read after any part of an exchange of 2 ms.
        let sent_ns = 1_000_000_000_000_000_000_i64;
        for (read_after_us, step_us) in
            [(0, 1), (300, 1), (2_000, 1), (0, 1_000), (1_100, 1_000), (2_000, 1_000)]
        {
            let exact_us = sent_ns / 1000 + read_after_us + 7_000;
            let unix_us = exact_us / step_us * step_us;
            let server = ServerTime { unix_us, step_us: step_us.unsigned_abs() };
            let exchange = Exchange { sent_unix_ns: sent_ns, took_ns: 2_000_000, server };
            let ClockDifference { ahead_ns, error_ns } = exchange.difference();
            let off_ns = (ahead_ns - 7_000_000).unsigned_abs();
            assert!(off_ns <= error_ns, "{read_after_us} µs, {step_us} µs: {ahead_ns} ± {error_ns}");
            assert!(error_ns < 1_600_000, "{error_ns}");
        }
    }
}
