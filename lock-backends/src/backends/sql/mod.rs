//! What the variants on several SQL servers share. From the ground up: what can be asked of such a server ([`requests`]),
//! how long an answer is waited for (`in_time`), names as numbers (`hash`), what sessions share (`connections`, `wakeups`), and the two kinds of session: a connection
//! for each holder (`per_holder`), and a table of leases (`lease_table`).

mod requests;
mod in_time;
mod hash;
mod connections;
mod wakeups;
mod per_holder;
mod lease_table;

pub(super) use self::connections::set_up;
pub(super) use self::hash::hash;
pub(super) use self::in_time::in_time;
pub(super) use self::lease_table::LeaseTable;
pub(super) use self::per_holder::{PATIENCE_MIN, PerHolder, granted};
pub(super) use self::requests::{
    Announcements, Answer, Backend, Connected, Connection, Failure, HoldServer, Holding, LeaseServer, Leases,
};
pub(super) use self::wakeups::{Waiter, Wakeups, run as wake};
