//! Why no session over TLS comes about: of a handshake that failed the library says that there are no hosts.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// How long a server takes at most to say that it misses a certificate, once the handshake is done.
const PROTEST: Duration = Duration::from_millis(500);

/// Does a handshake with the member at `host:port` and says how it failed; `None`: it did not.
pub(super) async fn failure(place: &str, ca: &str, client: Option<&(String, String)>) -> Option<String> {
    tried(place, ca, client).await.err()
}

async fn tried(place: &str, ca: &str, client: Option<&(String, String)>) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(ca.as_bytes()).flatten());
    let config = ClientConfig::builder().with_root_certificates(roots);
    let config = match client {
        Some((cert, key)) => {
            let cert = CertificateDer::pem_slice_iter(cert.as_bytes()).flatten().collect();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| error.to_string())?;
            config.with_client_auth_cert(cert, key).map_err(|error| error.to_string())?
        }
        None => config.with_no_client_auth(),
    };
    let host = place.rsplit_once(':').map_or(place, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
    let stream = TcpStream::connect(place).await.map_err(|error| error.to_string())?;
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let mut stream = handshake.map_err(|error| error.to_string())?;
    match timeout(PROTEST, stream.read_u8()).await {
        Ok(Err(error)) => Err(error.to_string()),
        _ => Ok(()),
    }
}
