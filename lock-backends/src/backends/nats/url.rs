//! How a NATS server is named.

use async_nats::{ConnectOptions, ServerAddr};

use crate::backends::common::{self, Form};
use crate::session::{Endpoint, LockError, Member};

pub(super) const URL: &str = "nats://[user:password@|token@]host[:port][,host[:port] …], tls:// over TLS";

const FORM: Form = Form { plain: &["nats"], secured: &["tls"], port: 4222, words: URL };

/// The members as the client crate wants them, and what lets a client in.
#[derive(Debug, Clone)]
pub(super) struct Servers {
    pub(super) members: Vec<ServerAddr>,
    named: common::Members,
}

impl Servers {
    /// Options that log in and have certificates. The library does not look for a login in an address.
    pub(super) fn options(&self) -> ConnectOptions {
        let mut options = ConnectOptions::new().require_tls(self.named.secured);
        if let Some(login) = self.named.login.clone() {
            // A word alone is a token, before or behind the colon.
            options = match (login.user, login.password) {
                (user, Some(password)) if !user.is_empty() => options.user_and_password(user, password),
                (_, Some(token)) | (token, None) => options.token(token),
            };
        }
        let files = self.named.files.clone();
        if let Some(ca) = files.ca {
            options = options.add_root_certificates(ca);
        }
        match files.cert.zip(files.key) {
            Some((cert, key)) => options.add_client_certificate(cert, key),
            None => options,
        }
    }
}

/// Each member that a URL names; each stream has a leader of its own.
pub(super) fn members(endpoint: &Endpoint) -> Result<Vec<Member>, LockError> {
    let each = common::each(endpoint, &servers(endpoint)?.named).into_iter();
    Ok(each.map(|(place, endpoint)| Member { place, role: String::new(), endpoint }).collect())
}

/// The servers that a URL names.
pub(super) fn servers(endpoint: &Endpoint) -> Result<Servers, LockError> {
    let named = common::members(endpoint, &FORM)?;
    let bad = || LockError::BadUrl(URL);
    if !named.path.is_empty() {
        return Err(bad());
    }
    // Their absence is told before anything is tried.
    named.files.read()?;
    let member = |host: &String| format!("nats://{host}").parse().map_err(|_| bad());
    let members = named.hosts.iter().map(member).collect::<Result<_, _>>()?;
    Ok(Servers { members, named })
}
