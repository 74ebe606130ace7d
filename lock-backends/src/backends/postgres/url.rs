//! How a PostgreSQL server is named.

use std::str::FromStr as _;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::requests::URL;
use crate::backends::common::system_authorities;
use crate::session::{Endpoint, LockError, Member, TlsFiles};

/// How to reach the server at that URL. Whoever gives an authority wants it checked: then nothing less than `verify-full` is meant
/// where `sslmode` says nothing.
pub(super) fn options(endpoint: &Endpoint) -> Result<PgConnectOptions, LockError> {
    // The library takes any scheme, and its error could repeat the password.
    let ours = ["postgres://", "postgresql://"].iter().any(|scheme| endpoint.0.starts_with(scheme));
    let options = PgConnectOptions::from_str(&endpoint.0).ok().filter(|_| ours);
    let options = options.ok_or(LockError::BadUrl(URL))?;
    let (rest, files) = TlsFiles::taken_from(endpoint);
    files.read()?;
    let says = |name: &str| rest.0.contains(&format!("{name}="));
    let options = match files.ca {
        Some(_) if !says("sslmode") && !says("ssl-mode") => options.ssl_mode(PgSslMode::VerifyFull),
        _ => options,
    };
    let checked = matches!(options.get_ssl_mode(), PgSslMode::VerifyCa | PgSslMode::VerifyFull);
    let none = checked && files.ca.is_none() && !says("sslrootcert");
    Ok(match system_authorities().filter(|_| none) {
        Some(authorities) => options.ssl_root_cert(authorities),
        None => options,
    })
}

/// The one server that a URL names.
pub(super) fn itself(endpoint: &Endpoint) -> Result<Vec<Member>, LockError> {
    let options = options(endpoint)?;
    let place = format!("{}:{}", options.get_host(), options.get_port());
    Ok(vec![Member { place, role: String::new(), endpoint: endpoint.clone() }])
}
