//! Why there is no lock.

/// Why a lock operation did not do what was asked. Being held by another is not an error.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LockError {
    /// The server did not answer or refused the connection; nothing happened.
    #[error("lock server unavailable: {0}")]
    Unavailable(String),
    /// The deadline passed and it is proven that no grant can follow.
    #[error("deadline passed while waiting; the request is withdrawn")]
    TimedOut,
    /// It may have happened: the answer was lost.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// The session is gone, and all its grants with it.
    #[error("session lost: {0}")]
    SessionLost(String),
    /// The server answered something that the protocol does not allow.
    #[error("protocol error: {0}")]
    Protocol(String),
    /// What was held ended before it was given back; somebody else may have held it meanwhile.
    #[error("the lock was lost before its release")]
    AlreadyLost,
    /// The URL of the server is not of this form. (It is not repeated: it may hold a password.)
    #[error("a URL of the form {0} is expected")]
    BadUrl(&'static str),
    /// This variant cannot do that; its [`Capabilities`](crate::Capabilities) say so.
    #[error("not supported by this variant: {0}")]
    Unsupported(&'static str),
}

/// An error of a client crate that says that the server cannot be reached.
pub fn unavailable(error: impl std::error::Error) -> LockError {
    LockError::Unavailable(told(&error))
}

/// An error with all that caused it: client crates say what went wrong in their last cause, and not always above.
pub fn told(error: &dyn std::error::Error) -> String {
    let (mut all, mut next) = (error.to_string(), error.source());
    while let Some(cause) = next {
        let text = cause.to_string();
        if !all.contains(&text) {
            all = format!("{all}: {text}");
        }
        next = cause.source();
    }
    all
}

/// What to do about an error of TLS, or of a login, where its text says what it is: in the words of rustls and of the servers.
pub fn remedy(text: &str) -> Option<&'static str> {
    let text = text.to_ascii_lowercase();
    REMEDIES.iter().find(|(words, _)| words.iter().any(|word| text.contains(word))).map(|(_, remedy)| *remedy)
}

const REMEDIES: &[(&[&str], &str)] = &[
    (
        &[
            "certificaterequired",
            "certificate required",
            "valid client certificate",
            "badcertificate",
            "bad certificate",
        ],
        "the server asks for a certificate of its clients: give one that it trusts as ssl-cert and ssl-key",
    ),
    (&["expired"], "the server's certificate has expired, or a clock is wrong: it needs a new one"),
    (
        &["not valid for", "notvalidforname"],
        "the server's certificate is for another host: use a name that stands in it, or have one made for this name",
    ),
    (
        &["unknownissuer"],
        "nobody who is trusted here signed the server's certificate: give that authority's certificate as ssl-ca",
    ),
    (
        &["access denied for user"],
        "another user or password, or the account asks for TLS, or for a certificate of the client's: ssl-cert and ssl-key",
    ),
    (
        &[
            "wrongpass",
            "noauth",
            "authentication failed",
            "authorization violation",
            "authentication error",
            "not authorized",
        ],
        "it asks for another user or password than the URL has before its @",
    ),
    (
        &["corrupt message", "invalidcontenttype", "does not support tls"],
        "the server does not speak TLS on this port: use another port, or the URL without TLS",
    ),
    (
        &["handshake eof"],
        "the server hung up in the middle of the handshake, as who does not speak TLS on this port: use another port, or the URL without TLS",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rustls_says_of_a_certificate_has_a_remedy() {
        for (text, remedied) in [
            ("invalid peer certificate: UnknownIssuer", "ssl-ca"),
            ("invalid peer certificate: certificate expired: verification time 1", "expired"),
            ("certificate not valid for name \"a\"", "another host"),
            ("received fatal alert: CertificateRequired", "ssl-cert"),
            ("received corrupt message of type InvalidContentType", "without TLS"),
            ("tls handshake eof", "without TLS"),
        ] {
            assert!(remedy(text).unwrap().contains(remedied), "{text}");
        }
        assert_eq!(remedy("connection refused"), None);
    }
}
