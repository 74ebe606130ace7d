//! The way from a host of nodes to the driver.

use std::path::Path;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::keys::{self, KeysError};
use crate::placement::frames::{Frames, STRANGER_BYTES};

/// For a connection and its handshake.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the driver is, and by what it is known.
pub(super) struct Dial {
    /// `HOST:PORT`.
    driver: String,
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl std::fmt::Debug for Dial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The connector has a key.
        f.debug_tuple("Dial").field(&self.driver).finish()
    }
}

impl Dial {
    pub(super) fn new(driver: &str, keys: &Path) -> Result<Self, KeysError> {
        let (connector, name) = keys::connector(keys)?;
        Ok(Self { driver: driver.to_owned(), connector, name })
    }

    /// A new connection; in words why there is none. What the other end says against our certificate comes with the first answer.
    pub(super) async fn connect(&self) -> Result<Frames, String> {
        let dialled = async {
            let mut last = format!("{} is no address", self.driver);
            for address in lookup_host(&self.driver).await.map_err(|error| error.to_string())? {
                match TcpStream::connect(address).await {
                    Ok(stream) => {
                        let secured = self.connector.connect(self.name.clone(), stream).await;
                        let secured = secured.map_err(|error| format!("no handshake with it: {error}"))?;
                        return Ok(Frames::secured(secured, STRANGER_BYTES));
                    }
                    Err(error) => last = error.to_string(),
                }
            }
            Err(last)
        };
        let late = |_| format!("no answer within {} s", PATIENCE.as_secs());
        timeout(PATIENCE, dialled).await.map_err(late)?
    }
}
