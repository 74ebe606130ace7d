//! What a design would take and carry, from what its requests cost: queues in front of servers and nodes, in virtual time of its own,
//! exact to the nanosecond. Nothing breaks here; that is what the rest of the simulation is for.
//!
//! What a design costs (`costs`), what works one request after the other (`station`), and a whole plan gone through (`forecast`).

mod costs;
mod station;
mod forecast;

pub use costs::{Costs, Route};
pub use forecast::{Forecast, forecast};
