//! A connection over TLS, with the server's certificate checked.

use std::path::Path;
use std::sync::Arc;

use rustls_native_certs::load_native_certs;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::tls::TlsFiles;
use super::url::Address;

/// A connection, over TLS or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Does the handshake on a new connection to the address.
///
/// # Errors
/// In words: a file that cannot be read, or why the certificate does not count.
pub(super) async fn secured(stream: TcpStream, address: &Address) -> Result<Box<dyn Stream>, String> {
    let host = address.host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host).map_err(|_| "its host is no name that a certificate can have")?;
    let connector = TlsConnector::from(Arc::new(config(&address.files)?));
    let stream = connector.connect(name, stream).await.map_err(|error| error.to_string())?;
    Ok(Box::new(stream))
}

/// How a client is sure of its server, and the server of it where the files name a certificate for that.
///
/// # Errors
/// In words: a file that cannot be read, or is none of its kind.
pub(crate) fn config(files: &TlsFiles) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match &files.ca {
        Some(ca) => {
            for authority in certificates(ca)? {
                roots.add(authority).map_err(|error| format!("{}: {error}", ca.display()))?;
            }
        }
        None => drop(roots.add_parsable_certificates(load_native_certs().certs)),
    }
    let config = ClientConfig::builder().with_root_certificates(roots);
    match (&files.cert, &files.key) {
        (Some(cert), Some(key)) => {
            let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", key.display());
            let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(&error))?;
            config.with_client_auth_cert(certificates(cert)?, secret).map_err(|error| wrong(&error))
        }
        (None, None) => Ok(config.with_no_client_auth()),
        _ => Err("ssl-cert and ssl-key go together: one of them is missing".to_owned()),
    }
}

/// Those of a file, one at least.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let read = CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))?;
    let read: Vec<_> = read.collect::<Result<_, _>>().map_err(|error| wrong(&error))?;
    if read.is_empty() { Err(wrong(&"there is no certificate in it")) } else { Ok(read) }
}
