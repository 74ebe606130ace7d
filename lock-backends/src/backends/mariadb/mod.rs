//! MariaDB. From the ground up: what can be asked of the server ([`requests`], beside what can be asked of several SQL
//! servers), how it is named (`url`), who asks (`statements`, `client`), and the variants.

mod requests;
mod url;
mod statements;
mod client;

mod mysql_get_lock;
mod mysql_lease;

mod bare;
mod contents;

use crate::session::Server;

/// The product, and one line for each variant on it.
pub(super) const SERVER: Server = Server {
    name: "mariadb",
    url: requests::URL,
    variants: &[&mysql_get_lock::VARIANT, &mysql_lease::VARIANT],
    of_a_quorum: &[],
    settings: &[
        ("innodb_flush_log_at_trx_commit", "whether rows of leases outlive a loss of power"),
        (
            "wait_timeout",
            "whether an idle holder loses its session; sessions of ours raise it for themselves",
        ),
        ("tcp_keepalive_time", "when the keys of a vanished host are free"),
        ("max_connections", "how many holders a variant with a session each can have"),
    ],
    bare: |endpoint| Box::pin(async { Ok(Box::new(bare::Mariadb::connect(endpoint).await?) as _) }),
    contents: |endpoint| Box::pin(async { Ok(Box::new(contents::Mariadb::connect(endpoint).await?) as _) }),
    members: |endpoint| Box::pin(async { url::itself(endpoint) }),
    model: None,
};
