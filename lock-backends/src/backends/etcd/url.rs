//! How an etcd cluster is named.

use etcd_client::{Certificate, Client, ConnectOptions, Identity, TlsOptions};
use futures_util::future::join_all;

use crate::backends::common::{self, CONNECT_TIMEOUT, Form};
use crate::session::{Endpoint, LockError, Member};

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

/// Each member that a URL names, and whether it leads.
pub(super) async fn members(endpoint: &Endpoint) -> Result<Vec<Member>, LockError> {
    let each = common::each(endpoint, &cluster(endpoint)?.0).into_iter();
    let asked = each.map(|(place, endpoint)| async {
        // One that does not answer is one all the same.
        let role = role(&endpoint).await.unwrap_or_default().to_owned();
        Member { place, role, endpoint }
    });
    Ok(join_all(asked).await)
}

async fn role(endpoint: &Endpoint) -> Option<&'static str> {
    let cluster = cluster(endpoint).ok()?;
    let options = cluster.options(ConnectOptions::new().with_timeout(CONNECT_TIMEOUT)).ok()?;
    let client = Client::connect(cluster.urls(), Some(options)).await.ok()?;
    let said = client.maintenance_client().status().await.ok()?;
    Some(if said.leader() == said.header()?.member_id() { "leader" } else { "follower" })
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
