//! Several servers that know nothing of each other, as one: a lock is whose most of them say.
//!
//! Each request goes to all at once, and each has so long to answer that one which is silent does not use up the lease. Who has less
//! than a majority gives back what it has, also where nobody answered: that is what a later try would stand in the way of itself with.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::requests::{Announce, AskRet, Channel, Hears, IfHeld, Redis, RenewRet, Requests, Tokens, Wanted};
use crate::session::{BoxFuture, Grant, LockError, OwnerId};

/// The part of a lease that each server has to answer in.
const ANSWERED_IN: u32 = 10;

/// A race that nobody won: all try again soon.
const LOST_BY_ALL: Duration = Duration::from_millis(20);

const ONE_AFTER_THE_OTHER: LockError =
    LockError::Unsupported("who is next on several servers, none of them knows");

/// The servers.
#[derive(Debug)]
pub(super) struct Quorum(pub(super) Vec<Box<dyn Redis>>);

struct Node {
    /// `None`: it could not be reached when the session began.
    servers: Vec<Option<Box<dyn Requests>>>,
    limit: Duration,
}

impl Redis for Quorum {
    fn connect<'a>(
        &'a self,
        ttl: Duration,
        hears: Arc<dyn Hears>,
    ) -> BoxFuture<'a, Result<Box<dyn Requests>, LockError>> {
        Box::pin(async move {
            let connected =
                join_all(self.0.iter().map(|server| server.connect(ttl, Arc::clone(&hears)))).await;
            let (mut servers, mut failure) = (Vec::new(), None);
            for server in connected {
                match server {
                    Ok(server) => servers.push(Some(server)),
                    Err(error) => {
                        failure = Some(error);
                        servers.push(None);
                    }
                }
            }
            let there = servers.iter().flatten().count();
            let node = Node { servers, limit: ttl / ANSWERED_IN };
            match failure {
                Some(failure) if there < node.majority() => Err(failure),
                _ => Ok(Box::new(node) as Box<dyn Requests>),
            }
        })
    }
}

impl Node {
    fn majority(&self) -> usize {
        self.servers.len() / 2 + 1
    }

    /// Asks all at once; what each answered in time.
    async fn all<'a, T>(
        &'a self,
        ask: impl Fn(&'a dyn Requests) -> BoxFuture<'a, Result<T, LockError>>,
    ) -> Vec<Result<T, LockError>> {
        let asked = self.servers.iter().map(|server| {
            let asked = server.as_deref().map(&ask);
            async move {
                let unreached =
                    || LockError::Unavailable("it was not there when the session began".to_owned());
                let late = |_| Err(LockError::Unknown("no answer in time".to_owned()));
                timeout(self.limit, asked.ok_or_else(unreached)?).await.unwrap_or_else(late)
            }
        });
        join_all(asked).await
    }

    /// What most of them say, of yes and no.
    fn of_most(&self, answers: &[Result<bool, LockError>]) -> Result<bool, LockError> {
        let said =
            |what: bool| answers.iter().filter(|answer| matches!(answer, Ok(said) if *said == what)).count();
        if said(true) >= self.majority() {
            return Ok(true);
        }
        let unsaid = answers.iter().find_map(|answer| answer.as_ref().err());
        match unsaid {
            // Those who did not answer could make it a majority.
            Some(error) if said(true) + (answers.len() - said(true) - said(false)) >= self.majority() => {
                Err(LockError::Unknown(error.to_string()))
            }
            _ => Ok(false),
        }
    }
}

