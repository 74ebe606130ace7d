//! How a NATS server is named.

use std::fmt;

use async_nats::{ConnectOptions, ServerAddr};

use crate::backends::common;
use crate::session::{Endpoint, LockError};

pub(super) const URL: &str = "nats://[user:password@]host[:port][,host[:port] …]";

/// The members as the client crate wants them, and what lets a client in.
#[derive(Clone)]
pub(super) struct Servers {
    pub(super) members: Vec<ServerAddr>,
    login: Option<(String, String)>,
}

impl Servers {
    /// Options that log in. The library does not look for a login in an address.
    pub(super) fn options(&self) -> ConnectOptions {
        let options = ConnectOptions::new();
        match self.login.clone() {
            Some((user, password)) => options.user_and_password(user, password),
            None => options,
        }
    }
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the login.
        f.debug_tuple("Servers").field(&self.members).finish()
    }
}

/// The servers that a URL names. One login is enough for a list; a second one has to be the same.
pub(super) fn servers(endpoint: &Endpoint) -> Result<Servers, LockError> {
    let bad = || LockError::BadUrl(URL);
    let (mut places, mut logins) = (Vec::new(), Vec::new());
    for one in endpoint.0.split(',') {
        let one = one.trim();
        let (scheme, rest) = one.split_at(one.find("://").map_or(0, |colon| colon + 3));
        let place = rest.rsplit_once('@').map_or(rest, |(login, place)| {
            logins.push(login);
            place
        });
        places.push(format!("{scheme}{place}"));
    }
    logins.dedup();
    let login = match logins[..] {
        [] => None,
        // What is encoded would have to be decoded here.
        [login] if !login.contains('%') => Some(login.split_once(':').ok_or_else(bad)?),
        _ => return Err(bad()),
    };
    let places = Endpoint(places.join(","));
    let common::Members { hosts, path: "" } = common::members(&places, &["nats"], 4222, URL)? else {
        return Err(bad());
    };
    let member = |host: &String| format!("nats://{host}").parse().map_err(|_| bad());
    let members = hosts.iter().map(member).collect::<Result<_, _>>()?;
    Ok(Servers { members, login: login.map(|(user, password)| (user.to_owned(), password.to_owned())) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str) -> Option<(usize, Option<(String, String)>)> {
        servers(&Endpoint::from(url)).ok().map(|servers| (servers.members.len(), servers.login))
    }

    #[test]
    fn the_login_is_that_of_all_members() {
        let me = Some(("me".to_owned(), "s3cret".to_owned()));
        assert_eq!(of("nats://a,nats://b:1"), Some((2, None)));
        for url in ["nats://me:s3cret@a", "me:s3cret@a"] {
            assert_eq!(of(url), Some((1, me.clone())), "{url}");
        }
        for url in ["nats://me:s3cret@a,b", "nats://me:s3cret@a, nats://me:s3cret@b:7"] {
            assert_eq!(of(url), Some((2, me.clone())), "{url}");
        }
        for url in
            ["nats://me:s3cret@a,nats://you:s3cret@b", "nats://me@a", "nats://me:s%20t@a", "redis://me:x@a"]
        {
            assert_eq!(of(url), None, "{url}");
        }
    }

    #[test]
    fn no_password_is_shown() {
        let servers = servers(&Endpoint::from("nats://me:s3cret@a:1")).unwrap();
        assert!(!format!("{servers:?}").contains("s3cret"));
    }
}
