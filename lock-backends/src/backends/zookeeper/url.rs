//! How a ZooKeeper ensemble is named.

use std::fs;

use tokio::net::TcpStream;
use zookeeper_client::{Acls, Client, Connector, Error, SaslOptions, TlsOptions};

use super::handshake;
use crate::backends::common::{self, Form, system_authorities};
use crate::session::{Certificates, Endpoint, LockError, Member, unavailable};

pub(super) const URL: &str = "zookeeper://[user:password@]host[:port][,host[:port] …][/root][?sasl=digest-md5], zookeeper+tls:// over TLS";

const FORM: Form =
    Form { plain: &["zookeeper", "zk"], secured: &["zookeeper+tls", "zk+tls"], port: 2181, words: URL };

/// The parameter that says by which mechanism of SASL somebody logs in, and the one that there is.
const SASL: &str = "sasl";

/// Sessions begun until a closed connection is taken for a refusal.
const LOGINS: u32 = 8;
const DIGEST_MD5: &str = "digest-md5";

/// The members and the root, and what lets a client in.
#[derive(Debug, Clone)]
pub(super) struct Ensemble {
    members: common::Members,
    /// Whether the login is of an account that the server knows, by SASL; otherwise it makes itself known by it, by `digest`.
    sasl: bool,
}

/// The ensemble that a URL names.
pub(super) fn ensemble(endpoint: &Endpoint) -> Result<Ensemble, LockError> {
    let (endpoint, mechanism) = common::parameter_of(endpoint, SASL, URL)?;
    let sasl = match mechanism.as_deref() {
        None => false,
        Some(DIGEST_MD5) => true,
        Some(_) => {
            let why = "of SASL this client has digest-md5 alone: give an account of that and sasl=digest-md5, or log in by the digest \
                       scheme, user:password before the @ and no sasl, or show a certificate, ssl-cert and ssl-key";
            return Err(LockError::Unavailable(why.to_owned()));
        }
    };
    let members = common::members(&endpoint, &FORM)?;
    let whole = members.login.as_ref().map(|login| login.password.is_some());
    if whole == Some(false) || (sasl && whole.is_none()) {
        return Err(LockError::BadUrl(URL));
    }
    Ok(Ensemble { members, sasl })
}

/// Each member that a URL names; which one leads, clients are not told.
pub(super) fn members(endpoint: &Endpoint) -> Result<Vec<Member>, LockError> {
    let each = common::each(endpoint, &ensemble(endpoint)?.members).into_iter();
    Ok(each.map(|(place, endpoint)| Member { place, role: String::new(), endpoint }).collect())
}

impl Ensemble {
    /// As the client crate wants it.
    pub(super) fn cluster(&self) -> String {
        format!("{}{}", self.members.hosts.join(","), self.members.path)
    }

