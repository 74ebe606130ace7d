//! The port: a contender can be a program in any language, which speaks a JSON object a line on its standard input and output.
//! What it says and is told is written down in `docs/port.md`.
//!
//! The words of a line (`message`), what a program promises and how it is started (`client`), the two sides of the pipe: a program's
//! as a lock backend (`conversation`, `session`), and ours for whoever asks (`serve`).

mod message;

mod client;

mod lines;
mod table;
mod conversation;
mod session;

mod cost;
pub mod conformance;

mod flaw;
mod serve;

pub use self::client::{Client, ClientError, ClientFile, FILE, SurvivesWords};
pub use self::cost::{Cost, cost};
pub use self::flaw::Flaw;
pub use self::message::{FromProgram, HowHeld, Promises, ToProgram, VERSION};
pub use self::serve::{Served, serve};
pub use self::session::Port;
