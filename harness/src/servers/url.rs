//! URLs of servers: taken apart, and shown without their passwords.

use super::parameters::decoded;
use super::tls::TlsFiles;

/// The URL, or comma-separated list of URLs, with every password replaced by `***`.
///
/// Whatever shows a URL to somebody calls this. It rather hides too much than too little.
///
/// ```
/// use harness::servers::redact;
///
/// assert_eq!(redact("redis://:secret@db:6379/0"), "redis://:***@db:6379/0");
/// assert_eq!(redact("http://a:2379,http://b:2379"), "http://a:2379,http://b:2379");
/// ```
pub fn redact(url: &str) -> String {
    let mut without_userinfo = Vec::new();
    let mut before = "";
    for piece in url.split("://") {
        // What is said of a URL begins behind a colon and a space, and may have an `@` in it.
        let (place, said) = piece.split_at(piece.find(": ").unwrap_or(piece.len()));
        let shown = match place.rsplit_once('@') {
            Some((login, rest)) => match login.split_once(':') {
                Some((user, _)) => format!("{user}:***@{rest}"),
                // There a word alone is a token.
                None if TOKENS.contains(&scheme_of(before)) => format!("***@{rest}"),
                None => place.to_owned(),
            },
            None => place.to_owned(),
        };
        without_userinfo.push(shown + said);
        before = piece;
    }
    let mut shown = String::new();
    let mut rest = without_userinfo.join("://");
    // libpq also takes `?password=…` and `password=…` among other words.
    while let Some(at) = rest.to_ascii_lowercase().find("password=") {
        let (before, after) = rest.split_at(at + "password=".len());
        shown.push_str(before);
        shown.push_str("***");
        rest = after.trim_start_matches(|c: char| c != '&' && !c.is_whitespace()).to_owned();
    }
    shown + &rest
}

/// What stands last before a `://`.
fn scheme_of(before: &str) -> &str {
    before.rsplit(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c)).next().unwrap_or_default()
}

/// Schemes of URLs in which the word before the `@` lets somebody in.
const TOKENS: [&str; 2] = ["nats", "tls"];

/// A URL, or an address without a scheme, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// Empty when there is none.
    pub(super) scheme: String,
    /// Whether it is spoken to over TLS.
    pub(super) secured: bool,
    pub(super) files: TlsFiles,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    /// As a socket wants it: an IPv6 host keeps its brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Address {
    /// # Errors
    /// What is wrong, in words.
    pub(super) fn parse(url: &str, default_port: u16) -> Result<Self, String> {
        let files = TlsFiles::of(url);
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (login, place) = authority.rsplit_once('@').map_or((None, authority), |(l, p)| (Some(l), p));
        let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
            Some((user, password)) => (decoded(user)?, decoded(password)?),
            None => (None, None),
        };
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| format!("`{port}` is no port"))?)
            }
            _ => (place, default_port),
        };
        if host.is_empty() {
            return Err("it names no host".to_owned());
        }
        let (scheme, host) = (scheme.to_owned(), host.to_owned());
        Ok(Self { scheme, secured: false, files, user, password, host, port })
    }

    /// The same, with what its scheme says: TLS or not.
    ///
    /// # Errors
    /// Of another scheme, and of files for TLS where the scheme means none, in words.
    pub(super) fn spoken(self, plain: &[&str], secured: &[&str], form: &str) -> Result<Self, String> {
        let scheme = self.scheme.as_str();
        if secured.contains(&scheme) {
            return Ok(Self { secured: true, ..self });
        }
        if !plain.contains(&scheme) {
            return Err(self.expected(form));
        }
        if !self.files.is_empty() {
            return Err(format!("certificates are given and this is no URL of TLS: {}://…", secured[0]));
        }
        Ok(self)
    }

    /// What is wrong with the scheme, in words.
    fn expected(&self, form: &str) -> String {
        match self.scheme.as_str() {
            "" => format!("it has no scheme; {form} is expected"),
            scheme => format!("{form} is expected, not `{scheme}://`"),
        }
    }

    pub(super) fn socket(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        for (url, shown) in [
            ("redis://127.0.0.1:6379", "redis://127.0.0.1:6379"),
            ("postgres://me:s3cret@db/x?sslmode=require", "postgres://me:***@db/x?sslmode=require"),
            ("postgres://me@db/x", "postgres://me@db/x"),
            ("postgres://me:a@b:c@db/x", "postgres://me:***@db/x"),
            ("redis://me:with,comma@db", "redis://me:***@db"),
            ("http://a:p@h1:1,http://b:q@h2:2", "http://a:***@h1:1,http://b:***@h2:2"),
            ("postgres://db/x?user=me&password=s3cret&a=b", "postgres://db/x?user=me&password=***&a=b"),
            ("host=db PASSWORD=s3cret user=me", "host=db PASSWORD=*** user=me"),
            ("nats://t0ken@h:1", "nats://***@h:1"),
            ("no answer at tls://t0ken@h:1, tls://t0ken@i", "no answer at tls://***@h:1, tls://***@i"),
            (
                "rediss+sentinel://me:s3cret@a,b/x?sentinel-password=oth3r",
                "rediss+sentinel://me:***@a,b/x?sentinel-password=***",
            ),
            ("zookeeper+tls://me@h", "zookeeper+tls://me@h"),
            (
                "no answer at redis://h:1: a user before its @",
                "no answer at redis://h:1: a user before its @",
            ),
            ("mysql://me:s3cret@h:1: denied for 'me'@'h'", "mysql://me:***@h:1: denied for 'me'@'h'"),
            ("not a url", "not a url"),
        ] {
            assert_eq!(redact(url), shown);
        }
    }

    #[test]
    fn an_address_is_taken_apart() {
        let address = Address::parse("redis://me:p%40ss@db:7000/3", 6379).unwrap();
        assert_eq!(address.scheme, "redis");
        assert_eq!((address.user.as_deref(), address.password.as_deref()), (Some("me"), Some("p@ss")));
        assert_eq!(address.socket(), "db:7000");
        assert_eq!(Address::parse("redis://:p@[::1]", 6379).unwrap().socket(), "[::1]:6379");
        assert_eq!(Address::parse("localhost:2181", 2181).unwrap().scheme, "");
    }

    #[test]
    fn a_scheme_says_whether_tls_is_spoken_and_certificates_without_it_are_refused() {
        let spoken = |url| Address::parse(url, 1).unwrap().spoken(&["redis"], &["rediss"], "redis://host");
        assert!(!spoken("redis://db").unwrap().secured);
        let address = spoken("rediss://db?ssl-ca=/ca.pem").unwrap();
        assert!(address.secured && address.files.ca == Some("/ca.pem".into()));
        assert!(spoken("redis://db?ssl-ca=/ca.pem").unwrap_err().contains("rediss://"));
        assert!(spoken("http://db").is_err());
    }

    #[test]
    fn an_address_without_host_or_port_number_is_refused() {
        for url in ["redis://", "redis://db:port", "redis://u:%zz@db", ""] {
            assert!(Address::parse(url, 1).is_err(), "{url}");
        }
    }
}
