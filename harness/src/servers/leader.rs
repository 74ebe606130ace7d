//! Which member of a private server leads.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};

use super::member::Member;

/// How long a leader is looked for: longer than any election after which a server still serves. A round of NATS takes 4 to 9 s,
/// and a second one follows where two stood against each other.
const LEADER_PATIENCE: Duration = Duration::from_secs(30);

const POLL: Duration = Duration::from_millis(20);

/// The place of the member that leads, by what each says of itself. A former leader that does not know yet has the
/// lower term.
pub(super) async fn leader(members: &[Member]) -> Result<usize, String> {
    let asking = async {
        loop {
            let terms = join_all(members.iter().map(Member::leads)).await;
            let leading = terms.iter().enumerate().filter_map(|(place, term)| Some(((*term)?, place)));
            match leading.max() {
                Some((_, place)) => return place,
                None => sleep(POLL).await,
            }
        }
    };
    let found = timeout(LEADER_PATIENCE, asking).await;
    found.map_err(|_| format!("no member leads within {} s", LEADER_PATIENCE.as_secs()))
}
