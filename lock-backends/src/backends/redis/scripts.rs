//! The scripts, each atomic at the server: how one is called, and what its answer says. A lock's channel has the name of its key,
//! which for a slot is that of its resource. A held key's value is `token:length:owner;description`. A key's line is a sorted
//! set: a member is `channel length:owner;`, in the order of arrival, so that whoever leaves names its
//! own; what those in line have to say is in a hash, under `length:owner;`.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::ConnectionManager;
use redis::{ErrorKind, FromRedisValue, RedisError, RedisResult, Script, ScriptInvocation, Value};

use super::names::{Names, key_of, node_channel};
use super::requests::{Announce, AskRet, HandedOver, IfHeld, Joint, JointRet, RenewRet, Tokens, Wanted};
use crate::session::{Grant, LockError, OwnerId, Token, slot_key, split_slot};

/// `token_of(value, head)`: the token of a held key if that owner holds it, else nothing.
const OWNED: &str = include_str!("lua/owned.lua");

/// `draw(fence)`: the next token, the greater of the last one + 1 and the server's time in µs; and that time.
/// `%.0f`, since Lua would print a number of 16 digits as 1.79e+15.
const DRAW: &str = include_str!("lua/draw.lua");

/// In place of [`DRAW`] where there are no tokens.
const DRAW_NONE: &str = r"
local function draw() return '0' end
";

/// `acquire(fence, first, last, head, ttl, description)`, the first three of them places in KEYS: `{slot, token}`, or the ms until the
/// first lease ends.
const ACQUIRE: &str = include_str!("lua/acquire.lua");

/// KEYS fence, slots; ARGV head, ttl in ms, description.
const ACQUIRE_ONE: &str = "return acquire(1, 2, #KEYS, ARGV[1], ARGV[2], ARGV[3])";

/// `release(first, last, head, channel or nothing)`: how many of the locks between those places in KEYS that owner held.
const RELEASE: &str = include_str!("lua/release.lua");

/// KEYS locks; ARGV head, channel or nothing.
const RELEASE_ONE: &str = "return release(1, #KEYS, ARGV[1], ARGV[2])";

/// KEYS fence, and for each its locks, those in line behind line and doing; ARGV for each its name, the number of its locks, and what
/// its own call has, of a channel at least an empty string. What came of each, in their order; a string says why one was not done. A
/// server that takes no writes does none of them.
const SEVERAL: &str = include_str!("lua/several.lua");

/// KEYS locks; ARGV ttl in ms, heads. 1 or 0 for each: still held by that owner. Last the server's time in µs.
const RENEW: &str = include_str!("lua/renew.lua");

/// `pass(lock, line, doing, fence, claim)`: gives the lock to the first in line whose node listens, or frees it.
///
/// PUBLISH says how many hear it: a node that is gone is passed over at once. One that is silent keeps the lock for
/// the claim, a part of the ttl, since nobody there renews it.
const PASS: &str = include_str!("lua/pass.lua");

/// `ask(fence, line, doing, first, last, head, ttl, claim, description, channel or nothing)`, the first five of them places in KEYS:
/// `{slot, token}`; or `{-1, ms until the first lease ends, time in µs}`, and with a channel it stands in line.
const ASK: &str = include_str!("lua/ask.lua");

/// KEYS fence, line, doing, slots; ARGV head, ttl in ms, claim in ms, description, channel or nothing.
const ASK_ONE: &str = "return ask(1, 2, 3, 4, #KEYS, ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5])";

/// `pass_on(fence, line, doing, first, last, head, claim, channel)`: how many of the locks between those places in KEYS that owner
/// held; if none, it leaves the line.
const PASS_ON: &str = include_str!("lua/pass_on.lua");

/// KEYS fence, line, doing, locks; ARGV head, claim in ms, channel.
const PASS_ON_ONE: &str = "return pass_on(1, 2, 3, 4, #KEYS, ARGV[1], ARGV[2], ARGV[3])";

/// [`ACQUIRE`] without tokens by whoever does not know its own lock again.
const ACQUIRE_NAIVELY: &str = include_str!("lua/naive_acquire.lua");

/// [`RELEASE`] of whoever holds the lock, asked by anybody.
const RELEASE_NAIVELY: &str = include_str!("lua/naive_release.lua");

/// [`RENEW`] of whoever holds the lock, asked by anybody.
const RENEW_NAIVELY: &str = include_str!("lua/naive_renew.lua");

/// Whether a script looks who holds a lock before it changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Care {
    /// It does.
    OfOwners,
    /// It does not: whoever comes late changes what is somebody else's by then.
    None,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Scripts {
    names: Names,
    acquire: Script,
    acquire_no_token: Script,
    release: Script,
    several: Script,
    several_no_token: Script,
    renew: Script,
    ask: Script,
    pass_on: Script,
}

