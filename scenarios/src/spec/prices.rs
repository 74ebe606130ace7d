//! What servers, processors and requests cost whoever decides.

use harness::record::Prices;
use serde::Deserialize;

/// `[prices]`: of what a task costs in money. What is left out is assumed, and the report says so.
#[derive(Debug, Clone, PartialEq, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct PricesSpec {
    /// In which currency; US dollars where nothing is said.
    pub currency: Option<String>,
    /// One server of a lock's product, for an hour.
    pub server_hour: Option<f64>,
    /// One processor of a node, for an hour.
    pub core_hour: Option<f64>,
    /// A million requests, where the product is a service that is paid by requests.
    pub million_requests: Option<f64>,
}

/// Round figures that nobody is promised: of a small server, of one of its processors, of a store that is paid by requests.
const SERVER_HOUR: f64 = 0.10;
const CORE_HOUR: f64 = 0.05;
const MILLION_REQUESTS: f64 = 0.50;

impl PricesSpec {
    /// All of them, for a product on so many servers.
    #[must_use]
    pub fn with_assumed(&self, members: u32) -> Prices {
        let Self { currency, server_hour, core_hour, million_requests } = self;
        let all =
            [("server_hour", server_hour), ("core_hour", core_hour), ("million_requests", million_requests)];
        let stated = all.iter().filter(|(_, price)| price.is_some()).map(|(name, _)| (*name).to_owned());
        Prices {
            currency: currency.clone().unwrap_or_else(|| "USD".to_owned()),
            members,
            server_hour: server_hour.unwrap_or(SERVER_HOUR),
            core_hour: core_hour.unwrap_or(CORE_HOUR),
            million_requests: million_requests.unwrap_or(MILLION_REQUESTS),
            stated: stated.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stated_is_told_from_what_is_assumed() {
        let spec: PricesSpec = toml::from_str("currency = \"EUR\"\ncore_hour = 0.02").unwrap();
        let prices = spec.with_assumed(3);
        assert_eq!((prices.currency.as_str(), prices.members), ("EUR", 3));
        assert_eq!((prices.core_hour, prices.server_hour), (0.02, SERVER_HOUR));
        assert_eq!(prices.stated, ["core_hour"]);
    }
}
