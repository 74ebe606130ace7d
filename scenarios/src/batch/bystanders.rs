//! Others who use a server that lockbench did not start: load on it begins small, and ends once they wait too long for its answers.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::Context as _;
use harness::engine::{Clock, RoundTrip, Ways};
use harness::servers::ServerKind;
use lock_backends::{Bare, Endpoint, backends};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::spec::Scenario;

/// The part of a load with which it begins.
const TENTH: f64 = 0.1;

/// For how long.
const EASED_S: f64 = 1.0;

/// Between two questions of a bystander: enough to see a second of slowness, too little to be felt.
const EVERY: Duration = Duration::from_millis(50);

/// Of so many in a row the median counts: one slow answer is nobody's fault.
const IN_A_ROW: usize = 11;

/// Nobody minds so little more, whatever the bound: on loopback it is a busy client.
const AT_LEAST_MORE: Duration = Duration::from_millis(5);

/// Whoever waits for an answer so long need not wait for ten more.
const LONGEST: Duration = Duration::from_secs(2);

/// A client that asks for the least that there is, as others would who use the server too.
#[derive(Debug)]
pub(super) struct Bystander {
    kind: ServerKind,
    bare: Box<dyn Bare>,
    /// To nobody but this process and back: how long an answer takes that no server gives, while the machine is as busy as it is.
    echo: RoundTrip,
    clock: Clock,
    before: Duration,
    /// So many times as long as before is too long.
    bound: f64,
}

impl Bystander {
    /// Connects, and asks how long answers take now.
    pub(super) async fn connect(kind: ServerKind, url: &str, bound: f64) -> anyhow::Result<Self> {
        let server =
            backends::server(kind.name()).with_context(|| format!("{kind}: no locks are built for it"))?;
        let endpoint = Endpoint(url.to_owned());
        let (bare, clock) = ((server.bare)(&endpoint).await?, Clock::real()?);
        let echo = RoundTrip::open(Ways::delayed(Duration::ZERO), clock.clone()).await?;
        let mut bystander = Self { kind, bare, echo, clock, before: Duration::ZERO, bound };
        let mut took = Vec::with_capacity(IN_A_ROW);
        for _ in 0..IN_A_ROW {
            took.push(bystander.once().await?);
        }
        bystander.before = median(took);
        Ok(bystander)
    }

    /// How long an answer takes, less what it takes without a server: others are not as busy as this process may be.
    async fn once(&self) -> anyhow::Result<Duration> {
        let sent_ns = self.clock.now_ns();
        let asked = async {
            let answered = timeout(LONGEST, self.bare.ping()).await;
            (answered, self.clock.now_ns() - sent_ns)
        };
        let echoed = async {
            self.echo.once().await?;
            Ok::<_, std::io::Error>(self.clock.now_ns() - sent_ns)
        };
        let ((answered, took_ns), echoed_ns) = tokio::join!(asked, echoed);
        match answered {
            Ok(answered) => answered?,
            Err(_) => return Ok(LONGEST),
        }
        Ok(Duration::from_nanos(took_ns.saturating_sub(echoed_ns?)))
    }

    /// Returns once answers take too long, with the words for it. Cancel safe.
    async fn waits_too_long(&self) -> String {
        let most = self.before.mul_f64(self.bound).max(self.before + AT_LEAST_MORE);
        let mut last = VecDeque::with_capacity(IN_A_ROW);
        loop {
            sleep(EVERY).await;
            // A broken connection is the run's to tell.
            let Ok(took) = self.once().await else { continue };
            if last.len() == IN_A_ROW {
                last.pop_front();
            }
            last.push_back(took);
            let now = median(last.iter().copied().collect());
            if (last.len() == IN_A_ROW && now > most) || took >= LONGEST {
                let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
                return format!(
                    "stopped: others who use this {} wait {:.1} ms for an answer, before it was {:.1}; --bystander-bound sets how much longer \
                     they may wait ({} times as long now), or `off`",
                    self.kind,
                    ms(now.max(took.min(LONGEST))),
                    ms(self.before),
                    self.bound
                );
            }
        }
    }
}

fn median(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    took.get(took.len() / 2).copied().unwrap_or_default()
}

/// Runs it to its end, or, where a bystander has to wait too long, stops it.
///
/// # Errors
/// Its own, or the bystander's words.
pub(super) async fn beside<T>(
    bystander: Option<&Bystander>,
    stop: &CancellationToken,
    running: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let Some(bystander) = bystander else { return running.await };
    let mut running = std::pin::pin!(running);
    tokio::select! {
        biased;
        done = &mut running => done,
        words = bystander.waits_too_long() => {
            stop.cancel();
            // What it began it gives back.
            running.await.map(drop)?;
            anyhow::bail!(words)
        }
    }
}

/// A short scenario with a tenth of the load, to be run before the first run on a server that others may use.
pub(super) fn eased(scenario: &Scenario) -> Scenario {
    let mut eased = scenario.clone();
    eased.spec.warm_up_s = EASED_S;
    // As a warm-up, which takes a burst as a rate.
    eased.spec.rate_per_s = Some(scenario.spec.rate_per_s.unwrap_or(100.0) * TENTH);
    eased
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{catalog, workload};

    #[test]
    fn load_begins_with_a_tenth_of_what_is_asked_for() {
        let scenario = catalog::load("smoke", &[("rate_per_s".to_owned(), "1000".to_owned())]).unwrap();
        let plan = workload::draw_warm_up(&eased(&scenario), 7).unwrap().unwrap();
        let tasks = plan.tasks.len();
        assert!((60..=140).contains(&tasks), "100 expected, their number varies by its root: {tasks}");
    }
}
