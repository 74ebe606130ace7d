//! Whole sessions over the model: exclusion, ends of leases, lost answers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::bench::{Bench, Fate, LONG, TTL};
use crate::session::{ReleaseRet, Token, Validity};

/// Who is inside, and the tokens in the order of entry.
type Entries = (Option<usize>, Vec<Option<Token>>);

#[tokio::test(start_paused = true)]
async fn one_node_is_inside_at_a_time_and_tokens_rise() {
    for place in 0..4 {
        let bench = Arc::new(Bench::new());
        let (name, backend) = bench.backends().into_iter().nth(place).unwrap();
        let entries: Arc<Mutex<Entries>> = Arc::default();
        let mut nodes = JoinSet::new();
        for number in 0..4 {
            let (bench, entries) = (Arc::clone(&bench), Arc::clone(&entries));
            let session = bench.node(&*backend).await;
            nodes.spawn(async move {
                for round in 0..25 {
                    let request = bench.ask(&format!("{number}:{round}"), LONG);
                    let grant = session.acquire(&request).await.unwrap();
                    {
                        let mut entries = entries.lock().unwrap();
                        assert_eq!(entries.0.replace(number), None, "{name}");
                        entries.1.push(grant.token);
                    }
                    sleep(Duration::from_millis(3)).await;
                    entries.lock().unwrap().0 = None;
                    assert_eq!(session.release(&grant).await.unwrap(), ReleaseRet::Released);
                }
            });
        }
        while let Some(ended) = nodes.join_next().await {
            ended.unwrap();
        }
        let tokens = &entries.lock().unwrap().1;
        assert_eq!(tokens.len(), 100, "{name}");
        let rise = tokens.is_sorted_by(|one, next| one < next);
        assert!(if ["redis-poll", "redis-pubsub"].contains(&name) { tokens == &[None; 100] } else { rise });
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_holders_key_is_free_after_its_ttl_and_not_before_its_validity_ended() {
    for place in 0..4 {
        let bench = Bench::new();
        let (name, backend) = bench.backends().into_iter().nth(place).unwrap();
        let (a, b) = (bench.node(&*backend).await, bench.node(&*backend).await);
        let held = a.acquire(&bench.ask("a:1", LONG)).await.unwrap();
        sleep(TTL / 2).await;
        let renewed = a.renew(&[Arc::new(held.clone())]).await.unwrap();
        let Validity::Until(until_ns) = renewed.grants[0] else { panic!("{name}: {renewed:?}") };
        // The last that is heard of a.
        let since_ns = bench.now.now_ns();
        let next = b.acquire(&bench.ask("b:1", LONG)).await.unwrap();
        assert!(bench.now.now_ns() > until_ns, "{name}: granted while the first may be inside");
        // Its ttl, the longest pause of a poller or 20 ms of jitter, and a few messages.
        let waited = Duration::from_nanos(bench.now.now_ns() - since_ns);
        assert!(waited < TTL + Duration::from_millis(140), "{name}: {waited:?}");
        assert_eq!(a.release(&held).await.unwrap(), ReleaseRet::AlreadyLost, "{name}");
        assert_eq!(b.release(&next).await.unwrap(), ReleaseRet::Released, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_asked_for_again_and_its_grant_found() {
    for place in 0..4 {
        let bench = Bench::new();
        let (name, backend) = bench.backends().into_iter().nth(place).unwrap();
        let (a, b) = (bench.node(&*backend).await, bench.node(&*backend).await);
        bench.foretell(&[Some(Fate::AnswerLost)]);
        let held = a.acquire(&bench.ask("a:1", LONG)).await.unwrap();
        assert_eq!(a.operations().total(), 2, "{name}");
        assert!(b.try_acquire(&bench.ask("b:1", LONG)).await.unwrap().is_none(), "{name}");
        assert_eq!(a.release(&held).await.unwrap(), ReleaseRet::Released, "{name}");
        assert!(b.try_acquire(&bench.ask("b:2", LONG)).await.unwrap().is_some(), "{name}");
    }
}
