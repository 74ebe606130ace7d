//! How an etcd cluster is named.

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};

use crate::backends::common::{self, Form};
use crate::session::{Endpoint, LockError};

pub(super) const URL: &str = "etcd://[user:password@]host[:port][,host[:port] …], https:// over TLS";

const FORM: Form = Form { plain: &["etcd", "http"], secured: &["https", "etcds"], port: 2379, words: URL };

/// The members, and what lets a client in.
#[derive(Debug, Clone)]
pub(super) struct Cluster(common::Members);

/// The cluster that a URL names.
pub(super) fn cluster(endpoint: &Endpoint) -> Result<Cluster, LockError> {
    let members = common::members(endpoint, &FORM)?;
    let without_password = members.login.as_ref().is_some_and(|login| login.password.is_none());
    if !members.path.is_empty() || without_password {
        return Err(LockError::BadUrl(URL));
    }
    Ok(Cluster(members))
}

impl Cluster {
    /// The members as the client crate wants them.
    pub(super) fn urls(&self) -> Vec<String> {
        let scheme = if self.0.secured { "https" } else { "http" };
        self.0.hosts.iter().map(|host| format!("{scheme}://{host}")).collect()
    }

    /// The same options, which log in and have certificates.
    pub(super) fn options(&self, options: ConnectOptions) -> Result<ConnectOptions, LockError> {
        let options = match &self.0.login {
            Some(common::Login { user, password: Some(password) }) => options.with_user(user, password),
            _ => options,
        };
        if !self.0.secured {
            return Ok(options);
        }
        let read = self.0.files.read()?;
        let tls = match read.ca {
            Some(ca) => TlsOptions::new().ca_certificate(Certificate::from_pem(ca)),
            None => TlsOptions::new().with_enabled_roots(),
        };
        let tls = match read.client {
            Some((cert, key)) => tls.identity(Identity::from_pem(cert, key)),
            None => tls,
        };
        Ok(options.with_tls(tls))
    }
}
