use std::future::poll_fn;
use std::time::Duration;

use super::*;
use crate::now::TokioNow;

fn sending(calls: &Calls, correlation: u64, link: u64) -> bool {
    let mut batch = vec![correlation];
    calls.sending(link, &mut batch, |correlation| Some(*correlation));
    !batch.is_empty()
}

fn hear(calls: &Calls, correlation: u64, said: Said) {
    calls.hear(&mut vec![(correlation, said)], &mut Vec::new());
}

fn news(calls: &Calls, correlation: u64) -> Option<News> {
    match calls.poll_news(correlation, &mut Context::from_waker(Waker::noop())) {
        Poll::Ready(news) => Some(news),
        Poll::Pending => None,
    }
}

fn ending(calls: &Calls, correlation: u64) -> Option<Ending> {
    match news(calls, correlation)? {
        News::Ended(ending) => Some(ending),
        News::Due => panic!("it is not due"),
    }
}

#[test]
fn a_broken_connection_ends_only_what_it_carried() {
    let calls = Calls::new(10);
    let [queued, old, new] = std::array::from_fn(|_| calls.open(u64::MAX).unwrap());
    assert!(sending(&calls, old, 1) && sending(&calls, new, 2));
    calls.broken(1);
    assert!(matches!(ending(&calls, old), Some(Ending::Broken)));
    assert!(ending(&calls, new).is_none() && ending(&calls, queued).is_none());
    calls.unreachable();
    assert!(!sending(&calls, queued, 3), "an ended call is not sent");
    assert!(matches!(ending(&calls, queued), Some(Ending::Unreachable)));
    hear(&calls, new, Said::Answer(Ok(Bytes::new())));
    assert!(matches!(ending(&calls, new), Some(Ending::Answered(Ok(_)))));
}

#[test]
fn only_an_unsent_call_can_be_withdrawn() {
    let calls = Calls::new(10);
    let [sent, queued] = std::array::from_fn(|_| calls.open(u64::MAX).unwrap());
    assert!(sending(&calls, sent, 1));
    assert!(!calls.withdraw(sent));
    assert!(calls.withdraw(queued));
    assert!(!sending(&calls, queued, 1));
}

#[test]
fn calls_are_bounded_and_end_when_the_node_stops() {
    let calls = Calls::new(2);
    let [first, second] = std::array::from_fn(|_| calls.open(u64::MAX).unwrap());
    assert_eq!(calls.open(u64::MAX).unwrap_err(), OpenError::Full);
    assert!(sending(&calls, first, 1));
    calls.close();
    assert!(matches!(ending(&calls, first), Some(Ending::Broken)));
    assert!(matches!(ending(&calls, second), Some(Ending::Stopped)));
    assert_eq!(calls.open(u64::MAX).unwrap_err(), OpenError::Closed);
}

#[test]
fn a_call_that_has_ended_or_whose_caller_is_gone_takes_up_no_room() {
    let calls = Calls::new(1);
    let heard = calls.open(u64::MAX).unwrap();
    hear(&calls, heard, Said::Answer(Ok(Bytes::new())));
    assert!(ending(&calls, heard).is_some());
    let first = calls.open(u64::MAX).unwrap();
    hear(&calls, first, Said::Answer(Ok(Bytes::new())));
    let second = calls.open(u64::MAX).expect("the first has ended, heard or not");
    assert_eq!(calls.abandon(second), Some(Phase::Queued));
    assert_eq!(calls.abandon(first), None, "it had ended");
    let third = calls.open(u64::MAX).unwrap();
    assert_eq!(calls.open(u64::MAX).unwrap_err(), OpenError::Full);
    assert!(sending(&calls, third, 1));
    assert_eq!(calls.abandon(third), Some(Phase::Sent(1)));
}

#[test]
fn a_late_answer_is_none_to_the_call_that_has_the_place_now() {
    let calls = Calls::new(1);
    let late = calls.open(u64::MAX).unwrap();
    calls.abandon(late);
    let present = calls.open(u64::MAX).unwrap();
    hear(&calls, late, Said::Answer(Ok(Bytes::new())));
    hear(&calls, late, Said::Alive);
    assert!(ending(&calls, present).is_none() && !calls.was_alive(present));
    assert!(!sending(&calls, late, 1) && !calls.withdraw(late));
}

#[test]
fn a_sign_of_life_counts_once() {
    let calls = Calls::new(1);
    let call = calls.open(u64::MAX).unwrap();
    assert!(!calls.was_alive(call));
    hear(&calls, call, Said::Alive);
    assert!(calls.was_alive(call));
    assert!(!calls.was_alive(call));
}

#[tokio::test(start_paused = true)]
async fn each_caller_hears_once_that_its_deadline_has_come_whichever_was_opened_first() {
    let (calls, now) = (&Calls::new(10), TokioNow::start());
    let [late, early, never] = [20, 10, 0].map(|ms| {
        let deadline_ns = if ms == 0 { u64::MAX } else { now.deadline_in(Duration::from_millis(ms)) };
        calls.open(deadline_ns).unwrap()
    });
    let due = |correlation| poll_fn(move |context| calls.poll_news(correlation, context));
    let callers = async {
        assert!(matches!(due(early).await, News::Due));
        assert!(now.now_ns() < 20_000_000, "{}", now.now_ns());
        assert!(matches!(due(late).await, News::Due));
        assert!(now.now_ns() >= 20_000_000, "{}", now.now_ns());
        let later = calls.open(now.deadline_in(Duration::from_millis(5))).unwrap();
        assert!(matches!(due(later).await, News::Due));
        tokio::time::sleep(Duration::from_secs(60)).await;
        for call in [early, late, later, never] {
            assert!(news(calls, call).is_none(), "it is told once, and the call goes on");
        }
    };
    tokio::select! {
        () = callers => {}
        () = calls.watch_deadlines(&now) => {}
    }
}