impl Requests for Node {
    fn acquire<'a>(&'a self, wanted: Wanted<'a>, _: Tokens) -> BoxFuture<'a, Result<AskRet, LockError>> {
        Box::pin(async move {
            let answers = self.all(|server| server.acquire(wanted, Tokens::None)).await;
            let granted = answers.iter().filter(|answer| matches!(answer, Ok(AskRet::Granted(..)))).count();
            if granted >= self.majority() {
                return Ok(AskRet::Granted(0, None));
            }
            let keys = [Arc::<str>::from(wanted.key)];
            let mut left: Vec<Duration> = Vec::new();
            let mut failure = None;
            for answer in answers {
                match answer {
                    Ok(AskRet::Held { left: held, .. }) => left.push(held),
                    Ok(AskRet::Granted(..)) => {}
                    Err(error) => failure = Some(error),
                }
            }
            self.all(|server| server.release(&keys, wanted.owner, Announce::No)).await;
            match failure {
                // Whoever is silent may have granted it; together with the others that is no majority, as long as so many refused.
                Some(failure) if self.servers.len() - left.len() >= self.majority() => Err(failure),
                _ => {
                    Ok(AskRet::Held { left: left.into_iter().min().unwrap_or(LOST_BY_ALL), server_us: None })
                }
            }
        })
    }

    fn ask<'a>(
        &'a self,
        _: Wanted<'a>,
        _: Duration,
        _: IfHeld<'a>,
    ) -> BoxFuture<'a, Result<AskRet, LockError>> {
        Box::pin(std::future::ready(Err(ONE_AFTER_THE_OTHER)))
    }

    fn release<'a>(
        &'a self,
        keys: &'a [Arc<str>],
        owner: &'a OwnerId,
        announce: Announce,
    ) -> BoxFuture<'a, Result<bool, LockError>> {
        Box::pin(async move {
            let answers = self.all(|server| server.release(keys, owner, announce)).await;
            self.of_most(&answers)
        })
    }

    fn pass_on<'a>(
        &'a self,
        _: &'a [Arc<str>],
        _: &'a OwnerId,
        _: &'a str,
        _: Duration,
    ) -> BoxFuture<'a, Result<bool, LockError>> {
        Box::pin(std::future::ready(Err(ONE_AFTER_THE_OTHER)))
    }

    fn renew<'a>(
        &'a self,
        grants: &'a [Arc<Grant>],
        ttl: Duration,
    ) -> BoxFuture<'a, Result<RenewRet, LockError>> {
        Box::pin(async move {
            let answers = self.all(|server| server.renew(grants, ttl)).await;
            let mut held = vec![0; grants.len()];
            let (mut answered, mut failure, mut server_us) = (0, None, 0);
            for answer in answers {
                match answer {
                    Ok(renewed) => {
                        answered += 1;
                        server_us = renewed.server_us;
                        held.iter_mut().zip(renewed.held).for_each(|(held, one)| *held += usize::from(one));
                    }
                    Err(error) => failure = Some(error),
                }
            }
            match failure {
                Some(failure) if answered < self.majority() => Err(failure),
                _ => {
                    let held = held.into_iter().map(|held| held >= self.majority()).collect();
                    Ok(RenewRet { held, server_us })
                }
            }
        })
    }

    fn holder<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<String>, LockError>> {
        Box::pin(async move {
            let answers = self.all(|server| server.holder(key)).await;
            let (mut said, mut failure) = (Vec::new(), None);
            for answer in answers {
                match answer {
                    Ok(holder) => said.push(holder),
                    Err(error) => failure = Some(error),
                }
            }
            let most = |holder: &&Option<String>| {
                holder.is_some() && said.iter().filter(|other| other == holder).count() >= self.majority()
            };
            match (said.iter().find(most), failure) {
                (Some(holder), _) => Ok(holder.clone()),
                (None, Some(failure)) if said.len() < self.majority() => Err(failure),
                _ => Ok(None),
            }
        })
    }

    fn subscribe<'a>(&'a self, _: Channel<'a>) -> BoxFuture<'a, Result<(), LockError>> {
        Box::pin(std::future::ready(Err(ONE_AFTER_THE_OTHER)))
    }

    fn unsubscribe<'a>(&'a self, _: &'a [Arc<str>]) -> BoxFuture<'a, Result<(), LockError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("servers", &self.servers.len()).finish_non_exhaustive()
    }
}
