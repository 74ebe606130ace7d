//! Where a server is, and the certificates by which it and its client know each other.

use std::fmt;
use std::path::{Path, PathBuf};

use super::error::LockError;

/// The URL of a server, in the form that [`Server::url`](crate::Server::url) gives; `memory:` for variants without one.
/// May hold a password: `Debug` hides it.
///
/// Whether TLS is spoken stands in the URL, in the words of each product: `rediss://`, `https://` (etcd), `zookeeper+tls://`,
/// `tls://` (NATS), `?sslmode=verify-full` (PostgreSQL), `?ssl-mode=VERIFY_IDENTITY` (MariaDB). Which files it takes is said in
/// one way for all, by parameters of the URL: `ssl-ca`, `ssl-cert` and `ssl-key`, paths of PEM files. Without `ssl-ca` the
/// authorities count that the machine trusts; for PostgreSQL and MariaDB Mozilla's list, which sqlx carries.
///
/// ```
/// use lock_backends::Endpoint;
///
/// let endpoint = Endpoint::from("rediss://app:s3cret@db:6380")
///     .with_ca("/etc/redis/ca.pem")
///     .with_client_certificate("/etc/app/cert.pem", "/etc/app/key.pem");
/// assert_eq!(
///     endpoint.0,
///     "rediss://app:s3cret@db:6380?ssl-ca=/etc/redis/ca.pem&ssl-cert=/etc/app/cert.pem&ssl-key=/etc/app/key.pem"
/// );
/// assert_eq!(format!("{endpoint:?}"), "Endpoint(…)");
/// ```
#[derive(Clone)]
pub struct Endpoint(pub String);

const CA: &str = "ssl-ca";
const CERT: &str = "ssl-cert";
const KEY: &str = "ssl-key";

impl Endpoint {
    /// Trusts the authorities in this PEM file to sign the server's certificate, and no others.
    #[must_use]
    pub fn with_ca(self, path: impl AsRef<Path>) -> Self {
        self.with(CA, path.as_ref())
    }

    /// Shows the server this certificate, of which the other file is the key.
    #[must_use]
    pub fn with_client_certificate(self, cert: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        self.with(CERT, cert.as_ref()).with(KEY, key.as_ref())
    }

    fn with(self, name: &str, path: &Path) -> Self {
        let between = if self.0.contains('?') { '&' } else { '?' };
        Self(format!("{}{between}{name}={}", self.0, encoded(&path.display().to_string())))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Endpoint(…)")
    }
}

impl From<&str> for Endpoint {
    fn from(url: &str) -> Self {
        Self(url.to_owned())
    }
}

/// The files that a URL names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authorities that may have signed the server's certificate.
    pub ca: Option<PathBuf>,
    /// The client's certificate.
    pub cert: Option<PathBuf>,
    /// The key of that.
    pub key: Option<PathBuf>,
}

/// Those files, read.
#[derive(Default)]
pub struct Certificates {
    /// As [`TlsFiles::ca`].
    pub ca: Option<String>,
    /// The client's certificate and its key.
    pub client: Option<(String, String)>,
}

impl Certificates {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ca.is_none() && self.client.is_none()
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key is a secret.
        f.write_str("Certificates(…)")
    }
}

impl TlsFiles {
    /// Takes them out of a URL; what is left of it, the rest of its parameters included.
    #[must_use]
    pub fn taken_from(endpoint: &Endpoint) -> (Endpoint, Self) {
        let Some((before, query)) = endpoint.0.split_once('?') else {
            return (endpoint.clone(), Self::default());
        };
        let (mut files, mut rest) = (Self::default(), Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let path = || decoded(value).map(PathBuf::from);
            match name {
                CA => files.ca = path(),
                CERT => files.cert = path(),
                KEY => files.key = path(),
                _ => rest.push(pair),
            }
        }
        let url = if rest.is_empty() { before.to_owned() } else { format!("{before}?{}", rest.join("&")) };
        (Endpoint(url), files)
    }

    /// Whether it names none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Reads them. They are small, and read when a session is opened.
    ///
    /// # Errors
    /// [`LockError::Unavailable`] with the file that cannot be read, or the one that is missing.
    pub fn read(&self) -> Result<Certificates, LockError> {
        let read = |path: &PathBuf| {
            let failed = |error| LockError::Unavailable(format!("cannot read {}: {error}", path.display()));
            std::fs::read_to_string(path).map_err(failed)
        };
        let client = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Some((read(cert)?, read(key)?)),
            (None, None) => None,
            _ => {
                let half = "ssl-cert and ssl-key go together: one of them is missing";
                return Err(LockError::Unavailable(half.to_owned()));
            }
        };
        Ok(Certificates { ca: self.ca.as_ref().map(read).transpose()?, client })
    }
}

/// Percent-encodes what would end a value.
fn encoded(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

/// Undoes percent-encoding; `None` where it is none.
pub fn decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.bytes());
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |digit: Option<u8>| char::from(digit?).to_digit(16);
        let (high, low) = (digit(rest.next())?, digit(rest.next())?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_taken_out_of_a_url_and_the_rest_stays() {
        let endpoint = Endpoint::from("redis://db/0?protocol=resp3").with_ca("/a b&c.pem");
        let endpoint = endpoint.with_client_certificate("cert.pem", "key.pem");
        let (rest, files) = TlsFiles::taken_from(&endpoint);
        assert_eq!(rest.0, "redis://db/0?protocol=resp3");
        let path = |name: &str| Some(PathBuf::from(name));
        let all = TlsFiles { ca: path("/a b&c.pem"), cert: path("cert.pem"), key: path("key.pem") };
        assert_eq!(files, all);
        assert!(TlsFiles::taken_from(&Endpoint::from("memory:")).1.is_empty());
    }

    #[test]
    fn a_file_that_is_not_there_and_a_certificate_without_its_key_are_told() {
        let told = |endpoint: Endpoint| TlsFiles::taken_from(&endpoint).1.read().unwrap_err().to_string();
        assert!(told(Endpoint::from("rediss://db").with_ca("/no/such.pem")).contains("/no/such.pem"));
        assert!(told(Endpoint::from("rediss://db?ssl-cert=/etc/hostname")).contains("ssl-key"));
    }
}