    /// Who may touch what a session creates: whoever logs in as it does, or, where it does not log in, anyone.
    pub(super) fn acls(&self) -> Acls<'static> {
        if self.members.login.is_some() { Acls::creator_all() } else { Acls::anyone_all() }
    }

    /// Opens a session with these settings, logged in, over TLS where the URL says so.
    pub(super) async fn connect(&self, connector: Connector) -> Result<Client, LockError> {
        let connector = match &self.members.login {
            Some(common::Login { user, password: Some(password) }) if self.sasl => {
                connector.with_sasl(SaslOptions::digest_md5(user.clone(), password.clone()))
            }
            Some(common::Login { user, password: Some(password) }) => {
                connector.with_auth("digest", format!("{user}:{password}").as_bytes())
            }
            _ => connector,
        };
        let cluster = self.cluster();
        if !self.members.secured {
            let connected = self.logged_in(&connector, &cluster).await;
            return match connected {
                Ok(client) => Ok(client),
                Err(error) => Err(self.refusal(error).await),
            };
        }
        let Certificates { ca, client } = self.members.files.read()?;
        // The library trusts nobody of itself.
        let ca = ca.or_else(|| fs::read_to_string(system_authorities()?).ok());
        let nobody = || LockError::Unavailable("this machine trusts nobody: give ssl-ca".to_owned());
        let ca = ca.ok_or_else(nobody)?;
        let connector = connector.with_tls(tls(&ca, client.as_ref())?);
        if let Ok(client) = self.logged_in(&connector, &cluster).await {
            return Ok(client);
        }
        if let Some(failure) = handshake::failure(self.place(), &ca, client.as_ref()).await {
            return Err(LockError::Unavailable(failure));
        }
        // It can be done, only not in the time that the library gives it: a JVM's first handshakes take seconds.
        match self.logged_in(&connector, &cluster).await {
            Ok(client) => Ok(client),
            Err(error) => Err(self.refusal(error).await),
        }
    }

    /// Once more where the library took the answer to a login for the one to its hello. It sends both at once, and a server that is
    /// still making the session answers the login first.
    async fn logged_in(&self, connector: &Connector, cluster: &str) -> Result<Client, Error> {
        let mut left = if self.members.login.is_some() { LOGINS } else { 1 };
        loop {
            left -= 1;
            let connector = connector.clone();
            let connected = if self.members.secured {
                connector.secure_connect(cluster).await
            } else {
                connector.connect(cluster).await
            };
            match connected {
                Err(error) if left > 0 && is_closed(&error) => {}
                ended => return ended,
            }
        }
    }

    /// Whom to ask what is wrong.
    fn place(&self) -> &str {
        self.members.hosts.first().map_or("", |place| place)
    }

    /// Why no session came about. A server that does not take a login of SASL says so and closes the connection, with which what it
    /// said may be lost: then the library says that there are no hosts.
    async fn refusal(&self, error: Error) -> LockError {
        if self.sasl && is_closed(&error) && TcpStream::connect(self.place()).await.is_ok() {
            let why = "it answers, and ends every session: authentication failed";
            return LockError::Unavailable(why.to_owned());
        }
        unavailable(error)
    }
}

fn is_closed(error: &Error) -> bool {
    matches!(error, Error::NoHosts | Error::ConnectionLoss)
}

fn tls(ca: &str, client: Option<&(String, String)>) -> Result<TlsOptions, LockError> {
    let named = |error: Error| LockError::Unavailable(format!("the certificates of the URL: {error}"));
    let tls = TlsOptions::new().with_pem_ca(ca).map_err(named)?;
    match client {
        Some((cert, key)) => tls.with_pem_identity(cert, key).map_err(named),
        None => Ok(tls),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sasl_is_digest_md5_with_a_login_and_another_mechanism_is_refused_with_what_lets_in_instead() {
        let asked = |url: &str| ensemble(&Endpoint::from(url));
        assert!(asked("zookeeper://me:s3cret@a,b/root?sasl=digest-md5").unwrap().sasl);
        assert!(asked("zookeeper+tls://me:s3cret@a?sasl=digest-md5&ssl-ca=/ca.pem").unwrap().sasl);
        assert!(!asked("zookeeper://sasl:sasl@a,b/sasl").unwrap().sasl);
        for mechanism in ["gssapi", "plain", ""] {
            let error =
                asked(&format!("zookeeper://me:s3cret@a,b?sasl={mechanism}")).unwrap_err().to_string();
            assert!(error.contains("sasl=digest-md5") && error.contains("ssl-cert"), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
        for url in ["zookeeper://a?sasl=digest-md5", "zookeeper://me@a?sasl=digest-md5"] {
            assert!(matches!(asked(url), Err(LockError::BadUrl(_))), "{url}");
        }
    }

    #[test]
    fn each_member_alone_is_logged_in_to_as_all_are() {
        let each = members(&Endpoint::from("zookeeper://me:s3cret@a,b/root?sasl=digest-md5")).unwrap();
        assert_eq!(each[1].endpoint.0, "zookeeper://me:s3cret@b:2181/root?sasl=digest-md5");
    }
}
