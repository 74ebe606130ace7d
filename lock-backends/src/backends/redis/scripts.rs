//! The scripts, each atomic at the server. Keys are `lockbench:lock:<key>`; a lock's channel has its name, which
//! for a slot is that of its resource. A held key's value is `token:length:owner;description`.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::ConnectionManager;
use redis::{ErrorKind, FromRedisValue, RedisError, RedisResult, Script, ScriptInvocation, Value};

use crate::session::{Grant, OwnerId, Request, Token, split_slot};

/// Counter of the tokens of all locks.
pub(super) const FENCE: &str = "lockbench:fence";

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

/// Whether grants carry tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backends) enum Tokens {
    Drawn,
    None,
}

#[derive(Debug)]
pub(super) struct Scripts {
    acquire: Script,
    release: Script,
    renew: Renew,
}

/// Answer of [`Scripts::acquire`].
#[derive(Debug)]
pub(super) enum AcquireRet {
    /// The slot and its token.
    Granted(u32, Option<Token>),
    /// Held by another, whose lease has so long to run.
    Held(Duration),
}

impl Scripts {
    pub(super) fn new(tokens: Tokens) -> Self {
        let draw = if tokens == Tokens::Drawn { DRAW } else { DRAW_NONE };
        let acquire = Script::new(&[OWNED, draw, ACQUIRE].concat());
        Self { acquire, release: Script::new(&[OWNED, RELEASE].concat()), renew: Renew::new() }
    }

    /// Sends all of them, so that the first use is one round trip like every other.
    pub(super) async fn load(&self, connection: &mut ConnectionManager) -> RedisResult<()> {
        load(connection, [&self.acquire, &self.release, &self.renew.0]).await
    }

    pub(super) fn renew(&self) -> &Renew {
        &self.renew
    }

    pub(super) async fn acquire(
        &self,
        connection: &mut ConnectionManager,
        key: &str,
        request: &Request,
        ttl: Duration,
    ) -> RedisResult<AcquireRet> {
        let mut call = self.acquire.key(FENCE);
        slot_keys(&mut call, key, request.level);
        call.arg(head(&request.owner)).arg(millis(ttl)).arg(&*request.description);
        match call.invoke_async(connection).await? {
            Value::Int(left_ms) => Ok(AcquireRet::Held(lease_left(left_ms))),
            granted => {
                let (slot, token): (u32, u64) = FromRedisValue::from_redis_value(granted)?;
                Ok(AcquireRet::Granted(slot, token_of(token)))
            }
        }
    }

    /// Whether any of them was held by that owner. Tells the channel of the lock, where there is one.
    pub(super) async fn release(
        &self,
        connection: &mut ConnectionManager,
        grant: &Grant,
        announce: bool,
    ) -> RedisResult<bool> {
        let mut call = self.release.arg(head(&grant.owner));
        for key in &grant.keys {
            call.key(lock_key(key));
        }
        if let (true, Some(key)) = (announce, grant.keys.first()) {
            call.arg(lock_key(split_slot(key).0));
        }
        call.invoke_async(connection).await
    }
}

/// The renewal, the same for all variants.
#[derive(Debug)]
pub(super) struct Renew(pub(super) Script);

impl Renew {
    pub(super) fn new() -> Self {
        Self(Script::new(&[OWNED, RENEW].concat()))
    }

    /// Whether each of them is still held by its owner; then its lease runs anew. And the server's time in µs.
    pub(super) async fn call(
        &self,
        connection: &mut ConnectionManager,
        grants: &[Arc<Grant>],
        ttl: Duration,
    ) -> RedisResult<(Vec<bool>, u64)> {
        let mut call = self.0.arg(millis(ttl));
        for grant in grants {
            call.key(lock_key(grant.keys.first().map_or("", |key| key))).arg(head(&grant.owner));
        }
        let mut held: Vec<u64> = call.invoke_async(connection).await?;
        let time_us = held.pop().filter(|_| held.len() == grants.len()).ok_or_else(nonsense)?;
        Ok((held.into_iter().map(|held| held == 1).collect(), time_us))
    }
}

pub(super) async fn load(
    connection: &mut ConnectionManager,
    scripts: impl IntoIterator<Item = &Script>,
) -> RedisResult<()> {
    for script in scripts {
        script.load_async(connection).await?;
    }
    Ok(())
}

/// With [`OWNED`] and [`DRAW`] in front of it.
pub(super) fn fenced_script(body: &[&str]) -> Script {
    Script::new(&[&[OWNED, DRAW], body].concat().concat())
}

/// Adds the keys of all slots: at level 1, the lock's own.
pub(super) fn slot_keys(call: &mut ScriptInvocation<'_>, key: &str, level: u32) {
    if level == 1 {
        call.key(lock_key(key));
    } else {
        for slot in 0..level {
            call.key(format!("{LOCK}{key}#{slot}"));
        }
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

/// The owner as it stands behind the token, with its length in front, so that no owner is the beginning of
/// another.
pub(super) fn head(owner: &OwnerId) -> String {
    format!("{}:{};", owner.0.len(), owner.0)
}

/// What the holder says that it is doing, from the value of its key.
pub(super) fn description(value: &str) -> Option<String> {
    let (_token, rest) = value.split_once(':')?;
    let (length, rest) = rest.split_once(':')?;
    rest.get(length.parse::<usize>().ok()?..)?.strip_prefix(';').map(str::to_owned)
}

pub(super) fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
}

/// A negative number would be a key that somebody set without a time to live, or that ended just now: look again
/// soon.
pub(super) fn lease_left(left_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(left_ms).unwrap_or(100))
}

/// 0 stands for none.
pub(super) fn token_of(sequence: u64) -> Option<Token> {
    (sequence > 0).then_some(Token { generation: 0, sequence })
}

pub(super) fn nonsense() -> RedisError {
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
}
