//! Servers that stand while others have their turn: of one contender in one block, stopped between its probes, so that it takes
//! nothing from whoever has the turn.

use std::collections::BTreeMap;
use std::time::Duration;

use harness::servers::Server;

/// The part of a core that a server may take while it is not its turn.
const MOST_IDLE_SHARE: f64 = 0.01;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Standing {
    block: u32,
    servers: BTreeMap<&'static str, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    server: Server,
    cpu_ns: Option<u64>,
    since: jiff::Timestamp,
}

impl Standing {
    /// Ends the servers of all other blocks.
    pub(super) async fn begin(&mut self, block: u32) -> anyhow::Result<()> {
        if std::mem::replace(&mut self.block, block) != block {
            self.end().await?;
        }
        Ok(())
    }

    /// Ends all.
    pub(super) async fn end(&mut self) -> anyhow::Result<()> {
        for waiting in std::mem::take(&mut self.servers).into_values() {
            let mut server = waiting.server;
            resume(&mut server)?;
            server.stop().await?;
        }
        Ok(())
    }

    /// The contender's server, which goes on, and what speaks against what others measured meanwhile; `None`: it has none here.
    pub(super) fn take(&mut self, contender: &str) -> anyhow::Result<Option<(Server, Option<String>)>> {
        let Some(Waiting { mut server, cpu_ns, since }) = self.servers.remove(contender) else {
            return Ok(None);
        };
        let used_ns = server.cpu_ns().zip(cpu_ns).map(|(now, then)| now.saturating_sub(then));
        let waited_ns = jiff::Timestamp::now().duration_since(since).as_nanos().max(1) as f64;
        resume(&mut server)?;
        Ok(Some((server, used_ns.and_then(|used_ns| restless(contender, used_ns, waited_ns)))))
    }

    /// Stops a server until its next turn, once it has come to rest; no session is open on it.
    pub(super) async fn keep(&mut self, contender: &'static str, mut server: Server) -> anyhow::Result<()> {
        // One that already ran is not ours to stop.
        if server.pid().is_some() {
            rest(&server).await;
            server.pause().await.map_err(anyhow::Error::msg)?;
        }
        let waiting = Waiting { cpu_ns: server.cpu_ns(), server, since: jiff::Timestamp::now() };
        self.servers.insert(contender, waiting);
        Ok(())
    }
}

/// In words, where a server took more than its part while it was not its turn.
fn restless(contender: &str, used_ns: u64, waited_ns: f64) -> Option<String> {
    let share = used_ns as f64 / waited_ns;
    (share > MOST_IDLE_SHARE).then(|| {
        format!(
            "the server of {contender} took {:.1} % of a core while it was not its turn, from whoever had it: run it in a batch of its own \
             (--contenders {contender})",
            100.0 * share
        )
    })
}

/// Returns when the server has hardly done anything for a moment: what was still asked of it when a probe was cut is done by then,
/// and is not left for the next turn. Gives up after some seconds: one that is never at rest is what it is.
async fn rest(server: &Server) {
    const LOOK: Duration = Duration::from_millis(50);
    const MOST_LOOKS: u32 = 60;
    const AT_REST: f64 = 0.1;
    for _ in 0..MOST_LOOKS {
        let before_ns = server.cpu_ns();
        tokio::time::sleep(LOOK).await;
        let used_ns = server.cpu_ns().zip(before_ns).map_or(0, |(now, then)| now.saturating_sub(then));
        if used_ns as f64 <= AT_REST * LOOK.as_nanos() as f64 {
            return;
        }
    }
}

fn resume(server: &mut Server) -> anyhow::Result<()> {
    if server.pid().is_some() {
        server.resume().map_err(anyhow::Error::msg)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_works_while_it_is_not_its_turn_is_told_with_what_to_do() {
        assert_eq!(restless("zk-seq", 10_000_000, 1e9), None, "a hundredth of a core is not more than that");
        let told = restless("zk-seq", 25_000_000, 1e9).unwrap();
        assert!(
            told.contains("zk-seq took 2.5 % of a core") && told.ends_with("(--contenders zk-seq)"),
            "{told}"
        );
    }
}
