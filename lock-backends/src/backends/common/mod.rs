//! What the sessions of several servers need and no protocol is in: which requests they take, what becomes of
//! one over which the client library panics, how long they wait for an
//! answer, until when a lease holds, and the tasks that a session owns.

mod poison;
mod asked;
mod authorities;
mod members;
mod patience;
mod one_key;
mod lease_end;
mod tasks;
mod recipe;

pub(super) use self::asked::{Panicked, asked};
pub(super) use self::authorities::system_authorities;
pub(super) use self::lease_end::LeaseEnd;
pub(super) use self::members::{Form, Login, Members, each, members, parameter_of};
pub(super) use self::one_key::{exclusive_key, single_key};
pub(super) use self::patience::{CONNECT_TIMEOUT, RELISTEN_DELAY, answer_within};
pub(super) use self::poison::lock;
pub(super) use self::recipe::Recipe;
pub(super) use self::tasks::Tasks;
