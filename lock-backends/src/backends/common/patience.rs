//! How long a session waits for its server.

use std::time::Duration;

use crate::session::{Now, Request};

/// Bound on opening a session, and on each of its connections.
pub(in crate::backends) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer that is due at the deadline may still take before its outcome counts as unknown.
const GRACE: Duration = Duration::from_millis(200);
/// Pause before listening again where a stream of news ended.
pub(in crate::backends) const RELISTEN_DELAY: Duration = Duration::from_millis(200);

/// How long an answer may take for a caller: until its deadline and a little longer, but never more than `most`.
pub(in crate::backends) fn answer_within(request: &Request, now: &dyn Now, most: Duration) -> Duration {
    request.remaining(now).saturating_add(GRACE).min(most)
}
