//! What can be asked of a MariaDB server: to open connections of the two kinds that several SQL servers have.
//!
//! [`client`](super::client) asks a real server; whatever answers in the same way can stand in its place.

use crate::backends::sql::{HoldServer, LeaseServer};

/// Form of the URL under which a server is reached.
pub(super) const URL: &str = "mysql://user[:password]@host[:port]/database[?ssl-mode=VERIFY_IDENTITY]";

/// A server that can be reached.
pub(super) trait Mariadb: HoldServer + LeaseServer {}
