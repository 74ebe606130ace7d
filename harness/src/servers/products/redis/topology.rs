//! Which servers a URL stands for, and what a lock there rests on: one server, a primary with replicas, the primary that Sentinels
//! name, or a Cluster.

use std::collections::BTreeMap;

use super::protocol::Connection;
use crate::servers::parameters::{Parameters, decoded};
use crate::servers::url::Address;
use crate::servers::wire::AskError;

/// What stands behind a URL.
pub(super) struct Whole {
    /// All of a Cluster, otherwise the only one.
    pub(super) primaries: Vec<Address>,
    /// For the record; nothing of a server that is alone.
    pub(super) facts: BTreeMap<String, String>,
}

const FORM: &str = "redis://host, redis+sentinel://host,…/service or redis+cluster://host,…";

/// Follows a URL to the primaries.
///
/// # Errors
/// [`AskError::Url`] where it leads to a server that cannot serve locks by itself, with the URL that would be right.
pub(super) async fn of(url: &str) -> Result<Whole, AskError> {
    let (scheme, places) = url.split_once("://").unwrap_or_default();
    match scheme {
        "redis+sentinel" | "rediss+sentinel" => of_sentinels(url, places, scheme.starts_with("rediss")).await,
        "redis+cluster" | "rediss+cluster" => of_cluster(url, places, scheme.starts_with("rediss")).await,
        _ => {
            let address = Address::parse(url, 6379);
            let address = address.and_then(|address| address.spoken(&["redis"], &["rediss"], FORM));
            of_one(address.map_err(AskError::Url)?).await
        }
    }
}

async fn of_one(address: Address) -> Result<Whole, AskError> {
    let mut connection = Connection::open(&address).await?;
    // Where it is refused, nothing is known.
    if info(&mut connection, "cluster").await.get("cluster_enabled").is_some_and(|enabled| enabled == "1") {
        let why = "this is a member of a Redis Cluster, which has a part of the keys: its URL is redis+cluster://host:port,…";
        return Err(AskError::Url(why.to_owned()));
    }
    let facts = with_replicas(&mut connection, "").await?;
    Ok(Whole { primaries: vec![address], facts })
}

async fn of_sentinels(url: &str, places: &str, secured: bool) -> Result<Whole, AskError> {
    let list = places.split('?').next().unwrap_or_default();
    let after_login = list.rsplit_once('@').map_or(list, |(_, places)| places);
    let service = after_login.split('/').nth(1).filter(|name| !name.is_empty());
    let no_service = || AskError::Url(format!("it names no service: {FORM}"));
    let service = decoded(service.ok_or_else(no_service)?).map_err(AskError::Url)?.ok_or_else(no_service)?;
    let parameters = Parameters::of(url);
    let addresses = addresses(url, places, 26379, secured)?;
    let mut failures = Vec::new();
    for address in &addresses {
        let sentinel = Address {
            user: parameters.get("sentinel-user"),
            password: parameters.get("sentinel-password"),
            ..address.clone()
        };
        let named = async {
            let mut connection = Connection::open(&sentinel).await?;
            connection.call(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", &service]).await
        };
        match named.await.as_deref() {
            Ok([host, port]) => {
                let port = port.parse().map_err(|_| AskError::Silent(format!("`{port}` is no port")))?;
                let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                let primary = Address { host, port, ..address.clone() };
                let mut connection = Connection::open(&primary).await?;
                let mut facts = with_replicas(&mut connection, "named by Sentinels, ").await?;
                facts
                    .entry("topology".to_owned())
                    .or_insert_with(|| "named by Sentinels, a primary".to_owned());
                return Ok(Whole { primaries: vec![primary], facts });
            }
            Ok(_) => failures.push(format!("{} knows no service {service}", sentinel.socket())),
            Err(AskError::Silent(why)) if why.contains("unknown command") => {
                let what =
                    format!("{} is no Sentinel: the URL of a server is redis://host:port", sentinel.socket());
                return Err(AskError::Url(what));
            }
            Err(AskError::Silent(why)) => failures.push(format!("{}: {why}", sentinel.socket())),
            Err(_) => {}
        }
    }
    Err(AskError::Silent(failures.join("; ")))
}

async fn of_cluster(url: &str, places: &str, secured: bool) -> Result<Whole, AskError> {
    let mut failures = Vec::new();
    for address in addresses(url, places, 6379, secured)? {
        let named = async {
            let mut connection = Connection::open(&address).await?;
            Ok::<_, AskError>(connection.call(&["CLUSTER", "NODES"]).await?.join(""))
        };
        match named.await {
            Ok(nodes) => {
                let (primaries, replicas) = members(&nodes, &address);
                let topology = format!("Cluster of {} primaries, {replicas} replicas", primaries.len());
                let mut facts = BTreeMap::from([("topology".to_owned(), topology)]);
                if replicas > 0 {
                    facts.insert("WAIT".to_owned(), NO_WAIT.to_owned());
                }
                return Ok(Whole { primaries, facts });
            }
            Err(AskError::Silent(why)) if why.contains("cluster support disabled") => {
                let what =
                    format!("{} is no member of a Cluster: its URL is redis://host:port", address.socket());
                return Err(AskError::Url(what));
            }
            Err(AskError::Silent(why)) => failures.push(format!("{}: {why}", address.socket())),
            Err(error) => return Err(error),
        }
    }
    Err(AskError::Silent(failures.join("; ")))
}

/// The primaries that have slots, and how many replicas there are, from lines such as
/// `<id> 10.0.0.1:6379@16379,name myself,master - 0 0 1 connected 0-5460`.
fn members(nodes: &str, asked: &Address) -> (Vec<Address>, usize) {
    let (mut primaries, mut replicas) = (Vec::new(), 0);
    for line in nodes.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [_, place, flags, _, _, _, _, _, slots @ ..] = &words[..] else { continue };
        let flags: Vec<&str> = flags.split(',').collect();
        if flags.contains(&"fail") || flags.contains(&"noaddr") {
            continue;
        }
        if flags.contains(&"slave") {
            replicas += 1;
        } else if !slots.is_empty()
            && let Some((host, port)) = place.split('@').next().and_then(|place| place.rsplit_once(':'))
            && let Ok(port) = port.parse()
        {
            // One that was never told its address is the one that was asked.
            let host = match host {
                "" => asked.host.clone(),
                host if host.contains(':') => format!("[{host}]"),
                host => host.to_owned(),
            };
            primaries.push(Address { host, port, ..asked.clone() });
        }
    }
    (primaries, replicas)
}

