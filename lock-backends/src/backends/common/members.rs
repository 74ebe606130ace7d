//! The URL of a server with several members.

use std::fmt;

use crate::session::{Endpoint, LockError, TlsFiles, decoded};

/// Where the members of a server are, and what lets a client in.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::backends) struct Members {
    /// Each as `host:port`.
    pub(in crate::backends) hosts: Vec<String>,
    /// What follows the last of them, with its slash; empty where nothing does.
    pub(in crate::backends) path: String,
    /// Before the `@`, the same of all members.
    pub(in crate::backends) login: Option<Login>,
    /// Whether the URL's scheme is one of TLS.
    pub(in crate::backends) secured: bool,
    /// For TLS.
    pub(in crate::backends) files: TlsFiles,
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the login.
        f.debug_tuple("Members").field(&self.hosts).field(&self.path).finish()
    }
}

/// A user and a password, or a word alone.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::backends) struct Login {
    pub(in crate::backends) user: String,
    pub(in crate::backends) password: Option<String>,
}

/// How a server with several members is named.
pub(in crate::backends) struct Form {
    /// Schemes without TLS; a URL without any has none.
    pub(in crate::backends) plain: &'static [&'static str],
    /// Schemes with it.
    pub(in crate::backends) secured: &'static [&'static str],
    /// Of a member that names none.
    pub(in crate::backends) port: u16,
    /// In words.
    pub(in crate::backends) words: &'static str,
}

/// The URL of each of those members alone, with all else of the list's, as `(host:port, endpoint)`.
pub(in crate::backends) fn each(endpoint: &Endpoint, members: &Members) -> Vec<(String, Endpoint)> {
    let (list, query) = endpoint
        .0
        .split_once('?')
        .map_or((&*endpoint.0, String::new()), |(list, query)| (list, format!("?{query}")));
    let (scheme, rest) =
        list.split_once("://").map_or((String::new(), list), |(scheme, rest)| (format!("{scheme}://"), rest));
    let first = rest.split(',').next().unwrap_or_default();
    let login = first.rsplit_once('@').map_or(String::new(), |(login, _)| format!("{login}@"));
    let one =
        |place: &String| (place.clone(), Endpoint(format!("{scheme}{login}{place}{}{query}", members.path)));
    members.hosts.iter().map(one).collect()
}

/// Takes a parameter out of the URL of a form, which is told in words; what is left of it, and the value, decoded.
///
/// # Errors
/// [`LockError::BadUrl`] for a value that cannot be decoded.
pub(in crate::backends) fn parameter_of(
    endpoint: &Endpoint,
    name: &str,
    words: &'static str,
) -> Result<(Endpoint, Option<String>), LockError> {
    let Some((before, query)) = endpoint.0.split_once('?') else { return Ok((endpoint.clone(), None)) };
    let is_it = |pair: &&str| pair.split_once('=').is_some_and(|(other, _)| other == name);
    let (its, others): (Vec<&str>, Vec<&str>) = query.split('&').partition(is_it);
    let value = its.first().and_then(|pair| pair.split_once('=')).map(|(_, value)| decoded(value));
    let url = if others.is_empty() { before.to_owned() } else { format!("{before}?{}", others.join("&")) };
    Ok((Endpoint(url), value.map(|value| value.ok_or(LockError::BadUrl(words))).transpose()?))
}

/// The members named by a URL of this form, `scheme://[login@]host[:port][,host[:port] …][/path]`. Each member may have scheme
/// and login again, or only one of them; what several say has to be the same.
///
/// # Errors
/// [`LockError::BadUrl`] for anything else.
pub(in crate::backends) fn members(endpoint: &Endpoint, form: &Form) -> Result<Members, LockError> {
    let bad = || LockError::BadUrl(form.words);
    let (endpoint, files) = TlsFiles::taken_from(endpoint);
    let (mut hosts, mut path, mut secured, mut logins) = (Vec::new(), "", Vec::new(), Vec::new());
    for one in endpoint.0.split(',') {
        let rest = match one.trim().split_once("://") {
            Some((scheme, rest)) => {
                secured.push(form.secured.contains(&scheme));
                let known = form.plain.contains(&scheme) || form.secured.contains(&scheme);
                known.then_some(rest).ok_or_else(bad)?
            }
            None => one.trim(),
        };
        // A path ends the list.
        if !path.is_empty() {
            return Err(bad());
        }
        let end = rest.rfind('@').map_or(0, |at| at + 1);
        let end = rest[end..].find('/').map_or(rest.len(), |slash| end + slash);
        path = rest[end..].trim_end_matches('/');
        let place = rest[..end].rsplit_once('@').map_or(&rest[..end], |(login, place)| {
            logins.push(login);
            place
        });
        hosts.push(host_and_port(place, form.port).ok_or_else(bad)?);
    }
    secured.dedup();
    logins.dedup();
    let secured = match secured[..] {
        [] => false,
        [secured] => secured,
        _ => return Err(bad()),
    };
    let login = match logins[..] {
        [] => None,
        [login] => Some(login_of(login).ok_or_else(bad)?),
        _ => return Err(bad()),
    };
    if !secured && !files.is_empty() {
        return Err(LockError::Unavailable(format!(
            "certificates are given and this is no URL of TLS: {}://…",
            form.secured[0]
        )));
    }
    Ok(Members { hosts, path: path.to_owned(), login, secured, files })
}

