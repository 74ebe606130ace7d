//! The scripts, each atomic at the server. Keys are `lockbench:lock:<key>`; a lock's channel has its name, which
//! for a slot is that of its resource. A held key's value is `token:length:owner;description`. A key's line is the sorted
//! set `lockbench:line:<key>`: a member is `channel length:owner;`, in the order of arrival, so that whoever leaves names its
//! own; what those in line have to say is in the hash `lockbench:doing:<key>`, under `length:owner;`.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionLike, ConnectionManager};
use redis::{ErrorKind, FromRedisValue, RedisError, RedisResult, Script, ScriptInvocation, Value};

use super::requests::{Announce, AskRet, HandedOver, IfHeld, RenewRet, Tokens, Wanted};
use crate::session::{Grant, OwnerId, Token, split_slot};

/// Counter of the tokens of all locks.
const FENCE: &str = "lockbench:fence";

const LOCK: &str = "lockbench:lock:";

/// `token_of(value, head)`: the token of a held key if that owner holds it, else nothing.
const OWNED: &str = include_str!("lua/owned.lua");

/// `draw(fence)`: the next token, the greater of the last one + 1 and the server's time in µs; and that time.
/// `%.0f`, since Lua would print a number of 16 digits as 1.79e+15.
const DRAW: &str = include_str!("lua/draw.lua");

/// In place of [`DRAW`] where there are no tokens.
const DRAW_NONE: &str = r"
local function draw() return '0' end
";

/// KEYS fence, slots; ARGV head, ttl in ms, description. `{slot, token}`, or the ms until the first lease ends.
const ACQUIRE: &str = include_str!("lua/acquire.lua");

/// KEYS locks; ARGV head, channel or nothing. How many of them that owner held.
const RELEASE: &str = include_str!("lua/release.lua");

/// KEYS locks; ARGV ttl in ms, heads. 1 or 0 for each: still held by that owner. Last the server's time in µs.
const RENEW: &str = include_str!("lua/renew.lua");

/// `pass(lock, line, doing, fence, claim)`: gives the lock to the first in line whose node listens, or frees it.
///
/// PUBLISH says how many hear it: a node that is gone is passed over at once. One that is silent keeps the lock for
/// the claim, a part of the ttl, since nobody there renews it.
const PASS: &str = include_str!("lua/pass.lua");

/// KEYS fence, line, doing, slots; ARGV head, ttl in ms, claim in ms, description, channel or nothing.
/// `{slot, token}`; or `{-1, ms until the first lease ends, time in µs}`, and with a channel it stands in line.
const ASK: &str = include_str!("lua/ask.lua");

/// KEYS fence, line, doing, locks; ARGV head, claim in ms, channel. How many of them that owner held; if none, it leaves the
/// line.
const PASS_ON: &str = include_str!("lua/pass_on.lua");

/// All of them.
#[derive(Debug)]
pub(super) struct Scripts {
    acquire: Script,
    acquire_no_token: Script,
    release: Script,
    renew: Script,
    ask: Script,
    pass_on: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        let script = |parts: &[&str]| Script::new(&parts.concat());
        Self {
            acquire: script(&[OWNED, DRAW, ACQUIRE]),
            acquire_no_token: script(&[OWNED, DRAW_NONE, ACQUIRE]),
            release: script(&[OWNED, RELEASE]),
            renew: script(&[OWNED, RENEW]),
            ask: script(&[OWNED, DRAW, PASS, ASK]),
            pass_on: script(&[OWNED, DRAW, PASS, PASS_ON]),
        }
    }

    /// Sends all of them, so that the first use is one round trip like every other.
    pub(super) async fn load(&self, connection: &ConnectionManager) -> RedisResult<()> {
        let Self { acquire, acquire_no_token, release, renew, ask, pass_on } = self;
        let loads = [acquire, acquire_no_token, release, renew, ask, pass_on].map(|script| {
            let mut connection = connection.clone();
            async move { script.load_async(&mut connection).await }
        });
        futures_util::future::try_join_all(loads).await.map(drop)
    }

    pub(super) async fn acquire(
        &self,
        connection: &mut impl ConnectionLike,
        wanted: Wanted<'_>,
        tokens: Tokens,
    ) -> RedisResult<AskRet> {
        let script = if tokens == Tokens::Drawn { &self.acquire } else { &self.acquire_no_token };
        let mut call = script.key(FENCE);
        slot_keys(&mut call, wanted);
        call.arg(head(wanted.owner)).arg(millis(wanted.ttl)).arg(wanted.description);
        match call.invoke_async(connection).await? {
            Value::Int(left_ms) => Ok(AskRet::Held { left: lease_left(left_ms), server_us: None }),
            granted => {
                let (slot, token): (u32, u64) = FromRedisValue::from_redis_value(granted)?;
                Ok(AskRet::Granted(slot, token_of(token)))
            }
        }
    }

    pub(super) async fn ask(
        &self,
        connection: &mut impl ConnectionLike,
        wanted: Wanted<'_>,
        claim: Duration,
        if_held: IfHeld<'_>,
    ) -> RedisResult<AskRet> {
        let mut call = self.ask.key(FENCE);
        call.key(line_key(wanted.key)).key(doing_key(wanted.key));
        slot_keys(&mut call, wanted);
        call.arg(head(wanted.owner)).arg(millis(wanted.ttl)).arg(millis(claim)).arg(wanted.description);
        if let IfHeld::Wait(node) = if_held {
            call.arg(node_channel(node));
        }
        let answer: Vec<Value> = call.invoke_async(connection).await?;
        let mut answer = answer.into_iter();
        let mut next = || answer.next().ok_or_else(nonsense);
        let slot = i64::from_redis_value(next()?)?;
        match u32::try_from(slot) {
            Ok(slot) => Ok(AskRet::Granted(slot, token_of(u64::from_redis_value(next()?)?))),
            Err(_) => {
                let left = lease_left(i64::from_redis_value(next()?)?);
                Ok(AskRet::Held { left, server_us: Some(u64::from_redis_value(next()?)?) })
            }
        }
    }

    pub(super) async fn release(
        &self,
        connection: &mut impl ConnectionLike,
        keys: &[Arc<str>],
        owner: &OwnerId,
        announce: Announce,
    ) -> RedisResult<bool> {
        let mut call = self.release.arg(head(owner));
        for key in keys {
            call.key(lock_key(key));
        }
        if let (Announce::Yes, Some(key)) = (announce, keys.first()) {
            call.arg(lock_key(split_slot(key).0));
        }
        call.invoke_async(connection).await
    }

    pub(super) async fn pass_on(
        &self,
        connection: &mut impl ConnectionLike,
        keys: &[Arc<str>],
        owner: &OwnerId,
        node: &str,
        claim: Duration,
    ) -> RedisResult<bool> {
        let base = keys.first().map_or("", |key| split_slot(key).0);
        let mut call = self.pass_on.key(FENCE);
        call.key(line_key(base)).key(doing_key(base));
        for key in keys {
            call.key(lock_key(key));
        }
        call.arg(head(owner)).arg(millis(claim)).arg(node_channel(node)).invoke_async(connection).await
    }

    pub(super) async fn renew(
        &self,
        connection: &mut impl ConnectionLike,
        grants: &[Arc<Grant>],
        ttl: Duration,
    ) -> RedisResult<RenewRet> {
        let mut call = self.renew.arg(millis(ttl));
        for grant in grants {
            call.key(lock_key(grant.keys.first().map_or("", |key| key))).arg(head(&grant.owner));
        }
        let mut held: Vec<u64> = call.invoke_async(connection).await?;
        let server_us = held.pop().filter(|_| held.len() == grants.len()).ok_or_else(nonsense)?;
        Ok(RenewRet { held: held.into_iter().map(|held| held == 1).collect(), server_us })
    }
}

