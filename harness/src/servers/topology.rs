//! Of how many members a private server is, and which of them leads.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};

use super::{Member, ServerKind, etcd, zookeeper};

/// How long a leader is looked for: longer than any election after which a server still serves.
const LEADER_PATIENCE: Duration = Duration::from_secs(15);

const POLL: Duration = Duration::from_millis(20);

/// Of how many members a private server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Topology {
    /// One, which is all there is.
    #[default]
    Single,
    /// Three, of which one leads and any may fail.
    Replicated,
}

impl Topology {
    /// How many.
    #[must_use]
    pub fn members(self) -> usize {
        match self {
            Self::Single => 1,
            Self::Replicated => 3,
        }
    }
}

impl ServerKind {
    /// Whether it can be started as several members that agree by majority.
    #[must_use]
    pub fn can_be_replicated(self) -> bool {
        match self {
            Self::Redis | Self::Postgres => false,
            Self::Etcd | Self::Zookeeper => true,
        }
    }
}

/// The place of the member that leads, by what each says of itself. A former leader that does not know yet has the
/// lower term.
pub(super) async fn leader(kind: ServerKind, members: &[Member]) -> Result<usize, String> {
    let asking = async {
        loop {
            let terms = join_all(members.iter().map(|member| leads(kind, member))).await;
            let leading = terms.iter().enumerate().filter_map(|(place, term)| Some(((*term)?, place)));
            match leading.max() {
                Some((_, place)) => return place,
                None => sleep(POLL).await,
            }
        }
    };
    let found = timeout(LEADER_PATIENCE, asking).await;
    found.map_err(|_| format!("no member of {kind} leads within {} s", LEADER_PATIENCE.as_secs()))
}

/// The term in which it leads; `None`: it does not, or does not answer.
async fn leads(kind: ServerKind, member: &Member) -> Option<u64> {
    match kind {
        ServerKind::Etcd => etcd::leads(member.endpoint()).await.ok()?,
        ServerKind::Zookeeper => zookeeper::leads(member.endpoint()).await.ok()?,
        // The only one there is.
        ServerKind::Redis | ServerKind::Postgres => Some(0),
    }
}
