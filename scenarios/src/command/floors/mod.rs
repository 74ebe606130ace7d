//! `lockbench floors`: how far each lock variant is from the least that its server could take.
//!
//! From the ground: what several rounds say (`spread`), in which order variants take turns (`turns`), sessions (`nodes`), what is
//! measured (`pair` beside the floor, the `hot` key, one that is held `idle`), all of a server (`server`), the `table`, and the verb.

mod spread;
mod turns;
mod nodes;

mod pair;
mod hot;
mod idle;
mod server;

mod table;
mod verb;

pub(super) use self::verb::Floors;
