//! How a MariaDB server is named.

use std::str::FromStr as _;

use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};

use super::requests::URL;
use crate::backends::common::system_authorities;
use crate::session::{Endpoint, LockError, Member, TlsFiles};

/// How to reach the server at that URL. Whoever gives an authority wants it checked: then nothing less than `VERIFY_IDENTITY` is
/// meant where `ssl-mode` says nothing.
pub(super) fn options(endpoint: &Endpoint) -> Result<MySqlConnectOptions, LockError> {
    // The library takes any scheme, and its error could repeat the password.
    let ours = ["mysql://", "mariadb://"].iter().any(|scheme| endpoint.0.starts_with(scheme));
    let options = MySqlConnectOptions::from_str(&endpoint.0).ok().filter(|_| ours);
    let options = options.ok_or(LockError::BadUrl(URL))?;
    let (rest, files) = TlsFiles::taken_from(endpoint);
    files.read()?;
    let says = |name: &str| rest.0.contains(&format!("{name}="));
    let options = match files.ca {
        Some(_) if !says("sslmode") && !says("ssl-mode") => options.ssl_mode(MySqlSslMode::VerifyIdentity),
        _ => options,
    };
    let checked = matches!(options.get_ssl_mode(), MySqlSslMode::VerifyCa | MySqlSslMode::VerifyIdentity);
    let none = checked && files.ca.is_none() && !says("sslca");
    Ok(match system_authorities().filter(|_| none) {
        Some(authorities) => options.ssl_ca(authorities),
        None => options,
    })
}

/// The one server that a URL names.
pub(super) fn itself(endpoint: &Endpoint) -> Result<Vec<Member>, LockError> {
    let options = options(endpoint)?;
    let place = format!("{}:{}", options.get_host(), options.get_port());
    Ok(vec![Member { place, role: String::new(), endpoint: endpoint.clone() }])
}
