//! PostgreSQL. From the ground up: what can be asked of the server ([`requests`], beside what can be asked of several SQL
//! servers), how it is named (`url`), what a grant is worth (`worth`), who asks (`statements`, `primary`, `pooler`,
//! `client`), and the variants.

mod requests;
mod url;
mod worth;
mod statements;
mod primary;
mod pooler;
mod client;

mod pg_session;
mod pg_mux;
mod pg_xact;
mod pg_row;
mod pg_lease;

mod bare;
mod contents;

use crate::session::Server;

/// The product, and one line for each variant on it.
pub(super) const SERVER: Server = Server {
    name: "postgres",
    url: requests::URL,
    variants: &[
        &pg_session::VARIANT,
        &pg_mux::VARIANT,
        &pg_xact::VARIANT,
        &pg_row::VARIANT,
        &pg_lease::VARIANT,
    ],
    of_a_quorum: &[],
    settings: &[
        ("fsync, synchronous_commit", "whether rows of leases outlive a loss of power"),
        ("idle_session_timeout", "whether an idle holder loses its session"),
        ("max_connections", "how many holders a variant with a session each can have"),
    ],
    bare: |endpoint| Box::pin(async { Ok(Box::new(bare::Postgres::connect(endpoint).await?) as _) }),
    contents: |endpoint| Box::pin(async { Ok(Box::new(contents::Postgres::connect(endpoint).await?) as _) }),
    members: |endpoint| Box::pin(async { url::itself(endpoint) }),
    model: None,
};