/// Name of a lock's key and channel.
pub(super) fn lock_key(key: &str) -> String {
    format!("{LOCK}{key}")
}

/// The key that a lock's name stands for.
pub(super) fn key_of(lock: &str) -> Option<&str> {
    lock.strip_prefix(LOCK)
}

/// Name of the channel of those who stand in line under a name.
pub(super) fn node_channel(node: &str) -> String {
    format!("lockbench:node:{node}")
}

/// What the holder says that it is doing, from the value of its key.
pub(super) fn description(value: &str) -> Option<String> {
    let (_token, rest) = value.split_once(':')?;
    let (length, rest) = rest.split_once(':')?;
    rest.get(length.parse::<usize>().ok()?..)?.strip_prefix(';').map(str::to_owned)
}

/// The message of [`PASS`], `token:µs:length:owner;lock`.
pub(super) fn handed_over(message: &str) -> Option<HandedOver<'_>> {
    let (token, rest) = message.split_once(':')?;
    let (server_us, rest) = rest.split_once(':')?;
    let (length, rest) = rest.split_once(':')?;
    let (owner, rest) = rest.split_at_checked(length.parse().ok()?)?;
    let key = key_of(rest.strip_prefix(';')?)?;
    let token = Token { generation: 0, sequence: token.parse().ok()? };
    Some(HandedOver { owner, key, token, server_us: server_us.parse().ok()? })
}

fn line_key(key: &str) -> String {
    format!("lockbench:line:{key}")
}

fn doing_key(key: &str) -> String {
    format!("lockbench:doing:{key}")
}

/// Adds the keys of all slots: at level 1, the lock's own.
fn slot_keys(call: &mut ScriptInvocation<'_>, wanted: Wanted<'_>) {
    if wanted.level == 1 {
        call.key(lock_key(wanted.key));
    } else {
        for slot in 0..wanted.level {
            call.key(format!("{LOCK}{}#{slot}", wanted.key));
        }
    }
}

/// The owner as it stands behind the token, with its length in front, so that no owner is the beginning of
/// another.
fn head(owner: &OwnerId) -> String {
    format!("{}:{};", owner.0.len(), owner.0)
}

fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
}

/// A negative number would be a key that somebody set without a time to live, or that ended just now: look again
/// soon.
fn lease_left(left_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(left_ms).unwrap_or(100))
}

/// 0 stands for none.
fn token_of(sequence: u64) -> Option<Token> {
    (sequence > 0).then_some(Token { generation: 0, sequence })
}

fn nonsense() -> RedisError {
    (ErrorKind::UnexpectedReturnType, "unexpected answer of a lock script").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_read_back_whatever_the_owner_is_called() {
        let owner = OwnerId("a:1;b".into());
        let value = format!("17:{}start VM 7; now", head(&owner));
        assert_eq!(description(&value).as_deref(), Some("start VM 7; now"));
        assert_eq!(description("a stranger's value"), None);
    }

    #[test]
    fn a_hand_over_is_read_back_whatever_owner_and_key_are_called() {
        let read = handed_over("17:5:5:a;1:2;lockbench:lock:x##1#3").unwrap();
        assert_eq!((read.owner, read.key, read.token.sequence, read.server_us), ("a;1:2", "x##1#3", 17, 5));
        assert!(handed_over("17:5:50:a;lockbench:lock:x").is_none());
        assert!(handed_over("a stranger's message").is_none());
    }
}
