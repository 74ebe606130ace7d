//! `[servers.redis]`: a server that already runs, in a scenario file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use harness::servers::{ServerKind, TlsFiles};
use serde::Deserialize;

/// A server that already runs. The same as `--redis URL`, `--redis-ca` and so on, which win over it; a password is never in it,
/// since a scenario stands in every record.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSpec {
    /// As `--redis` takes it, without a password.
    pub url: String,
    /// The environment variable that holds the password, where there is one.
    pub password_env: Option<String>,
    /// PEM file of the authorities that may have signed the server's certificate.
    pub ca: Option<PathBuf>,
    /// PEM file of the client's certificate.
    pub cert: Option<PathBuf>,
    /// PEM file of its key.
    pub key: Option<PathBuf>,
}

impl ServerSpec {
    /// What is wrong with it, in words.
    pub(super) fn validate(&self, name: &str) -> Result<(), String> {
        name.parse::<ServerKind>().map_err(|error| error.to_string())?;
        // Whose password is in the environment, that one is a user, and no token.
        let url = match &self.password_env {
            Some(_) => without_user(&self.url),
            None => self.url.clone(),
        };
        if harness::servers::redact(&url) != url {
            return Err(
                "a password would stand in every record: name the environment variable that holds it, \
                        password_env = \"…\""
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// As a client is told it: with the password of the environment, and the files.
    ///
    /// # Errors
    /// In words, when the environment has no such variable.
    pub fn told(&self, kind: ServerKind) -> Result<String, String> {
        let mut url = self.url.clone();
        if let Some(variable) = &self.password_env {
            let missing = |_| {
                format!(
                    "servers.{}: the environment has no {variable}: set it, or leave password_env out",
                    kind.name()
                )
            };
            url = with_password(&url, &std::env::var(variable).map_err(missing)?);
        }
        let files = TlsFiles { ca: self.ca.clone(), cert: self.cert.clone(), key: self.key.clone() };
        Ok(kind.certified(&url, &files))
    }
}

/// The URLs of a scenario's servers.
///
/// # Errors
/// As [`ServerSpec::told`].
pub fn told(servers: &BTreeMap<String, ServerSpec>) -> Result<BTreeMap<ServerKind, String>, String> {
    let one = |(name, server): (&String, &ServerSpec)| {
        let kind: ServerKind = name.parse().map_err(|error| format!("{error}"))?;
        Ok((kind, server.told(kind)?))
    };
    servers.iter().map(one).collect()
}

/// Without a login that has no password.
fn without_user(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    match rest.rsplit_once('@') {
        Some((user, place)) if !user.contains(':') => format!("{scheme}://{place}"),
        _ => url.to_owned(),
    }
}

/// Puts a password into the login of a URL, encoded.
fn with_password(url: &str, password: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    let password: String = password.bytes().map(encode).collect();
    let (scheme, rest) =
        url.split_once("://").map_or((String::new(), url), |(scheme, rest)| (format!("{scheme}://"), rest));
    let (user, place) = rest.rsplit_once('@').unwrap_or(("", rest));
    format!("{scheme}{user}:{password}@{place}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_comes_from_the_environment_and_is_not_in_the_file() {
        let spec = |text: &str| toml::from_str::<ServerSpec>(text).unwrap();
        let refused = spec("url = \"redis://:hunter2@db\"").validate("redis").unwrap_err();
        assert!(refused.contains("password_env") && !refused.contains("hunter2"), "{refused}");
        let token = spec("url = \"nats://t0ken@db\"").validate("nats").unwrap_err();
        assert!(token.contains("password_env") && !token.contains("t0ken"), "{token}");
        spec("url = \"nats://me@db\"\npassword_env = \"P\"").validate("nats").unwrap();
        assert!(spec("url = \"u\"").validate("redes").unwrap_err().contains("redis"));
        // PATH is a variable that every environment has.
        let path = std::env::var("PATH").unwrap();
        let told = spec("url = \"rediss://app@db\"\npassword_env = \"PATH\"\nca = \"/ca.pem\"");
        let told = told.told(ServerKind::named("redis")).unwrap();
        assert!(told.starts_with("rediss://app:") && told.ends_with("@db?ssl-ca=/ca.pem"), "{told}");
        assert!(!told.contains('/') || !path.contains('/') || told.contains("%2F"), "{told}");
        let missing = spec("url = \"u\"\npassword_env = \"NO_SUCH_VARIABLE\"");
        assert!(missing.told(ServerKind::named("etcd")).unwrap_err().contains("NO_SUCH_VARIABLE"));
    }
}
