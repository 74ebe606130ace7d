//! The three scripts. Each is atomic at the server; keys are `lockbench:lock:<key>`, the channel of a lock
//! has its name.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::ConnectionManager;
use redis::{ErrorKind, RedisError, RedisResult, Script, Value};

use crate::session::{Grant, OwnerId};

/// Counter of the tokens of all locks.
const FENCE: &str = "lockbench:fence";

/// KEYS lock, fence; ARGV head, ttl in ms, description. Token as text, or the holder's remaining ms as a
/// number.
///
/// `%.0f`, since Lua would print a number of 16 digits as 1.79e+15.
const ACQUIRE: &str = r"
local held = redis.call('GET', KEYS[1])
if held then
  local token = string.match(held, '^%d+')
  if token and string.sub(held, #token + 2, #token + 1 + #ARGV[1]) == ARGV[1] then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
    return token
  end
  return redis.call('PTTL', KEYS[1])
end
local time = redis.call('TIME')
local last = tonumber(redis.call('GET', KEYS[2]) or 0)
local token = string.format('%.0f', math.max(last + 1, time[1] * 1000000 + time[2]))
redis.call('SET', KEYS[2], token)
redis.call('SET', KEYS[1], token .. ':' .. ARGV[1] .. ARGV[3], 'PX', ARGV[2])
return token
";

/// KEYS lock; ARGV head. 1 if it was held by that owner.
const RELEASE: &str = r"
local held = redis.call('GET', KEYS[1])
if not held then return 0 end
local token = string.match(held, '^%d+')
if not token or string.sub(held, #token + 2, #token + 1 + #ARGV[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('PUBLISH', KEYS[1], '')
return 1
";

/// KEYS locks; ARGV ttl in ms, heads. 1 or 0 for each: still held by that owner.
const RENEW: &str = r"
local held = {}
for i, key in ipairs(KEYS) do
  local value, head = redis.call('GET', key), ARGV[i + 1]
  local token = value and string.match(value, '^%d+')
  held[i] = 0
  if token and string.sub(value, #token + 2, #token + 1 + #head) == head then
    held[i] = redis.call('PEXPIRE', key, ARGV[1])
  end
end
return held
";

#[derive(Debug)]
pub(super) struct Scripts {
    acquire: Script,
    release: Script,
    renew: Script,
}

/// Answer of [`Scripts::acquire`].
#[derive(Debug)]
pub(super) enum AcquireRet {
    /// The token.
    Granted(u64),
    /// Held by another, whose lease has so long to run.
    Held(Duration),
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self { acquire: Script::new(ACQUIRE), release: Script::new(RELEASE), renew: Script::new(RENEW) }
    }

    /// Sends all of them, so that the first use is one round trip like every other.
    pub(super) async fn load(&self, connection: &mut ConnectionManager) -> RedisResult<()> {
        for script in [&self.acquire, &self.release, &self.renew] {
            script.load_async(connection).await?;
        }
        Ok(())
    }

    pub(super) async fn acquire(
        &self,
        connection: &mut ConnectionManager,
        key: &str,
        owner: &OwnerId,
        ttl: Duration,
        description: &str,
    ) -> RedisResult<AcquireRet> {
        let mut call = self.acquire.key(lock_key(key));
        call.key(FENCE).arg(head(owner)).arg(millis(ttl)).arg(description);
        match call.invoke_async(connection).await? {
            // -1 would be a key that somebody set without a time to live: look again soon.
            Value::Int(left_ms) => {
                Ok(AcquireRet::Held(Duration::from_millis(u64::try_from(left_ms).unwrap_or(100))))
            }
            Value::BulkString(token) => token_of(&token).map(AcquireRet::Granted),
            Value::SimpleString(token) => token_of(token.as_bytes()).map(AcquireRet::Granted),
            _ => Err(nonsense()),
        }
    }

    /// Whether it was held by that owner.
    pub(super) async fn release(
        &self,
        connection: &mut ConnectionManager,
        key: &str,
        owner: &OwnerId,
    ) -> RedisResult<bool> {
        let mut call = self.release.key(lock_key(key));
        call.arg(head(owner)).invoke_async(connection).await
    }

    /// Whether each of them is still held by its owner; then its lease runs anew.
    pub(super) async fn renew(
        &self,
        connection: &mut ConnectionManager,
        grants: &[Arc<Grant>],
        ttl: Duration,
    ) -> RedisResult<Vec<bool>> {
        let mut call = self.renew.arg(millis(ttl));
        for grant in grants {
            call.key(lock_key(grant.keys.first().map_or("", |key| key))).arg(head(&grant.owner));
        }
        call.invoke_async(connection).await
    }
}

/// Name of a lock's key and channel.
pub(super) fn lock_key(key: &str) -> String {
    format!("lockbench:lock:{key}")
}

/// The owner as it stands behind the token, with its length in front, so that no owner is the beginning of
/// another.
fn head(owner: &OwnerId) -> String {
    format!("{}:{};", owner.0.len(), owner.0)
}

fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
}

fn token_of(text: &[u8]) -> RedisResult<u64> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or_else(nonsense)
}

fn nonsense() -> RedisError {
    (ErrorKind::UnexpectedReturnType, "unexpected answer of a lock script").into()
}
