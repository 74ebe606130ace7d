//! The scripts of the line. A key's line is the sorted set `lockbench:line:<key>`: a member is `channel
//! length:owner;description`, in the order of arrival.

use std::time::Duration;

use redis::aio::ConnectionManager;
use redis::{FromRedisValue, RedisResult, Script, Value};

use super::super::scripts::{
    FENCE, Renew, fenced_script, head, lease_left, load, lock_key, millis, nonsense, slot_keys, token_of,
};
use crate::session::{Grant, Request, Token, split_slot};

/// `pass(lock, line, fence, claim)`: gives the lock to the first in line whose node listens, or frees it.
///
/// PUBLISH says how many hear it: a node that is gone is passed over at once. One that is silent keeps the lock for
/// the claim, a part of the ttl, since nobody there renews it.
const PASS: &str = include_str!("../lua/pass.lua");

/// KEYS fence, line, slots; ARGV head, ttl in ms, claim in ms, description, channel or nothing.
/// `{slot, token}`; or `{-1, ms until the first lease ends, time in µs}`, and with a channel it stands in line.
const ASK: &str = include_str!("../lua/ask.lua");

/// KEYS fence, line, locks; ARGV head, claim in ms. How many of them that owner held; if none, it leaves the line.
const RELEASE: &str = include_str!("../lua/pass_on.lua");

/// What a node says to the server.
#[derive(Debug)]
pub(super) struct Line {
    ask: Script,
    release: Script,
    renew: Renew,
    channel: String,
    ttl: Duration,
}

/// What a refused caller will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IfHeld {
    GoAway,
    Wait,
}

/// Answer of [`Line::ask`].
#[derive(Debug)]
pub(super) enum AskRet {
    /// The slot and its token.
    Granted(u32, Option<Token>),
    /// Held by others; the first of their leases has so long to run.
    Held { left: Duration, server_us: u64 },
}

impl Line {
    pub(super) fn new(channel: String, ttl: Duration) -> Self {
        let ask = fenced_script(&[PASS, ASK]);
        Self { ask, release: fenced_script(&[PASS, RELEASE]), renew: Renew::new(), channel, ttl }
    }

    /// Sends the scripts, so that the first use is one round trip like every other.
    pub(super) async fn load(&self, connection: &mut ConnectionManager) -> RedisResult<()> {
        load(connection, [&self.ask, &self.release, &self.renew.0]).await
    }

    /// Where the node hears of what is handed over.
    pub(super) fn channel(&self) -> &str {
        &self.channel
    }

    pub(super) fn renewal(&self) -> &Renew {
        &self.renew
    }

    /// How long a lock that was handed over is held before its first renewal, which is due after a third of the ttl.
    pub(super) fn claim(&self) -> Duration {
        self.ttl / 2
    }

    pub(super) async fn ask(
        &self,
        connection: &mut ConnectionManager,
        key: &str,
        request: &Request,
        if_held: IfHeld,
    ) -> RedisResult<AskRet> {
        let mut call = self.ask.key(FENCE);
        call.key(line_key(key));
        slot_keys(&mut call, key, request.level);
        call.arg(head(&request.owner))
            .arg(millis(self.ttl))
            .arg(millis(self.claim()))
            .arg(&*request.description);
        if if_held == IfHeld::Wait {
            call.arg(&self.channel);
        }
        let answer: Vec<Value> = call.invoke_async(connection).await?;
        let mut answer = answer.into_iter();
        let mut next = || answer.next().ok_or_else(nonsense);
        let slot = i64::from_redis_value(next()?)?;
        match u32::try_from(slot) {
            Ok(slot) => Ok(AskRet::Granted(slot, token_of(u64::from_redis_value(next()?)?))),
            Err(_) => {
                let left = lease_left(i64::from_redis_value(next()?)?);
                Ok(AskRet::Held { left, server_us: u64::from_redis_value(next()?)? })
            }
        }
    }

    /// Whether any of them was held by that owner; it is handed on. Otherwise the owner leaves the line.
    pub(super) async fn release(
        &self,
        connection: &mut ConnectionManager,
        grant: &Grant,
    ) -> RedisResult<bool> {
        let base = grant.keys.first().map_or("", |key| split_slot(key).0);
        let mut call = self.release.key(FENCE);
        call.key(line_key(base));
        for key in &grant.keys {
            call.key(lock_key(key));
        }
        call.arg(head(&grant.owner)).arg(millis(self.claim())).invoke_async(connection).await
    }
}

fn line_key(key: &str) -> String {
    format!("lockbench:line:{key}")
}