impl Scripts {
    /// For keys that are named so.
    pub(super) fn new(names: Names, care: Care) -> Self {
        let script = |parts: &[&str]| Script::new(&parts.concat());
        let (acquire_no_token, release, renew) = match care {
            Care::OfOwners => {
                let acquire_no_token = script(&[OWNED, DRAW_NONE, ACQUIRE, ACQUIRE_ONE]);
                (acquire_no_token, script(&[OWNED, RELEASE, RELEASE_ONE]), script(&[OWNED, RENEW]))
            }
            Care::None => (script(&[ACQUIRE_NAIVELY]), script(&[RELEASE_NAIVELY]), script(&[RENEW_NAIVELY])),
        };
        Self {
            names,
            acquire: script(&[OWNED, DRAW, ACQUIRE, ACQUIRE_ONE]),
            acquire_no_token,
            release,
            several: script(&[OWNED, DRAW, ACQUIRE, RELEASE, PASS, ASK, PASS_ON, SEVERAL]),
            several_no_token: script(&[OWNED, DRAW_NONE, ACQUIRE, RELEASE, PASS, ASK, PASS_ON, SEVERAL]),
            renew,
            ask: script(&[OWNED, DRAW, PASS, ASK, ASK_ONE]),
            pass_on: script(&[OWNED, DRAW, PASS, PASS_ON, PASS_ON_ONE]),
        }
    }

    /// How keys are named.
    pub(super) fn names(&self) -> Names {
        self.names
    }

    /// Sends all of them, so that the first use is one round trip like every other.
    pub(super) async fn load(&self, connection: &ConnectionManager) -> RedisResult<()> {
        let Self {
            names: _,
            acquire,
            acquire_no_token,
            release,
            several,
            several_no_token,
            renew,
            ask,
            pass_on,
        } = self;
        let all = [acquire, acquire_no_token, release, several, several_no_token, renew, ask, pass_on];
        let loads = all.map(|script| {
            let mut connection = connection.clone();
            async move { script.load_async(&mut connection).await }
        });
        futures_util::future::try_join_all(loads).await.map(drop)
    }

    /// Answered to [`acquired`].
    pub(super) fn acquire(&self, wanted: Wanted<'_>, tokens: Tokens) -> ScriptInvocation<'_> {
        let script = if tokens == Tokens::Drawn { &self.acquire } else { &self.acquire_no_token };
        let mut call = script.key(self.names.fence(wanted.key));
        self.slots(&mut call, wanted.key, wanted.level);
        call.arg(head(wanted.owner)).arg(millis(wanted.ttl)).arg(wanted.description);
        call
    }

    /// Answered to [`asked`].
    pub(super) fn ask(
        &self,
        wanted: Wanted<'_>,
        claim: Duration,
        if_held: IfHeld<'_>,
    ) -> ScriptInvocation<'_> {
        let names = self.names;
        let mut call = self.ask.key(names.fence(wanted.key));
        call.key(names.line(wanted.key)).key(names.doing(wanted.key));
        self.slots(&mut call, wanted.key, wanted.level);
        call.arg(head(wanted.owner)).arg(millis(wanted.ttl)).arg(millis(claim)).arg(wanted.description);
        if let IfHeld::Wait(node) = if_held {
            call.arg(node_channel(node));
        }
        call
    }

