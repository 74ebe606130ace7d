//! The URL of a server with several members.

use crate::session::{Endpoint, LockError};

/// Where the members of a server are.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::backends) struct Members<'a> {
    /// Each as `host:port`.
    pub(in crate::backends) hosts: Vec<String>,
    /// What follows the last of them, with its slash; empty where nothing does.
    pub(in crate::backends) path: &'a str,
}

/// The members named by a URL of this form, `scheme://host[:port][,host[:port] …][/path]`. Each member may have the
/// scheme again, or none of them one; a member without a port has this one.
///
/// # Errors
/// [`LockError::BadUrl`] for anything else.
pub(in crate::backends) fn members<'a>(
    endpoint: &'a Endpoint,
    schemes: &[&str],
    port: u16,
    form: &'static str,
) -> Result<Members<'a>, LockError> {
    let without_scheme = |one: &'a str| match one.split_once("://") {
        Some((scheme, rest)) => schemes.contains(&scheme).then_some(rest),
        None => Some(one),
    };
    let (mut hosts, mut path) = (Vec::new(), "");
    for one in endpoint.0.split(',') {
        let rest = without_scheme(one.trim()).ok_or(LockError::BadUrl(form))?;
        let end = rest.find('/').unwrap_or(rest.len());
        // A path ends the list.
        if !path.is_empty() {
            return Err(LockError::BadUrl(form));
        }
        path = rest[end..].trim_end_matches('/');
        hosts.push(host_and_port(&rest[..end], port).ok_or(LockError::BadUrl(form))?);
    }
    Ok(Members { hosts, path })
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

    fn of(url: &str) -> Option<(Vec<String>, String)> {
        let endpoint = Endpoint::from(url);
        let members = members(&endpoint, &["etcd", "http"], 2379, "etcd://host:port").ok()?;
        Some((members.hosts, members.path.to_owned()))
    }

    #[test]
    fn members_have_the_scheme_together_each_or_not_at_all() {
        let two = Some((vec!["a:1".to_owned(), "b:2".to_owned()], String::new()));
        for url in ["etcd://a:1,b:2", "http://a:1,http://b:2", "a:1,b:2", "etcd://a:1, b:2/"] {
            assert_eq!(of(url), two, "{url}");
        }
        assert_eq!(of("etcd://a").unwrap().0, ["a:2379"]);
        assert_eq!(of("etcd://[::1],[::2]:7").unwrap().0, ["[::1]:2379", "[::2]:7"]);
        assert_eq!(of("etcd://a:1,b:2/locks/x").unwrap().1, "/locks/x");
    }

    #[test]
    fn what_is_no_url_of_the_form_is_refused() {
        for url in
            ["", "redis://a:1", "etcd://", "etcd://a:b", "etcd://a:1/x,b:2", "etcd://u:p@a:1", "a:1,,b:2"]
        {
            assert_eq!(of(url), None, "{url}");
        }
    }
}
