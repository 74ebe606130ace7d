//! Once a request of an attempt stayed unanswered, the attempt ends as unknown, unless its withdrawal is proven.

use std::time::Duration;

use tokio::time::sleep;

use super::bench::{Bench, Fate, LATE, LONG};
use crate::session::{LockError, ReleaseRet};

/// Ends well before a late request arrives.
const SHORT: Duration = Duration::from_millis(300);

#[tokio::test(start_paused = true)]
async fn a_try_whose_first_request_is_on_its_way_is_unknown_whatever_follows() {
    for place in 0..4 {
        for second in [Some(Fate::Unsent), Some(Fate::Nonsense), None] {
            let bench = Bench::new();
            let (name, backend) = bench.backends().into_iter().nth(place).unwrap();
            let (a, b) = (bench.node(&*backend).await, bench.node(&*backend).await);
            let held = b.acquire(&bench.ask("b:1", LONG)).await.unwrap();
            bench.foretell(&[Some(Fate::Late), second]);
            let request = bench.ask("a:1", LONG);
            let tried = a.try_acquire(&request).await;
            assert!(matches!(tried, Err(LockError::Unknown(_))), "{name}, then {second:?}: {tried:?}");
            // It was true: the request still arrives.
            b.release(&held).await.unwrap();
            sleep(LATE).await;
            assert_eq!(
                a.release(&request.unproven_grant()).await.unwrap(),
                ReleaseRet::Released,
                "{name}, then {second:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_try_that_is_refused_behind_its_unheard_first_request_is_refused() {
    for place in 0..4 {
        let bench = Bench::new();
        let (name, backend) = bench.backends().into_iter().nth(place).unwrap();
        let (a, b) = (bench.node(&*backend).await, bench.node(&*backend).await);
        b.acquire(&bench.ask("b:1", LONG)).await.unwrap();
        bench.foretell(&[Some(Fate::Unheard)]);
        let tried = a.try_acquire(&bench.ask("a:1", LONG)).await;
        assert!(matches!(tried, Ok(None)), "{name}: {tried:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_of_which_a_request_is_on_its_way_is_unknown_whatever_follows() {
    for place in 0..4 {
        for second in [Some(Fate::Unsent), Some(Fate::Nonsense), None] {
            let bench = Bench::new();
            let (name, backend) = bench.backends().into_iter().nth(place).unwrap();
            let (a, b) = (bench.node(&*backend).await, bench.node(&*backend).await);
            b.acquire(&bench.ask("b:1", LONG)).await.unwrap();
            bench.foretell(&[Some(Fate::Late), second]);
            let waited = a.acquire(&bench.ask("a:1", SHORT)).await;
            assert!(matches!(waited, Err(LockError::Unknown(_))), "{name}, then {second:?}: {waited:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_was_withdrawn_behind_all_its_requests_timed_out() {
    for place in 0..4 {
        let bench = Bench::new();
        let (name, backend) = bench.backends().into_iter().nth(place).unwrap();
        let (a, b) = (bench.node(&*backend).await, bench.node(&*backend).await);
        b.acquire(&bench.ask("b:1", LONG)).await.unwrap();
        bench.foretell(&[Some(Fate::Unheard)]);
        let waited = a.acquire(&bench.ask("a:1", SHORT)).await;
        assert!(matches!(waited, Err(LockError::TimedOut)), "{name}: {waited:?}");
    }
}