/// The same login at each place of a list.
fn addresses(url: &str, places: &str, port: u16, secured: bool) -> Result<Vec<Address>, AskError> {
    let list = places.split('?').next().unwrap_or_default();
    let (login, list) = list.rsplit_once('@').map_or(("", list), |(login, list)| (login, list));
    let list = list.split('/').next().unwrap_or_default();
    let parameters = url.split_once('?').map_or(String::new(), |(_, query)| format!("?{query}"));
    let scheme = if secured { "rediss" } else { "redis" };
    let one = |place: &str| {
        let address = Address::parse(&format!("{scheme}://{login}@{}{parameters}", place.trim()), port);
        address.and_then(|address| address.spoken(&["redis"], &["rediss"], FORM)).map_err(AskError::Url)
    };
    list.split(',').map(one).collect()
}

/// What the locks wait for, of a server that is copied to others.
const NO_WAIT: &str = "not used: a grant is acknowledged by the primary alone, and may be lost with it";

/// What is said of a primary that has replicas, and nothing of one that has none.
async fn with_replicas(
    connection: &mut Connection,
    before: &str,
) -> Result<BTreeMap<String, String>, AskError> {
    let said = info(connection, "replication").await;
    if said.get("role").is_some_and(|role| role == "slave") {
        let of = |name| said.get(name).map_or("", String::as_str);
        return Err(AskError::Url(format!(
            "this is a replica, which takes no writes, of {}:{}: give that one, or redis+sentinel://host,…/service, which follows it",
            of("master_host"),
            of("master_port")
        )));
    }
    let count = said.get("connected_slaves").filter(|count| *count != "0");
    let Some(count) = count else { return Ok(BTreeMap::new()) };
    let facts = [
        ("topology", format!("{before}a primary with replicas: {count}")),
        ("WAIT", NO_WAIT.to_owned()),
        ("min-replicas-to-write", connection.setting("min-replicas-to-write").await),
    ];
    Ok(facts.map(|(name, value)| (name.to_owned(), value)).into())
}

/// A section of what a server says of itself; empty where it tells this login nothing.
async fn info(connection: &mut Connection, section: &str) -> BTreeMap<String, String> {
    let said = connection.call(&["INFO", section]).await.unwrap_or_default().join("");
    let pair =
        |line: &str| line.trim().split_once(':').map(|(name, value)| (name.to_owned(), value.to_owned()));
    said.lines().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_members_of_a_cluster_are_read_from_what_one_says() {
        let asked = Address::parse("redis://u:p@10.0.0.9:1", 1).unwrap();
        let nodes = "a 10.0.0.1:6379@16379,name master - 0 0 1 connected 0-5460 [1->-b]\n\
                     b :6380@16380 myself,master - 0 0 2 connected 5461-16383\n\
                     c 10.0.0.3:6379@16379 slave a 0 0 1 connected\n\
                     d 10.0.0.4:6379@16379 master - 0 0 3 connected\n\
                     e 10.0.0.5:6379@16379 master,fail - 0 0 4 disconnected 1-2\n";
        let (primaries, replicas) = members(nodes, &asked);
        assert_eq!(
            primaries.iter().map(Address::socket).collect::<Vec<_>>(),
            ["10.0.0.1:6379", "10.0.0.9:6380"]
        );
        assert_eq!(replicas, 1);
        assert_eq!(primaries[0].password.as_deref(), Some("p"));
    }

    #[test]
    fn each_place_of_a_list_has_the_login_that_stands_once() {
        let url = "rediss+cluster://u:p%2F@a,b:7?ssl-ca=/ca.pem";
        let all = addresses(url, url.split_once("://").unwrap().1, 6379, true).unwrap();
        assert_eq!(all.iter().map(Address::socket).collect::<Vec<_>>(), ["a:6379", "b:7"]);
        assert!(all.iter().all(|one| one.password.as_deref() == Some("p/") && one.secured));
    }
}