    /// Answered with how many of the keys that owner held.
    pub(super) fn release(
        &self,
        keys: &[Arc<str>],
        owner: &OwnerId,
        announce: Announce,
    ) -> ScriptInvocation<'_> {
        let mut call = self.release.arg(head(owner));
        for key in keys {
            call.key(self.names.lock(key));
        }
        if let (Announce::Yes, Some(key)) = (announce, keys.first()) {
            call.arg(self.names.lock(split_slot(key).0));
        }
        call
    }

    /// Answered to [`each`].
    pub(super) fn several(&self, all: &[Joint], tokens: Tokens, announce: Announce) -> ScriptInvocation<'_> {
        let script = if tokens == Tokens::Drawn { &self.several } else { &self.several_no_token };
        let mut call = script.key(self.names.fence(all.first().map_or("", Joint::key)));
        for joint in all {
            let (names, locks, of) = (self.names, joint.locks(), split_slot(joint.key()).0);
            match joint {
                Joint::Acquire { key, level, owner, description, ttl } => {
                    self.slots(&mut call, key, *level);
                    call.arg("acquire").arg(locks).arg(head(owner)).arg(millis(*ttl)).arg(&**description);
                }
                Joint::Ask { key, level, owner, description, ttl, claim, node } => {
                    call.key(names.line(of)).key(names.doing(of));
                    self.slots(&mut call, key, *level);
                    call.arg("ask").arg(locks).arg(head(owner)).arg(millis(*ttl)).arg(millis(*claim));
                    call.arg(&**description).arg(node.as_deref().map(node_channel).unwrap_or_default());
                }
                Joint::PassOn { keys, owner, node, claim } => {
                    call.key(names.line(of)).key(names.doing(of));
                    for key in keys {
                        call.key(names.lock(key));
                    }
                    call.arg("pass_on")
                        .arg(locks)
                        .arg(head(owner))
                        .arg(millis(*claim))
                        .arg(node_channel(node));
                }
                Joint::Release { keys, owner } => {
                    for key in keys {
                        call.key(self.names.lock(key));
                    }
                    let channel = match announce {
                        Announce::Yes => names.lock(of),
                        Announce::No => String::new(),
                    };
                    call.arg("release").arg(locks).arg(head(owner)).arg(channel);
                }
            }
        }
        call
    }

    /// Answered with how many of the keys that owner held.
    pub(super) fn pass_on(
        &self,
        keys: &[Arc<str>],
        owner: &OwnerId,
        node: &str,
        claim: Duration,
    ) -> ScriptInvocation<'_> {
        let (names, base) = (self.names, resource(keys));
        let mut call = self.pass_on.key(names.fence(base));
        call.key(names.line(base)).key(names.doing(base));
        for key in keys {
            call.key(names.lock(key));
        }
        call.arg(head(owner)).arg(millis(claim)).arg(node_channel(node));
        call
    }

    /// Answered to [`renewed`].
    pub(super) fn renew(&self, grants: &[Arc<Grant>], ttl: Duration) -> ScriptInvocation<'_> {
        let mut call = self.renew.arg(millis(ttl));
        for grant in grants {
            call.key(self.names.lock(grant.keys.first().map_or("", |key| key))).arg(head(&grant.owner));
        }
        call
    }

    /// Adds the keys of all slots: at level 1, the lock's own.
    fn slots(&self, call: &mut ScriptInvocation<'_>, key: &str, level: u32) {
        if level == 1 {
            call.key(self.names.lock(key));
        } else {
            for slot in 0..level {
                call.key(self.names.lock(&slot_key(key, slot)));
            }
        }
    }
}

/// The resource of which all these keys are.
pub(super) fn resource(keys: &[Arc<str>]) -> &str {
    keys.first().map_or("", |key| split_slot(key).0)
}

/// What [`SEVERAL`] answers about these.
pub(super) fn each(answer: Value, all: &[Joint]) -> RedisResult<Vec<Result<JointRet, LockError>>> {
    let answers: Vec<Value> = FromRedisValue::from_redis_value(answer)?;
    if answers.len() != all.len() {
        return Err(nonsense());
    }
    let read = |(joint, answer): (&Joint, Value)| {
        let read = match (joint, answer) {
            (_, Value::BulkString(why)) => {
                return Err(LockError::Protocol(String::from_utf8_lossy(&why).into_owned()));
            }
            (Joint::Acquire { .. }, answer) => acquired(answer).map(JointRet::Asked),
            (Joint::Ask { .. }, answer) => asked(answer).map(JointRet::Asked),
            (Joint::Release { .. } | Joint::PassOn { .. }, answer) => {
                was_held(answer).map(JointRet::Released)
            }
        };
        read.map_err(|error| LockError::Protocol(error.to_string()))
    };
    Ok(all.iter().zip(answers).map(read).collect())
}

/// What [`RELEASE`] and [`PASS_ON`] answer.
pub(super) fn was_held(answer: Value) -> RedisResult<bool> {
    Ok(bool::from_redis_value(answer)?)
}

/// What [`ACQUIRE`] answers.
pub(super) fn acquired(answer: Value) -> RedisResult<AskRet> {
    match answer {
        Value::Int(left_ms) => Ok(AskRet::Held { left: lease_left(left_ms), server_us: None }),
        granted => {
            let (slot, token): (u32, u64) = FromRedisValue::from_redis_value(granted)?;
            Ok(AskRet::Granted(slot, token_of(token)))
        }
    }
}

/// What [`ASK`] answers.
pub(super) fn asked(answer: Value) -> RedisResult<AskRet> {
    let answer: Vec<Value> = FromRedisValue::from_redis_value(answer)?;
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

/// What [`RENEW`] answers of so many grants.
pub(super) fn renewed(answer: Value, grants: usize) -> RedisResult<RenewRet> {
    let mut held: Vec<u64> = FromRedisValue::from_redis_value(answer)?;
    let server_us = held.pop().filter(|_| held.len() == grants).ok_or_else(nonsense)?;
    Ok(RenewRet { held: held.into_iter().map(|held| held == 1).collect(), server_us })
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
