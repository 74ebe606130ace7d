//! Names as the server's advisory locks know them, and what a grant on those is worth.

use std::time::Duration;

use crate::session::{Grant, Request, Survives, Token, Validity};

/// What a grant of a variant on advisory locks survives.
pub(super) const ADVISORY_SURVIVES: Survives = Survives {
    node_crash: "no lease: a killed process frees its keys at once; a paused one keeps them; a vanished host until \
                 TCP keep-alive gives up",
    server_kill: "nothing, whatever fsync says: advisory locks live in the server's memory; tokens go on rising",
    power_loss: "nothing, whatever fsync says; tokens go on rising while fsync is on",
};

/// A session gives one statement the ttl asked for, at least this, before its connection counts as lost.
pub(super) const PATIENCE_MIN: Duration = Duration::from_secs(1);

/// FNV-1a in 64 bits over a prefix of ours and the name: stable over builds, machines and languages.
pub(super) fn hash(name: &str) -> i64 {
    let bytes = b"lockbench:".iter().chain(name.as_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    }) as i64
}

/// The grant of an advisory lock.
pub(super) fn granted(request: &Request, token: Token) -> Grant {
    let (keys, owner) = (request.keys.clone(), request.owner.clone());
    Grant { keys, owner, token: Some(token), validity: Validity::NoLease }
}

#[cfg(test)]
mod tests {
    use super::hash;

    /// The conformance suite locks these two.
    #[test]
    fn two_names_with_one_hash_are_known() {
        assert_eq!(hash("FQdmNbzbq4c"), hash("rheRAdVb1C8"));
        assert_ne!(hash("vm-1"), hash("vm-2"));
    }
}
