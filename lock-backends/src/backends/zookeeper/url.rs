//! How a ZooKeeper ensemble is named.

use std::fs;

use zookeeper_client::{Acls, Client, Connector, Error, TlsOptions};

use super::handshake;
use crate::backends::common::{self, Form, system_authorities};
use crate::session::{Certificates, Endpoint, LockError, unavailable};

pub(super) const URL: &str =
    "zookeeper://[user:password@]host[:port][,host[:port] …][/root], zookeeper+tls:// over TLS";

const FORM: Form =
    Form { plain: &["zookeeper", "zk"], secured: &["zookeeper+tls", "zk+tls"], port: 2181, words: URL };

/// The members and the root, and what lets a client in.
#[derive(Debug, Clone)]
pub(super) struct Ensemble(common::Members);

/// The ensemble that a URL names.
pub(super) fn ensemble(endpoint: &Endpoint) -> Result<Ensemble, LockError> {
    let members = common::members(endpoint, &FORM)?;
    if members.login.as_ref().is_some_and(|login| login.password.is_none()) {
        return Err(LockError::BadUrl(URL));
    }
    Ok(Ensemble(members))
}

impl Ensemble {
    /// As the client crate wants it.
    pub(super) fn cluster(&self) -> String {
        format!("{}{}", self.0.hosts.join(","), self.0.path)
    }

    /// Who may touch what a session creates: whoever logs in as it does, or, where it does not log in, anyone.
    pub(super) fn acls(&self) -> Acls<'static> {
        if self.0.login.is_some() { Acls::creator_all() } else { Acls::anyone_all() }
    }

    /// Opens a session with these settings, logged in by digest, over TLS where the URL says so.
    pub(super) async fn connect(&self, connector: Connector) -> Result<Client, LockError> {
        let connector = match &self.0.login {
            Some(common::Login { user, password: Some(password) }) => {
                connector.with_auth("digest", format!("{user}:{password}").as_bytes())
            }
            _ => connector,
        };
        let cluster = self.cluster();
        if !self.0.secured {
            return connector.connect(&cluster).await.map_err(unavailable);
        }
        let Certificates { ca, client } = self.0.files.read()?;
        // The library trusts nobody of itself.
        let ca = ca.or_else(|| fs::read_to_string(system_authorities()?).ok());
        let nobody = || LockError::Unavailable("this machine trusts nobody: give ssl-ca".to_owned());
        let ca = ca.ok_or_else(nobody)?;
        let connector = connector.with_tls(tls(&ca, client.as_ref())?);
        let error = match connector.secure_connect(&cluster).await {
            Ok(client) => return Ok(client),
            Err(error) => error,
        };
        let place = self.0.hosts.first().map_or("", |place| place);
        Err(match handshake::failure(place, &ca, client.as_ref()).await {
            Some(failure) => LockError::Unavailable(failure),
            None => unavailable(error),
        })
    }
}

fn tls(ca: &str, client: Option<&(String, String)>) -> Result<TlsOptions, LockError> {
    let named = |error: Error| LockError::Unavailable(format!("the certificates of the URL: {error}"));
    let tls = TlsOptions::new().with_pem_ca(ca).map_err(named)?;
    match client {
        Some((cert, key)) => tls.with_pem_identity(cert, key).map_err(named),
        None => Ok(tls),
    }
}
