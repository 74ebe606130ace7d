//! How a Redis server is named.

use redis::io::tcp::TcpSettings;
use redis::{Client, ClientTlsConfig, IntoConnectionInfo, ProtocolVersion, TlsCertificates};

use super::requests::URL;
use crate::session::{Endpoint, LockError, TlsFiles, unavailable};

/// A client of the library for that server, over TLS where the scheme is `rediss`.
pub(super) fn client(
    endpoint: &Endpoint,
    protocol: Option<ProtocolVersion>,
    tcp: TcpSettings,
) -> Result<Client, LockError> {
    let (endpoint, files) = TlsFiles::taken_from(endpoint);
    let info = endpoint.0.as_str().into_connection_info().map_err(|_| LockError::BadUrl(URL))?;
    let settings = info.redis_settings().clone();
    let settings = match protocol {
        Some(protocol) => settings.set_protocol(protocol),
        None => settings,
    };
    let info = info.set_redis_settings(settings).set_tcp_settings(tcp);
    if files.is_empty() {
        return Client::open(info).map_err(unavailable);
    }
    let read = files.read()?;
    let client_tls = read
        .client
        .map(|(cert, key)| ClientTlsConfig { client_cert: cert.into_bytes(), client_key: key.into_bytes() });
    let certificates = TlsCertificates { client_tls, root_cert: read.ca.map(String::into_bytes) };
    Client::build_with_tls(info, certificates).map_err(unavailable)
}
