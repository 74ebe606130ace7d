//! What servers, processors and requests are taken to cost.

use serde::{Deserialize, Serialize};

/// Prices that a cost is worked out with. None is measured: each is the scenario's, or a usual one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// In which currency.
    pub currency: String,
    /// Servers that a contender's product runs on.
    pub members: u32,
    /// Of one such server for an hour.
    pub server_hour: f64,
    /// Of one processor of a node for an hour.
    pub core_hour: f64,
    /// Of a million requests, where the product is had as a service that is paid by requests.
    pub million_requests: f64,
    /// Those of them, by field, that the scenario states; the others are assumed.
    #[serde(default)]
    pub stated: Vec<String>,
}
