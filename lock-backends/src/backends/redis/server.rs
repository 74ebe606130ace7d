//! The requests, sent to the servers that a URL names.

use std::sync::Arc;
use std::time::Duration;

use redis::{FromRedisValue, RedisResult, Value, cmd};

use super::client::{Ask, Connection, fault};
use super::directory::Directory;
use super::names::{Names, node_channel};
use super::requests::{
    Announce, AskRet, Channel, Hears, IfHeld, Joint, JointRet, Redis, RenewRet, Requests, Tokens, Wanted,
};
use super::routes::{Routes, Several};
use super::scripts::{self, Care, Scripts, resource};
use super::url::{Named, named};
use crate::backends::common::asked;
use crate::session::{BoxFuture, Endpoint, Grant, LockError, OwnerId};

const NOT_IN_A_CLUSTER: LockError = LockError::Unsupported(
    "who hands a lock over must know that the next in line hears it, and in a Redis Cluster PUBLISH counts only those who listen at \
     the same member: redis-fenced works there, or redis-queue with one primary",
);

/// Locks that one script call is about at most: an acquire takes the server some 5 µs, and meanwhile it serves nobody else.
const AT_ONCE: usize = 64;

/// Real servers.
#[derive(Debug)]
struct Server {
    endpoint: Endpoint,
    care: Care,
}

/// A node's way to them.
#[derive(Debug)]
struct Node {
    routes: Routes,
    scripts: Arc<Scripts>,
    care: Care,
}

/// The servers of that URL.
pub(super) fn at(endpoint: &Endpoint) -> Box<dyn Redis> {
    Box::new(Server { endpoint: endpoint.clone(), care: Care::OfOwners })
}

/// The same, asked by whoever takes every lock for its own.
pub(super) fn naively_at(endpoint: &Endpoint) -> Box<dyn Redis> {
    Box::new(Server { endpoint: endpoint.clone(), care: Care::None })
}

impl Redis for Server {
    fn connect<'a>(
        &'a self,
        ttl: Duration,
        hears: Arc<dyn Hears>,
    ) -> BoxFuture<'a, Result<Box<dyn Requests>, LockError>> {
        asked(async move {
            let node = match named(&self.endpoint)? {
                Named::One(access) => {
                    let scripts = Arc::new(Scripts::new(Names::Plain, self.care));
                    let connection = Connection::open(&access, ttl, hears, &scripts).await?;
                    connection.serves_alone().await?;
                    Node { routes: Routes::One(connection), scripts, care: self.care }
                }
                Named::Several(several) => {
                    let directory = Directory::new(several);
                    let names = if directory.is_cluster() { Names::Tagged } else { Names::Plain };
                    let scripts = Arc::new(Scripts::new(names, self.care));
                    let several = Several::open(directory, ttl, hears, Arc::clone(&scripts)).await?;
                    Node { routes: Routes::Several(Box::new(several)), scripts, care: self.care }
                }
            };
            Ok(Box::new(node) as Box<dyn Requests>)
        })
    }
}

impl Node {
    /// One request about the keys of a resource.
    async fn send(&self, resource: &str, what: Ask<'_>) -> Result<Value, LockError> {
        self.routes.ask(self.together(resource), what).await
    }
}

/// What an answer says, or that it makes no sense.
fn read<T>(answer: RedisResult<T>) -> Result<T, LockError> {
    answer.map_err(|error| fault(&error))
}

impl Requests for Node {
    fn together(&self, key: &str) -> u16 {
        self.scripts.names().tag(key)
    }

    fn acquire<'a>(&'a self, wanted: Wanted<'a>, tokens: Tokens) -> BoxFuture<'a, Result<AskRet, LockError>> {
        asked(async move {
            let call = self.scripts.acquire(wanted, tokens);
            read(scripts::acquired(self.send(wanted.key, Ask::Script(&call)).await?))
        })
    }

    /// Whoever takes every lock for its own asks for each.
    fn most_at_once(&self) -> usize {
        if self.care == Care::OfOwners { AT_ONCE } else { 1 }
    }

    fn several<'a>(
        &'a self,
        all: &'a [Joint],
        tokens: Tokens,
        announce: Announce,
    ) -> BoxFuture<'a, Result<Vec<Result<JointRet, LockError>>, LockError>> {
        asked(async move {
            let call = self.scripts.several(all, tokens, announce);
            let of = all.first().map_or("", Joint::key);
            read(scripts::each(self.send(of, Ask::Script(&call)).await?, all))
        })
    }

    fn ask<'a>(
        &'a self,
        wanted: Wanted<'a>,
        claim: Duration,
        if_held: IfHeld<'a>,
    ) -> BoxFuture<'a, Result<AskRet, LockError>> {
        asked(async move {
            let call = self.scripts.ask(wanted, claim, if_held);
            read(scripts::asked(self.send(wanted.key, Ask::Script(&call)).await?))
        })
    }

    fn release<'a>(
        &'a self,
        keys: &'a [Arc<str>],
        owner: &'a OwnerId,
        announce: Announce,
    ) -> BoxFuture<'a, Result<bool, LockError>> {
        asked(async move {
            let call = self.scripts.release(keys, owner, announce);
            read(scripts::was_held(self.send(resource(keys), Ask::Script(&call)).await?))
        })
    }

    fn pass_on<'a>(
        &'a self,
        keys: &'a [Arc<str>],
        owner: &'a OwnerId,
        node: &'a str,
        claim: Duration,
    ) -> BoxFuture<'a, Result<bool, LockError>> {
        asked(async move {
            let call = self.scripts.pass_on(keys, owner, node, claim);
            read(scripts::was_held(self.send(resource(keys), Ask::Script(&call)).await?))
        })
    }

    fn renew<'a>(
        &'a self,
        grants: &'a [Arc<Grant>],
        ttl: Duration,
    ) -> BoxFuture<'a, Result<RenewRet, LockError>> {
        asked(async move {
            let call = self.scripts.renew(grants, ttl);
            let of = grants.first().map_or("", |grant| resource(&grant.keys));
            read(scripts::renewed(self.send(of, Ask::Script(&call)).await?, grants.len()))
        })
    }

    fn holder<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<String>, LockError>> {
        asked(async move {
            let mut get = cmd("GET");
            get.arg(self.scripts.names().lock(key));
            let value = self.send(key, Ask::Command(&get)).await?;
            let value: Option<String> = read(FromRedisValue::from_redis_value(value).map_err(Into::into))?;
            Ok(value.as_deref().and_then(scripts::description))
        })
    }

    fn subscribe<'a>(&'a self, channel: Channel<'a>) -> BoxFuture<'a, Result<(), LockError>> {
        asked(async move {
            match channel {
                Channel::Releases(key) => {
                    let name = self.scripts.names().lock(key);
                    self.routes.subscribe(self.together(key), &name).await
                }
                Channel::Node(_) if self.scripts.names() == Names::Tagged => Err(NOT_IN_A_CLUSTER),
                Channel::Node(name) => self.routes.subscribe(0, &node_channel(name)).await,
            }
        })
    }

    fn unsubscribe<'a>(&'a self, keys: &'a [Arc<str>]) -> BoxFuture<'a, Result<(), LockError>> {
        asked(async move {
            let names: Vec<String> = keys.iter().map(|key| self.scripts.names().lock(key)).collect();
            self.routes.unsubscribe(&names).await
        })
    }
}
