//! What can take part: classes of mechanisms, and the adapters that make mechanisms of the harness of them.
//!
//! What a mechanism is made for (`setting`), what a contender is (`contender`), a file for each class (`control`, `lock`,
//! `pooled`, `ring`, `jobs`, `transfer`, and `client`, whose locks are programs) with its line in `registry`, and how one comes about in another process (`recipe`).

mod clock;
mod products;
mod setting;
mod travel;

mod contender;

mod control;
mod jobs;
mod lock;
mod pooled;
mod ring;
mod transfer;

mod client;

mod registry;

mod recipe;

pub(crate) use self::lock::{modelled_variants, over_model};
pub(crate) use self::products::server_kind;

pub use self::contender::{AGAIN, Contender, Design, PORT_ECHO, Proof};
pub use self::recipe::{Recipe, node};
pub use self::registry::all;
pub use self::setting::{Here, LinksBetween, Setting};
