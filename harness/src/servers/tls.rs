//! TLS: the files that a URL names, and those that a private server is started with.

use std::path::{Path, PathBuf};

use super::parameters::{Parameters, encoded};

/// The certificates by which a client and a server know each other, as the parameters `ssl-ca`, `ssl-cert` and `ssl-key` of a
/// server's URL name them: one way for every product. Paths are no secrets, so records show them.
///
/// ```
/// use harness::servers::TlsFiles;
///
/// let files = TlsFiles { ca: Some("/etc/ca.pem".into()), ..TlsFiles::default() };
/// assert_eq!(files.on("rediss://db:6379"), "rediss://db:6379?ssl-ca=/etc/ca.pem");
/// assert_eq!(TlsFiles::of("rediss://db:6379?ssl-ca=/etc/ca.pem"), files);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsFiles {
    /// The authorities that may have signed the server's certificate, in PEM; those that the machine trusts where none are given.
    pub ca: Option<PathBuf>,
    /// The client's certificate, in PEM, for a server that asks for one.
    pub cert: Option<PathBuf>,
    /// The key of that, in PEM.
    pub key: Option<PathBuf>,
}

const CA: &str = "ssl-ca";
const CERT: &str = "ssl-cert";
const KEY: &str = "ssl-key";

impl TlsFiles {
    /// Those that a URL names.
    #[must_use]
    pub fn of(url: &str) -> Self {
        let parameters = Parameters::of(url);
        let path = |name| parameters.get(name).map(PathBuf::from);
        Self { ca: path(CA), cert: path(CERT), key: path(KEY) }
    }

    /// The URL with these in it, which win over those that it names.
    #[must_use]
    pub fn on(&self, url: &str) -> String {
        let mut parameters = Parameters::of(url);
        for (name, path) in [(CA, &self.ca), (CERT, &self.cert), (KEY, &self.key)] {
            if let Some(path) = path {
                parameters.set(name, &encoded(&path.display().to_string()));
            }
        }
        parameters.url()
    }

    /// Whether it names none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How a private server speaks TLS: on its one port, and nothing else there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The authority of all certificates here, in PEM.
    pub ca: PathBuf,
    /// The server's certificate, in PEM.
    pub cert: PathBuf,
    /// The key of that.
    pub key: PathBuf,
    /// Certificate and key of a client. Where there are any, nobody is let in without a certificate of the authority.
    pub client: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    /// What its clients are told.
    pub(super) fn of_clients(&self) -> TlsFiles {
        let (cert, key) = self.client.clone().unzip();
        TlsFiles { ca: Some(self.ca.clone()), cert, key }
    }

    /// The files of the server, as `(name, path)`.
    pub(super) fn of_server(&self) -> [(&'static str, &Path); 3] {
        [("ca.pem", &self.ca), ("cert.pem", &self.cert), ("key.pem", &self.key)]
    }
}

/// What to do about an error of TLS, or of a login, where its text says what it is: in the words of rustls, of OpenSSL and of the
/// servers.
pub(super) fn remedy(text: &str) -> Option<&'static str> {
    let text = text.to_ascii_lowercase();
    REMEDIES.iter().find(|(words, _)| words.iter().any(|word| text.contains(word))).map(|(_, remedy)| *remedy)
}

const REMEDIES: &[(&[&str], &str)] = &[
    (
        &[
            "certificate required",
            "certificaterequired",
            "valid client certificate",
            "bad certificate",
            "badcertificate",
        ],
        "it asks for a certificate of its clients: give one that it trusts as ssl-cert and ssl-key",
    ),
    (&["expired"], "its certificate has expired, or a clock is wrong: the server needs a new one"),
    (
        &["not valid for", "notvalidforname", "does not match host", "host name verification", "hostname"],
        "its certificate is for another host: use a name that stands in it, or have one made for this name",
    ),
    (
        &["unknownissuer", "unknown issuer", "certificate verify failed", "self-signed", "self signed"],
        "nobody whom this machine trusts signed its certificate: give that authority's certificate as ssl-ca",
    ),
    (
        &["access denied for user"],
        "another user or password, or the account asks for TLS, or for a certificate of the client's: ssl-cert and ssl-key",
    ),
    (
        &["wrongpass", "noauth", "authentication failed", "authorization violation", "authentication error"],
        "it asks for another user or password than the URL has before its @",
    ),
    (
        &[
            "corrupt message",
            "no answer to a handshake",
            "invalidcontenttype",
            "wrong version number",
            "does not support ssl",
            "doesn't support ssl",
        ],
        "it does not speak TLS on this port: use another port, or the URL without TLS",
    ),
    (
        &["handshake eof"],
        "it hung up in the middle of the handshake, as who does not speak TLS on this port: use another port, or the URL without TLS",
    ),
    (
        &["fatal:  database \"", "fatal: database \"", "unknown database"],
        "make that database there, or name another after the URL's last /",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_into_a_url_is_found_in_it() {
        let all = TlsFiles {
            ca: Some("/etc/my ca&co.pem".into()),
            cert: Some("c.pem".into()),
            key: Some("k.pem".into()),
        };
        for url in ["rediss://:p@db", "postgres://me@db/x?sslmode=verify-full", "https://a:1,https://b:2"] {
            assert_eq!(TlsFiles::of(&all.on(url)), all, "{url}");
            assert_eq!(TlsFiles::default().on(url), url);
        }
        let other = TlsFiles { ca: Some("other.pem".into()), ..TlsFiles::default() };
        assert_eq!(TlsFiles::of(&other.on(&all.on("rediss://db"))).ca, other.ca);
    }

    #[test]
    fn what_a_server_says_of_a_wrong_url_has_a_remedy() {
        for (text, remedied) in [
            ("tls handshake eof", "without TLS"),
            ("received corrupt message of type InvalidContentType", "without TLS"),
            ("FATAL:  database \"nope\" does not exist", "make that database"),
            ("ERROR 1049 (42000): Unknown database 'nope'", "make that database"),
            ("WRONGPASS invalid username-password pair", "another user or password"),
        ] {
            assert!(remedy(text).is_some_and(|told| told.contains(remedied)), "{text}");
        }
        assert_eq!(remedy("Connection refused"), None);
    }
}
