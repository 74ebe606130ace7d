//! What a grant of an advisory lock is worth.

use crate::session::Survives;

/// What a grant of a variant on advisory locks survives.
pub(super) const ADVISORY_SURVIVES: Survives = Survives {
    node_crash: "no lease: a killed process frees its keys at once; a paused one keeps them; a vanished host until \
                 TCP keep-alive gives up",
    server_kill: "nothing, whatever fsync says: advisory locks live in the server's memory; tokens go on rising",
    power_loss: "nothing, whatever fsync says; tokens go on rising while fsync is on",
};
