//! Who may take part in runs over a network: whoever has a certificate of an authority that was made for them.
//!
//! ```text
//! KEYS/ca.pem                    both ends: whom they believe
//! KEYS/driver.pem, driver.key    the driver alone
//! KEYS/node.pem,   node.key      the hosts of nodes
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::servers::{Authority, TlsFiles, Valid, certificates, client_config};

/// The environment variable that names the folder of the keys.
pub const KEYS: &str = "LOCKBENCH_KEYS";

/// What the driver's certificate is for, wherever it listens: addresses of pods are not known beforehand.
const DRIVER: &str = "driver.lockbench";

/// A folder with keys that cannot be used, in words.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0}; `lockbench keys DIR` makes them: ca.pem and driver.* go to the driver, ca.pem and node.* to the hosts of nodes"
)]
pub struct KeysError(String);

/// Makes keys for one user's runs: an authority that nobody else trusts and whose own key is forgotten, a certificate for the driver
/// and one for all hosts of nodes. Only their owner can read them.
///
/// # Errors
/// When there are some in the folder already, or it cannot be written.
pub fn make_keys(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let wrong = |error: std::io::Error| format!("cannot write {}: {error}", folder.display());
    std::fs::create_dir_all(folder).map_err(wrong)?;
    for (_, files) in [(), ()].iter().zip([ends("driver"), ends("node")]) {
        for file in [files.0, files.1, "ca.pem".to_owned()].map(|name| folder.join(name)) {
            if file.exists() {
                return Err(format!(
                    "{} is there already, and may be in use: name another folder",
                    file.display()
                ));
            }
        }
    }
    let authority = Authority::create(folder, "ca")?;
    let driver = authority.server("driver", &[DRIVER], Valid::Now)?;
    let node = authority.client("node", Valid::Now)?;
    Ok(vec![authority.ca().to_owned(), driver.0, driver.1, node.0, node.1])
}

fn ends(name: &str) -> (String, String) {
    (format!("{name}.pem"), format!("{name}.key"))
}

/// What the driver answers with.
pub(super) fn acceptor(folder: &Path) -> Result<TlsAcceptor, KeysError> {
    let (cert, key) = ends("driver");
    let (cert, key) = (folder.join(cert), folder.join(key));
    let mut roots = RootCertStore::empty();
    for authority in certificates(&folder.join("ca.pem")).map_err(KeysError)? {
        roots.add(authority).map_err(|error| KeysError(error.to_string()))?;
    }
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build();
    let verifier = verifier.map_err(|error| KeysError(error.to_string()))?;
    let secret = PrivateKeyDer::from_pem_file(&key);
    let secret = secret.map_err(|error| KeysError(format!("{}: {error}", key.display())))?;
    let config = ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(&cert).map_err(KeysError)?, secret)
        .map_err(|error| KeysError(format!("{}: {error}", key.display())))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// What a host of nodes dials with, and whom it wants to find.
pub(super) fn connector(folder: &Path) -> Result<(TlsConnector, ServerName<'static>), KeysError> {
    let (cert, key) = ends("node");
    let files = TlsFiles {
        ca: Some(folder.join("ca.pem")),
        cert: Some(folder.join(cert)),
        key: Some(folder.join(key)),
    };
    let config = client_config(&files).map_err(KeysError)?;
    let name = ServerName::try_from(DRIVER).expect("it is a name");
    Ok((TlsConnector::from(Arc::new(config)), name))
}
