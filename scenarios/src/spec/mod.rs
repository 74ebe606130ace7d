//! What was asked: a scenario file, strict about its keys. What will run is a [`Plan`](harness::model::Plan), drawn by
//! [`crate::workload`].
//!
//! The sections of a file first, then the file as a whole ([`ScenarioSpec`]), shapes of load (`load`), the file with its
//! text ([`Scenario`]), what it must keep to (`limits`), the way there from a text (`parse`), and many scenarios of one
//! text ([`Grid`]).

mod units;

mod error;

mod placement;
mod word;

mod arrivals;
mod expect;
mod faults;
mod known;
mod level;
mod prices;
mod servers;
mod tasks;

mod fields;
mod load;
mod scenario;

mod limits;
mod parse;
mod grid;

pub use self::arrivals::{ArrivalsSpec, ShapeWord};
pub use self::error::{SpecError, Wrong, did_you_mean};
pub use self::expect::{Class, ExpectSpec, Foretold};
pub use self::faults::{FaultSpec, VerbSpec};
pub use self::fields::ScenarioSpec;
pub use self::grid::{Grid, named};
pub use self::known::KnownSpec;
pub use self::level::LevelSpec;
pub use self::load::{Load, Poisson, SHAPES, Shape, Start};
pub use self::placement::{Members, Placement};
pub use self::prices::PricesSpec;
pub use self::scenario::Scenario;
pub use self::servers::{ServerSpec, told as servers_told};
pub use self::tasks::{Duration, ResourceSpec, StepSpec, TaskSpec};
pub use self::units::nanos;
