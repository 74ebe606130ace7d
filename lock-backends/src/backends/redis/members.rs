//! Redis: the servers behind a URL, each with what it is.

use std::collections::BTreeMap;

use redis::io::tcp::TcpSettings;
use redis::{RedisResult, cmd};

use super::directory::Directory;
use super::url::{Access, Address, Named, alone, named};
use crate::session::{Endpoint, LockError, Member, unavailable};

/// All primaries and their replicas. A server that stands alone is told by its URL; a replica of it by the address that it gave its
/// primary, which need not be one for others.
pub(super) async fn members(endpoint: &Endpoint) -> Result<Vec<Member>, LockError> {
    let (primaries, replicas): (Vec<Address>, Vec<Address>) = match named(endpoint)? {
        Named::Several(several) => {
            let view = Directory::new(several).look().await?;
            (view.primaries().into_iter().cloned().collect(), view.replicas)
        }
        Named::One(access) => match access.address() {
            Some(address) => (vec![address], replicas_of(&access).await?),
            None => {
                let (place, role) = ("a socket of this machine".to_owned(), String::new());
                return Ok(vec![Member { place, role, endpoint: endpoint.clone() }]);
            }
        },
    };
    let role = |role: &str, address: &Address| Member {
        place: address.to_string(),
        role: role.to_owned(),
        endpoint: alone(endpoint, address),
    };
    if let ([only], []) = (&primaries[..], &replicas[..]) {
        return Ok(vec![role("", only)]);
    }
    let primaries = primaries.iter().map(|address| role("primary", address));
    Ok(primaries.chain(replicas.iter().map(|address| role("replica", address))).collect())
}

/// Those that a primary says it has: `slave0:ip=10.0.0.2,port=6379,state=online,…`.
async fn replicas_of(primary: &Access) -> Result<Vec<Address>, LockError> {
    let client = primary.client(None, TcpSettings::default().set_nodelay(true))?;
    let mut connection = client.get_multiplexed_async_connection().await.map_err(unavailable)?;
    // Where it is refused, none are known.
    let said: RedisResult<String> = cmd("INFO").arg("replication").query_async(&mut connection).await;
    let one = |line: &str| {
        let (_, said) = line.strip_prefix("slave")?.split_once(':')?;
        let said: BTreeMap<&str, &str> =
            said.trim().split(',').filter_map(|pair| pair.split_once('=')).collect();
        Some(Address { host: (*said.get("ip")?).to_owned(), port: said.get("port")?.parse().ok()? })
    };
    Ok(said.unwrap_or_default().lines().filter_map(one).collect())
}
