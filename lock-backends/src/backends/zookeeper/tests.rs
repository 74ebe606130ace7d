//! Whole sessions over a server in memory, in virtual time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::memory::{Link, Server};
use super::node::Node;
use super::queue::Watching;
use super::session::{NodeRecipe, ZkSession};
use super::zk_ephemeral::Ephemeral;
use super::zk_seq::Seq;
use crate::session::{LockError, LockSession, Now, OwnerId, ReleaseRet, Request, SinceStart, Validity};

const TIMEOUT: Duration = Duration::from_secs(4);

type NewRecipe = fn() -> Box<dyn NodeRecipe>;

const RECIPES: [NewRecipe; 3] =
    [|| Box::new(Seq(Watching::Nearest)), || Box::new(Seq(Watching::Holder)), || Box::new(Ephemeral)];

fn session(
    server: &Arc<Server>,
    now: &Arc<dyn Now>,
    recipe: NewRecipe,
) -> (Arc<dyn LockSession>, watch::Sender<Link>) {
    let (opened, link) = server.session(TIMEOUT);
    let node = Node::new(opened, now.now_ns(), Arc::clone(now));
    (Arc::new(ZkSession { node, recipe: recipe() }), link)
}

fn server() -> (Arc<Server>, Arc<dyn Now>) {
    (Arc::default(), Arc::new(SinceStart::default()))
}

fn ask(owner: &str) -> Request {
    Request::exclusive("vm-7", OwnerId(owner.into()), u64::MAX)
}

#[tokio::test(start_paused = true)]
async fn nodes_take_turns_and_tokens_rise() {
    for recipe in RECIPES {
        let (server, now) = server();
        let (inside, mut nodes) = (Arc::new(AtomicU32::new(0)), JoinSet::new());
        for node in 0..4 {
            let ((session, link), inside) = (session(&server, &now, recipe), Arc::clone(&inside));
            nodes.spawn(async move {
                let mut tokens = Vec::new();
                for turn in 0..20 {
                    let grant = session.acquire(&ask(&format!("{node}:{turn}"))).await.unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0);
                    sleep(Duration::from_millis(3)).await;
                    inside.fetch_sub(1, Ordering::Relaxed);
                    tokens.push(grant.token.unwrap());
                    assert_eq!(session.release(&grant).await.unwrap(), ReleaseRet::Released);
                }
                session.close().await;
                drop(link);
                tokens
            });
        }
        let tokens: Vec<_> = nodes.join_all().await;
        assert!(tokens.iter().all(|own| own.is_sorted_by(|before, after| before < after)));
        let all: BTreeSet<_> = tokens.into_iter().flatten().collect();
        assert_eq!(all.len(), 4 * 20);
    }
}

/// Cut off at 0 s: the holder's last answer came before, so it is certain of its lock for less than 4 s, and the server
/// gives it to the waiter at 4 s.
#[tokio::test(start_paused = true)]
async fn a_silent_holder_knows_that_its_lock_is_lost_before_the_next_one_has_it() {
    for recipe in RECIPES {
        let (server, now) = server();
        let ((silent, link), (other, _up)) = (session(&server, &now, recipe), session(&server, &now, recipe));
        let lost = silent.acquire(&ask("silent:1")).await.unwrap();
        link.send_replace(Link::Cut);
        let cut_ns = now.now_ns();

        let (mut renewals, waiting) = (JoinSet::<()>::new(), Arc::clone(&other));
        renewals.spawn(async move {
            loop {
                sleep(TIMEOUT / 3).await;
                waiting.renew(&[]).await.unwrap();
            }
        });
        let next = other.acquire(&ask("other:1")).await.unwrap();
        renewals.shutdown().await;
        let granted_ns = now.now_ns();
        let waited = Duration::from_nanos(granted_ns - cut_ns);
        assert!(waited >= TIMEOUT && waited < TIMEOUT + Duration::from_millis(10), "{waited:?}");
        let Validity::Until(certain_ns) = lost.validity else { panic!("{lost:?}") };
        assert!(certain_ns < granted_ns);
        assert!(next.token > lost.token);

        assert!(matches!(silent.renew(&[Arc::new(lost.clone())]).await, Err(LockError::SessionLost(_))));
        assert_eq!(silent.release(&lost).await.unwrap(), ReleaseRet::AlreadyLost);
        link.send_replace(Link::Up);
        assert_eq!(other.release(&next).await.unwrap(), ReleaseRet::Released);
        silent.close().await;
        other.close().await;
    }
}

/// An answer that does not come is no loss: the node is found again by its owner's name.
#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_looked_for_and_what_was_made_is_found() {
    for recipe in RECIPES {
        let (server, now) = server();
        let (session, link) = session(&server, &now, recipe);
        session.release(&session.acquire(&ask("node:1")).await.unwrap()).await.unwrap();
        // The session is proven alive up to 3.96 s; its requests are given up after 2 s and arrive after 2.5 s.
        link.send_replace(Link::Cut);
        let mut back = JoinSet::new();
        back.spawn(async move {
            sleep(Duration::from_millis(2_500)).await;
            link.send_replace(Link::Up);
            link
        });
        let grant = session.acquire(&ask("node:2")).await.unwrap();
        assert_eq!(session.holder("vm-7").await.unwrap().as_deref(), Some(""));
        assert_eq!(session.release(&grant).await.unwrap(), ReleaseRet::Released);
        assert_eq!(session.holder("vm-7").await.unwrap(), None);
        session.close().await;
    }
}

/// A release that was given up after 2 s arrives after 2.5 s. Asked again, it finds another's lock, which stays.
#[tokio::test(start_paused = true)]
async fn a_release_that_is_asked_again_leaves_the_next_ones_lock_alone() {
    for recipe in RECIPES {
        let (server, now) = server();
        let ((first, link), (next, _up)) = (session(&server, &now, recipe), session(&server, &now, recipe));
        let mine = first.acquire(&ask("first:1")).await.unwrap();
        link.send_replace(Link::Cut);
        let mut back = JoinSet::new();
        back.spawn(async move {
            sleep(Duration::from_millis(2_500)).await;
            link.send_replace(Link::Up);
            link
        });
        assert!(matches!(first.release(&mine).await, Err(LockError::Unknown(_))));
        let theirs = Arc::new(next.acquire(&ask("next:1")).await.unwrap());
        assert_eq!(first.release(&mine).await.unwrap(), ReleaseRet::AlreadyLost);
        let renewed = next.renew(&[Arc::clone(&theirs)]).await.unwrap();
        assert!(matches!(renewed.grants[..], [Validity::Until(_)]), "{recipe:?}: {renewed:?}");
        assert_eq!(next.release(&theirs).await.unwrap(), ReleaseRet::Released);
        first.close().await;
        next.close().await;
    }
}

/// Deleted by hand and taken by another: the path is there, and what is there is another's.
#[tokio::test(start_paused = true)]
async fn a_node_of_another_transaction_is_a_lock_lost() {
    for recipe in RECIPES {
        let (server, now) = server();
        let ((first, _up), (next, _too)) = (session(&server, &now, recipe), session(&server, &now, recipe));
        let mine = first.acquire(&ask("first:1")).await.unwrap();
        server.delete_all_of_sessions();
        let theirs = next.acquire(&ask("next:1")).await.unwrap();
        let renewed = first.renew(&[Arc::new(mine)]).await.unwrap();
        assert_eq!(renewed.grants, [Validity::Lost]);
        assert_eq!(next.release(&theirs).await.unwrap(), ReleaseRet::Released);
        first.close().await;
        next.close().await;
    }
}
