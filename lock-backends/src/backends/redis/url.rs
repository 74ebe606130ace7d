//! How Redis servers are named: one, the primary of a service that Sentinels know, or a Cluster.

use std::fmt;

use redis::io::tcp::TcpSettings;
use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion,
    RedisConnectionInfo, TlsCertificates,
};

use super::requests::URL;
use crate::backends::common::{Form, Login, Members, members, parameter_of};
use crate::session::{Endpoint, LockError, TlsFiles, decoded, unavailable};

/// What a URL stands for.
pub(super) enum Named {
    /// A server at one address.
    One(Box<Access>),
    /// Servers of which others have to be asked who the primaries are.
    Several(Box<Several>),
}

/// Servers that are found by asking.
#[derive(Clone)]
pub(super) struct Several {
    /// Whom to ask first.
    pub(super) seeds: Vec<Address>,
    pub(super) who: Who,
    /// Lets a client in at each of them.
    pub(super) access: Access,
}

/// Who says which servers are the primaries.
#[derive(Clone)]
pub(super) enum Who {
    /// Sentinels, of the service of this name; they are let in by something else than its servers.
    Sentinels { service: String, access: Box<Access> },
    /// The members of a Cluster.
    Members,
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address {
    /// An IPv6 address without its brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// What lets a client in, and at which address.
#[derive(Clone)]
pub(super) struct Access {
    info: ConnectionInfo,
    certificates: Option<TlsCertificates>,
}

const SENTINEL: Form =
    Form { plain: &["redis+sentinel"], secured: &["rediss+sentinel"], port: 26379, words: URL };
const CLUSTER: Form =
    Form { plain: &["redis+cluster"], secured: &["rediss+cluster"], port: 6379, words: URL };

/// What lets a client in at the Sentinels, where they ask for anything.
const SENTINEL_USER: &str = "sentinel-user";
const SENTINEL_PASSWORD: &str = "sentinel-password";

/// What a URL stands for.
///
/// # Errors
/// [`LockError::BadUrl`], or [`LockError::Unavailable`] with a file that cannot be read.
pub(super) fn named(endpoint: &Endpoint) -> Result<Named, LockError> {
    let scheme = endpoint.0.split_once("://").map_or("", |(scheme, _)| scheme);
    let is_of = |form: &Form| form.plain.contains(&scheme) || form.secured.contains(&scheme);
    if is_of(&SENTINEL) {
        return Ok(Named::Several(Box::new(sentinels(endpoint)?)));
    }
    if is_of(&CLUSTER) {
        let members = members(endpoint, &CLUSTER)?;
        let seeds = addresses(&members)?;
        if !members.path.is_empty() {
            // A Cluster has the first database alone.
            return Err(LockError::BadUrl(URL));
        }
        let access = Access::of(&members, &seeds[0], members.login.as_ref(), 0)?;
        return Ok(Named::Several(Box::new(Several { seeds, who: Who::Members, access })));
    }
    let (endpoint, files) = TlsFiles::taken_from(endpoint);
    let info = endpoint.0.as_str().into_connection_info().map_err(|_| LockError::BadUrl(URL))?;
    Ok(Named::One(Box::new(Access { info, certificates: certificates(&files)? })))
}

/// `redis+sentinel://[login@]host[:port],…/service[/database][?sentinel-user=…&sentinel-password=…]`.
fn sentinels(endpoint: &Endpoint) -> Result<Several, LockError> {
    let (endpoint, user) = parameter_of(endpoint, SENTINEL_USER, URL)?;
    let (endpoint, password) = parameter_of(&endpoint, SENTINEL_PASSWORD, URL)?;
    let members = members(&endpoint, &SENTINEL)?;
    let seeds = addresses(&members)?;
    let mut path = members.path.trim_start_matches('/').split('/');
    let service = path.next().and_then(decoded).filter(|name| !name.is_empty());
    let service = service.ok_or(LockError::BadUrl(URL))?;
    let database = path.next().map_or(Ok(0), str::parse).map_err(|_| LockError::BadUrl(URL))?;
    let asked =
        (user.is_some() || password.is_some()).then(|| Login { user: user.unwrap_or_default(), password });
    let of_sentinels = Access::of(&members, &seeds[0], asked.as_ref(), 0)?;
    let access = Access::of(&members, &seeds[0], members.login.as_ref(), database)?;
    Ok(Several { seeds, who: Who::Sentinels { service, access: Box::new(of_sentinels) }, access })
}

fn addresses(members: &Members) -> Result<Vec<Address>, LockError> {
    let one = |place: &String| {
        let (host, port) = place.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Some(Address { host, port: port.parse().ok()? })
    };
    members.hosts.iter().map(|place| one(place).ok_or(LockError::BadUrl(URL))).collect()
}

fn certificates(files: &TlsFiles) -> Result<Option<TlsCertificates>, LockError> {
    if files.is_empty() {
        return Ok(None);
    }
    let read = files.read()?;
    let client_tls = read
        .client
        .map(|(cert, key)| ClientTlsConfig { client_cert: cert.into_bytes(), client_key: key.into_bytes() });
    Ok(Some(TlsCertificates { client_tls, root_cert: read.ca.map(String::into_bytes) }))
}

/// The URL of one of its servers, with the login, the database and the certificates of all.
pub(super) fn alone(endpoint: &Endpoint, address: &Address) -> Endpoint {
    let (scheme, rest) = endpoint.0.split_once("://").unwrap_or_default();
    let (list, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (login, places) = list.rsplit_once('@').map_or((None, list), |(login, places)| (Some(login), places));
    // Behind the service, where there is one.
    let of_sentinels = scheme.ends_with("+sentinel");
    let database = places.splitn(if of_sentinels { 3 } else { 2 }, '/').nth(if of_sentinels { 2 } else { 1 });
    let its = |pair: &&str| !pair.starts_with(SENTINEL_USER) && !pair.starts_with(SENTINEL_PASSWORD);
    let query: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty()).filter(its).collect();
    let mut url = format!("{}://", scheme.split('+').next().unwrap_or_default());
    if let Some(login) = login {
        url += &format!("{login}@");
    }
    url += &format!("{address}/{}", database.unwrap_or_default());
    if !query.is_empty() {
        url += &format!("?{}", query.join("&"));
    }
    Endpoint(url)
}

impl Access {
    /// Where it is, if that is an address.
    pub(super) fn address(&self) -> Option<Address> {
        match self.info.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                Some(Address { host: host.clone(), port: *port })
            }
            _ => None,
        }
    }