fn login_of(login: &str) -> Option<Login> {
    let (user, password) = match login.split_once(':') {
        Some((user, password)) => (user, Some(decoded(password)?)),
        None => (login, None),
    };
    Some(Login { user: decoded(user)?, password })
}

fn host_and_port(place: &str, default: u16) -> Option<String> {
    // The colons inside the brackets are those of an IPv6 address.
    let after_host = place.rfind(']').map_or(0, |bracket| bracket + 1);
    let (host, port) = match place[after_host..].find(':') {
        Some(colon) => (&place[..after_host + colon], place[after_host + colon + 1..].parse().ok()?),
        None => (place, default),
    };
    let odd = |c: char| c.is_whitespace() || matches!(c, '@' | '?' | '#' | '=');
    (!host.is_empty() && !host.contains(odd)).then(|| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: Form =
        Form { plain: &["etcd", "http"], secured: &["https"], port: 2379, words: "etcd://host:port" };

    fn named(url: &str) -> Option<Members> {
        members(&Endpoint::from(url), &FORM).ok()
    }

    fn of(url: &str) -> Option<(Vec<String>, String)> {
        named(url).map(|members| (members.hosts, members.path))
    }

    #[test]
    fn members_have_the_scheme_together_each_or_not_at_all() {
        let two = Some((vec!["a:1".to_owned(), "b:2".to_owned()], String::new()));
        for url in
            ["etcd://a:1,b:2", "http://a:1,http://b:2", "a:1,b:2", "etcd://a:1, b:2/", "https://a:1,b:2"]
        {
            assert_eq!(of(url), two, "{url}");
        }
        assert_eq!(of("etcd://a").unwrap().0, ["a:2379"]);
        assert_eq!(of("etcd://[::1],[::2]:7").unwrap().0, ["[::1]:2379", "[::2]:7"]);
        assert_eq!(of("etcd://a:1,b:2/locks/x").unwrap().1, "/locks/x");
    }

    #[test]
    fn the_login_is_that_of_all_members() {
        let login = |url| named(url).unwrap().login.map(|login| (login.user, login.password));
        let me = Some(("me".to_owned(), Some("s3c/ret".to_owned())));
        for url in ["etcd://me:s3c%2Fret@a,b", "me:s3c/ret@a", "http://me:s3c/ret@a,http://me:s3c/ret@b"] {
            assert_eq!(login(url), me, "{url}");
        }
        assert_eq!(login("etcd://a-token@a"), Some(("a-token".to_owned(), None)));
        assert_eq!(login("etcd://a"), None);
        assert_eq!(named("http://me:s3c/ret@a,http://you:s3c/ret@b"), None);
        let shown = format!("{:?}", named("etcd://me:s3cret@a").unwrap());
        assert!(!shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn tls_is_in_the_scheme_and_its_files_in_the_parameters() {
        let members = named("https://a,https://b?ssl-ca=/ca.pem").unwrap();
        assert!(members.secured && members.files.ca == Some("/ca.pem".into()) && members.hosts.len() == 2);
        assert!(!named("http://a").unwrap().secured);
        assert_eq!(named("http://a?ssl-ca=/ca.pem"), None);
        assert_eq!(named("http://a,https://b"), None);
    }

    #[test]
    fn each_member_alone_has_the_login_the_path_and_the_certificates_of_all() {
        let list = Endpoint::from("https://me:s3cret@a,b:7/root?ssl-ca=/ca.pem");
        let each = each(&list, &members(&list, &FORM).unwrap());
        let shown: Vec<_> = each.iter().map(|(place, endpoint)| (&**place, &*endpoint.0)).collect();
        assert_eq!(
            shown,
            [
                ("a:2379", "https://me:s3cret@a:2379/root?ssl-ca=/ca.pem"),
                ("b:7", "https://me:s3cret@b:7/root?ssl-ca=/ca.pem"),
            ]
        );
    }

    #[test]
    fn what_is_no_url_of_the_form_is_refused() {
        for url in
            ["", "redis://a:1", "etcd://", "etcd://a:b", "etcd://a:1/x,b:2", "a:1,,b:2", "etcd://u:%zz@a"]
        {
            assert_eq!(of(url), None, "{url}");
        }
    }
}
