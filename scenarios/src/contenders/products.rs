//! Which product a lock variant runs on.

use harness::servers::ServerKind;
use lock_backends::Variant;

/// The server of a lock variant.
pub(crate) fn server_kind(variant: &Variant) -> Option<ServerKind> {
    let server = lock_backends::server_of(variant)?;
    Some(server.name.parse().expect("lock servers are products of the harness"))
}