    fn of(
        members: &Members,
        address: &Address,
        login: Option<&Login>,
        database: i64,
    ) -> Result<Self, LockError> {
        let mut settings = RedisConnectionInfo::default().set_db(database);
        if let Some(Login { user, password }) = login {
            if !user.is_empty() {
                settings = settings.set_username(user);
            }
            if let Some(password) = password {
                settings = settings.set_password(password);
            }
        }
        let address = tcp(address, members.secured);
        let info = address.into_connection_info().map_err(unavailable)?.set_redis_settings(settings);
        Ok(Self { info, certificates: certificates(&members.files)? })
    }

    /// The same at another server.
    pub(super) fn at(&self, address: &Address) -> Self {
        let secured = matches!(self.info.addr(), ConnectionAddr::TcpTls { .. });
        let info = self.info.clone().set_addr(tcp(address, secured));
        Self { info, certificates: self.certificates.clone() }
    }

    /// A client of the library for that server, over TLS where the URL says so.
    pub(super) fn client(
        &self,
        protocol: Option<ProtocolVersion>,
        tcp: TcpSettings,
    ) -> Result<Client, LockError> {
        let settings = self.info.redis_settings().clone();
        let settings = match protocol {
            Some(protocol) => settings.set_protocol(protocol),
            None => settings,
        };
        let info = self.info.clone().set_redis_settings(settings).set_tcp_settings(tcp);
        match &self.certificates {
            None => Client::open(info),
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
        }
        .map_err(unavailable)
    }
}

fn tcp(address: &Address, secured: bool) -> ConnectionAddr {
    let Address { host, port } = address.clone();
    if secured {
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn several(url: &str) -> Option<Box<Several>> {
        match named(&Endpoint::from(url)).ok()? {
            Named::Several(several) => Some(several),
            Named::One(_) => None,
        }
    }

    #[test]
    fn sentinels_are_named_with_their_service_and_their_own_login() {
        let url = "redis+sentinel://app:s3c%2Fret@a,[::1]:7/my%20service/2?sentinel-password=oth%40er";
        let Several { seeds, who, access } = *several(url).unwrap();
        assert_eq!(seeds.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a:26379", "[::1]:7"]);
        let Who::Sentinels { service, access: asked } = who else { panic!("a Cluster") };
        assert_eq!(service, "my service");
        let told = |access: &Access| {
            let settings = access.info.redis_settings();
            let text = |word: Option<&str>| word.unwrap_or_default().to_owned();
            (text(settings.username()), text(settings.password()), settings.db())
        };
        assert_eq!(told(&access), ("app".to_owned(), "s3c/ret".to_owned(), 2));
        assert_eq!(told(&asked), (String::new(), "oth@er".to_owned(), 0));
    }

    #[test]
    fn a_cluster_is_named_by_any_of_its_members() {
        let Several { seeds, who, access } = *several("rediss+cluster://:p@a:1,b").unwrap();
        assert_eq!(seeds.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a:1", "b:6379"]);
        assert!(matches!(who, Who::Members));
        assert!(matches!(access.at(&seeds[1]).info.addr(), ConnectionAddr::TcpTls { port: 6379, .. }));
    }

    #[test]
    fn each_server_alone_has_the_login_the_database_and_the_certificates_of_all() {
        let address = Address { host: "::1".to_owned(), port: 7 };
        for (url, shown) in [
            (
                "rediss+sentinel://me:s3c%2Fret@a,b/locks/2?sentinel-password=x&ssl-ca=/ca.pem",
                "rediss://me:s3c%2Fret@[::1]:7/2?ssl-ca=/ca.pem",
            ),
            ("redis+cluster://:p@a:1,b", "redis://:p@[::1]:7/"),
            ("redis://a/3", "redis://[::1]:7/3"),
        ] {
            let alone = alone(&Endpoint::from(url), &address);
            assert_eq!(alone.0, shown);
            // One of the files is on no machine.
            let is_one = matches!(named(&alone), Ok(Named::One(_)) | Err(LockError::Unavailable(_)));
            assert!(is_one, "{shown}");
        }
    }

    #[test]
    fn what_is_no_url_of_the_form_is_refused() {
        for url in [
            "redis+sentinel://a",
            "redis+sentinel://a/x/y",
            "redis+cluster://a/1",
            "redis+cluster://",
            "http://a",
        ] {
            assert!(named(&Endpoint::from(url)).is_err(), "{url}");
        }
    }
}
