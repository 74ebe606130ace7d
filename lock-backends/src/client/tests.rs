//! The shared layer in virtual time, on a lease server in memory. Properties are functions that say whether
//! they held; each is shown a backend that keeps the contract and one that cheats.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::memory::{CAPABILITIES, Cheat, Link, MemoryServer, MemorySession};
use super::{ClientOptions, Guard, LockClient};
use crate::session::{LockError, OwnerId, Request, SessionOptions, Validity};

const KEY: &str = "vm-1";

/// One node: its client, and its session for the faults.
struct Node {
    client: LockClient,
    session: Arc<MemorySession>,
}

fn node(server: &Arc<MemoryServer>, options: ClientOptions) -> Node {
    let session = server.session();
    let asked = SessionOptions { node: "n".into(), ttl: server.ttl, now: Arc::clone(&server.now) };
    let client = LockClient::over(Arc::clone(&session) as _, &asked, CAPABILITIES, options);
    Node { client, session }
}

fn plain(server: &Arc<MemoryServer>) -> Node {
    node(server, ClientOptions::default())
}

fn ask(key: &str) -> Request {
    static OWNERS: AtomicU64 = AtomicU64::new(0);
    let owner = format!("n:{}", OWNERS.fetch_add(1, Ordering::Relaxed));
    Request::exclusive(key, OwnerId(owner.into()), u64::MAX / 2)
}

fn ask_within(server: &MemoryServer, key: &str, wait: Duration) -> Request {
    Request { deadline_ns: server.now.now_ns() + u64::try_from(wait.as_nanos()).unwrap(), ..ask(key) }
}

/// Attempts and holds balance once nothing is under way.
fn balanced(node: &Node) -> bool {
    let c = node.client.counts();
    c.attempts == c.grants + c.refused + c.timed_out + c.withdrawn + c.failed + c.unknown
        && c.grants == c.released + c.already_lost + c.release_unknown
}

/// The holder's link swallows everything, also its renewals. Was it told before somebody else was granted?
async fn holder_is_told_first(cheat: Cheat) -> bool {
    let server = MemoryServer::new(cheat);
    let (a, b) = (plain(&server), plain(&server));
    let guard = a.client.acquire_request(ask(KEY)).await.unwrap();
    sleep(server.ttl * 5).await;
    assert!(!guard.lost().is_cancelled() || cheat == Cheat::RenewsNothing);
    a.session.link.send_replace(Link::BlackHole);
    let next = b.client.acquire_request(ask(KEY)).await.unwrap();
    let told = guard.lost().is_cancelled() && guard.valid_until() == Validity::Lost;
    next.release().await.unwrap();
    told
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_cannot_renew_is_told_before_the_next_is_granted() {
    assert!(holder_is_told_first(Cheat::Honest).await);
    assert!(!holder_is_told_first(Cheat::OverstatesValidity).await);
}

/// Does a lease outlive its ttl many times while its holder renews?
async fn renewal_keeps_the_lease(cheat: Cheat) -> bool {
    let server = MemoryServer::new(cheat);
    let (a, b) = (plain(&server), plain(&server));
    let guard = a.client.acquire_request(ask(KEY)).await.unwrap();
    sleep(server.ttl * 20).await;
    let refused = b.client.try_acquire_request(ask(KEY)).await.unwrap().is_none();
    refused && !guard.lost().is_cancelled() && guard.release().await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_kept_for_as_long_as_it_is_renewed() {
    assert!(renewal_keeps_the_lease(Cheat::Honest).await);
    assert!(!renewal_keeps_the_lease(Cheat::RenewsNothing).await);
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_stays_lost_when_the_link_comes_back() {
    let server = MemoryServer::new(Cheat::Honest);
    let (a, b) = (plain(&server), plain(&server));
    let guard = a.client.acquire_request(ask(KEY)).await.unwrap();
    a.session.link.send_replace(Link::BlackHole);
    guard.lost().cancelled().await;
    a.session.link.send_replace(Link::Up);
    sleep(server.ttl * 2).await;
    assert_eq!(guard.valid_until(), Validity::Lost);
    // Not renewed any more, although the session is alive.
    let request = ask(KEY);
    let owner = request.owner.clone();
    let next =
        b.client.try_acquire_request(request).await.unwrap().expect("the lost lease ran out at the server");
    assert!(matches!(guard.release().await, Err(LockError::AlreadyLost)));
    assert_eq!(server.holder(KEY), Some(owner));
    next.release().await.unwrap();
    assert!(balanced(&a) && balanced(&b));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_finds_the_key_gone_tells_only_that_holder() {
    let server = MemoryServer::new(Cheat::Honest);
    let a = plain(&server);
    let (gone, kept) = (
        a.client.acquire_request(ask("a")).await.unwrap(),
        a.client.acquire_request(ask("b")).await.unwrap(),
    );
    server.delete("a");
    gone.lost().cancelled().await;
    assert!(!kept.lost().is_cancelled());
    assert!(matches!(gone.release().await, Err(LockError::AlreadyLost)));
    kept.release().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_session_that_hears_of_a_loss_tells_its_holder_without_waiting_for_the_next_renewal() {
    let server = MemoryServer::new(Cheat::Honest);
    let a = plain(&server);
    let gone = a.client.acquire_request(ask("a")).await.unwrap();
    let begun = tokio::time::Instant::now();
    server.delete("a");
    a.session.news.notify_one();
    gone.lost().cancelled().await;
    // A round trip of some 6 ms; the next renewal by the clock is a second away.
    assert!(begun.elapsed() < Duration::from_millis(20), "{:?}", begun.elapsed());
    assert!(matches!(gone.release().await, Err(LockError::AlreadyLost)));
}

#[tokio::test(start_paused = true)]
async fn after_a_pause_the_validity_shows_the_loss_before_any_task_ran() {
    let server = MemoryServer::new(Cheat::Honest);
    let a = plain(&server);
    let guard = a.client.acquire_request(ask(KEY)).await.unwrap();
    let Validity::Until(until) = guard.valid_until() else { panic!("the lease has an end") };
    // As after SIGSTOP and SIGCONT: the clock jumps and nothing of this process has run.
    let jump = tokio::time::advance(server.ttl);
    let mut jump = std::pin::pin!(jump);
    assert!(futures_util::future::poll_immediate(&mut jump).await.is_none());
    assert!(server.now.now_ns() > until);
    jump.await;
    guard.lost().cancelled().await;
}

/// Acquire futures dropped at every millisecond of their way, uncontended and behind a holder; nothing may
/// stay held.
async fn dropped_futures_leave_nothing(cheat: Cheat) -> bool {
    let server = MemoryServer::new(cheat);
    let (a, b) = (plain(&server), plain(&server));
    for ms in 0..30 {
        let held = if ms % 2 == 0 { Some(b.client.acquire_request(ask(KEY)).await.unwrap()) } else { None };
        let waiting = a.client.acquire_request(ask_within(&server, KEY, Duration::from_millis(12)));
        match tokio::time::timeout(Duration::from_millis(ms), waiting).await {
            Ok(Ok(guard)) => drop(guard),
            Ok(Err(LockError::TimedOut)) | Err(_) => {}
            Ok(Err(error)) => panic!("{error}"),
        }
        if let Some(guard) = held {
            guard.release().await.unwrap();
        }
        // Twelve latencies: long enough to give back, far below the ttl.
        sleep(server.latency * 12).await;
        if server.holder(KEY).is_some() {
            return false;
        }
    }
    assert!(balanced(&a), "{:?}", a.client.counts());
    assert!(a.client.counts().dropped_guards > 0);
    true
}

#[tokio::test(start_paused = true)]
async fn a_dropped_acquire_future_leaves_no_lock_behind() {
    assert!(dropped_futures_leave_nothing(Cheat::Honest).await);
    assert!(!dropped_futures_leave_nothing(Cheat::LeaksOnTimeout).await);
    assert!(!dropped_futures_leave_nothing(Cheat::ReleasesNothing).await);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_times_out_in_the_local_line_never_went_to_the_server() {
    let server = MemoryServer::new(Cheat::Honest);
    let a = plain(&server);
    let guard = a.client.acquire_request(ask(KEY)).await.unwrap();
    let before = a.client.counts().operations;
    let late = a.client.acquire_request(ask_within(&server, KEY, Duration::from_millis(100))).await;
    assert!(matches!(late, Err(LockError::TimedOut)));
    assert_eq!(a.client.counts().operations, before);
    guard.release().await.unwrap();
    a.client.acquire_request(ask(KEY)).await.unwrap().release().await.unwrap();
    assert!(balanced(&a));
}

/// Forty waiters of one node, called in order. Were they served in order?
async fn served_in_order(local_fifo: bool) -> bool {
    let server = MemoryServer::new(Cheat::Honest);
    let a = node(&server, ClientOptions { local_fifo, ..ClientOptions::default() });
    let first = a.client.acquire_request(ask(KEY)).await.unwrap();
    let served = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut waiters = JoinSet::new();
    for place in 0..40_u64 {
        let (client, served) = (a.client.clone(), Arc::clone(&served));
        waiters.spawn(async move {
            // The last ones come closest to the release, so that without the line they get there first.
            sleep(Duration::from_millis(place)).await;
            let guard = client.acquire_request(ask(KEY)).await.unwrap();
            served.lock().unwrap().push(place);
            sleep(Duration::from_micros(1_500 + 40 * place % 700)).await;
            guard.release().await.unwrap();
        });
    }
    sleep(Duration::from_millis(43)).await;
    first.release().await.unwrap();
    waiters.join_all().await;
    let served = served.lock().unwrap();
    assert_eq!(served.len(), 40);
    served.is_sorted()
}

#[tokio::test(start_paused = true)]
async fn waiters_of_one_node_are_served_in_the_order_of_their_calls() {
    assert!(served_in_order(true).await);
    assert!(!served_in_order(false).await);
}

#[tokio::test(start_paused = true)]
async fn the_local_line_saves_the_server_the_herd() {
    let mut operations = Vec::new();
    for local_fifo in [true, false] {
        let server = MemoryServer::new(Cheat::Honest);
        let a = node(&server, ClientOptions { local_fifo, ..ClientOptions::default() });
        let mut waiters = JoinSet::new();
        for _ in 0..50 {
            let client = a.client.clone();
            waiters.spawn(
                async move { client.acquire_request(ask(KEY)).await.unwrap().release().await.unwrap() },
            );
        }
        waiters.join_all().await;
        operations.push(a.client.counts().operations);
    }
    // 50 pairs, and the renewals of half a second; the herd asks again after each release: 50 * 51 / 2 in
    // all.
    assert!(operations[0] < 110 && operations[1] > 1_000, "{operations:?}");
}

/// Three nodes, sixty tasks, three slots: never more than three inside, never two on a slot; were all three
/// used at once?
async fn level_is_kept(cheat: Cheat) -> bool {
    let server = MemoryServer::new(cheat);
    let inside = Arc::new(std::sync::Mutex::new((Vec::<u32>::new(), 0, true)));
    let mut tasks = JoinSet::new();
    let nodes: Vec<_> = (0..3).map(|_| plain(&server)).collect();
    for task in 0..60_u64 {
        let (client, inside) = (nodes[task as usize % 3].client.clone(), Arc::clone(&inside));
        tasks.spawn(async move {
            let guard =
                client.acquire_request(Request { level: 3, slot_seed: task, ..ask("host-1") }).await.unwrap();
            {
                let mut inside = inside.lock().unwrap();
                inside.2 &= !inside.0.contains(&guard.slot()) && guard.slot() < 3;
                inside.0.push(guard.slot());
                inside.1 = inside.1.max(inside.0.len());
            }
            sleep(Duration::from_millis(20)).await;
            inside.lock().unwrap().0.retain(|slot| *slot != guard.slot());
            // Lost where the server cheats.
            drop(guard.release().await);
        });
    }
    tasks.join_all().await;
    let inside = inside.lock().unwrap();
    inside.2 && inside.1 == 3
}

#[tokio::test(start_paused = true)]
async fn a_level_is_never_exceeded_and_is_reached() {
    assert!(level_is_kept(Cheat::Honest).await);
    assert!(!level_is_kept(Cheat::GrantsTwice).await);
}

/// One of three keys is taken: does a request for all of them leave the other two free?
async fn all_or_nothing(cheat: Cheat) -> bool {
    let server = MemoryServer::new(cheat);
    let (a, b) = (plain(&server), plain(&server));
    let held = b.client.acquire_request(ask("b")).await.unwrap();
    let keys = vec!["c".into(), "a".into(), "b".into(), "a".into()];
    let wait = Duration::from_secs(10);
    let asked =
        a.client.acquire_request(Request { keys: keys.clone(), ..ask_within(&server, "", wait) }).await;
    assert!(matches!(asked, Err(LockError::TimedOut)));
    let clean = server.holder("a").is_none() && server.holder("c").is_none();
    held.release().await.unwrap();
    if clean {
        let guard = a.client.acquire_request(Request { keys, ..ask("") }).await.unwrap();
        let names: Vec<_> = guard.tokens().map(|(key, _)| key.to_owned()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        guard.release().await.unwrap();
        assert!(["a", "b", "c"].iter().all(|key| server.holder(key).is_none()));
    }
    clean
}

#[tokio::test(start_paused = true)]
async fn several_keys_are_taken_all_or_nothing() {
    assert!(all_or_nothing(Cheat::Honest).await);
    assert!(!all_or_nothing(Cheat::ReleasesNothing).await);
}

#[tokio::test(start_paused = true)]
async fn requests_for_several_keys_in_any_order_do_not_wait_for_each_other() {
    let server = MemoryServer::new(Cheat::Honest);
    let nodes = [plain(&server), plain(&server)];
    let mut tasks = JoinSet::new();
    for task in 0..40 {
        let client = nodes[task % 2].client.clone();
        tasks.spawn(async move {
            let mut keys: Vec<Arc<str>> = vec!["a".into(), "b".into(), "c".into()];
            keys.rotate_left(task % 3);
            let guard = client.acquire_request(Request { keys, ..ask("") }).await.unwrap();
            sleep(Duration::from_millis(3)).await;
            guard.release().await.unwrap()
        });
    }
    tokio::time::timeout(Duration::from_secs(60), tasks.join_all()).await.expect("no deadlock");
}

#[tokio::test(start_paused = true)]
async fn a_lost_session_tells_every_holder_and_every_waiter() {
    let server = MemoryServer::new(Cheat::Honest);
    let a = plain(&server);
    let guard = a.client.acquire_request(ask(KEY)).await.unwrap();
    let client = a.client.clone();
    let mut waiters = JoinSet::new();
    waiters.spawn(async move { client.acquire_request(ask(KEY)).await });
    sleep(Duration::from_millis(50)).await;
    a.session.lost.cancel();
    assert!(guard.lost().is_cancelled() && guard.valid_until() == Validity::Lost);
    let waited = waiters.join_next().await.unwrap().unwrap();
    assert!(matches!(waited, Err(LockError::SessionLost(_))));
    assert!(matches!(guard.release().await, Err(LockError::AlreadyLost)));
    assert!(matches!(a.client.try_acquire_request(ask(KEY)).await, Err(LockError::SessionLost(_))));
    assert!(balanced(&a));
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_acquire_is_unknown_and_given_back_when_the_answer_comes() {
    let server = MemoryServer::new(Cheat::Honest);
    let a = plain(&server);
    a.session.link.send_replace(Link::BlackHole);
    let asked = a.client.acquire_request(ask_within(&server, KEY, Duration::from_millis(500))).await;
    assert!(matches!(asked, Err(LockError::Unknown(_))));
    a.session.link.send_replace(Link::Up);
    sleep(server.latency * 4).await;
    assert_eq!(server.holder(KEY), None);
    let counts = a.client.counts();
    assert_eq!((counts.unknown, counts.grants, counts.released), (1, 0, 0));
    // Asked, granted, given back; and the session's renewals meanwhile would be a fourth.
    assert!(counts.operations >= 2);
}

#[tokio::test(start_paused = true)]
async fn the_next_local_waiter_comes_after_the_release_is_answered() {
    let server = MemoryServer::new(Cheat::Honest);
    let a = plain(&server);
    let guard = a.client.acquire_request(ask(KEY)).await.unwrap();
    let client = a.client.clone();
    let mut waiters = JoinSet::new();
    waiters.spawn(async move { client.acquire_request(ask(KEY)).await });
    sleep(Duration::from_millis(10)).await;
    a.session.link.send_replace(Link::BlackHole);
    assert!(matches!(guard.release().await, Err(LockError::Unknown(_))));
    assert!(futures_util::future::poll_immediate(std::pin::pin!(waiters.join_next())).await.is_none());
    a.session.link.send_replace(Link::Up);
    let next: Guard = waiters.join_next().await.unwrap().unwrap().unwrap();
    next.release().await.unwrap();
    assert_eq!(a.client.counts().release_unknown, 1);
    assert!(balanced(&a));
}

#[tokio::test(start_paused = true)]
async fn closing_tells_the_holders_and_gives_everything_back() {
    let server = MemoryServer::new(Cheat::Honest);
    let a = plain(&server);
    let guard = a.client.acquire_request(ask(KEY)).await.unwrap();
    let other = a.client.acquire_request(ask("vm-2")).await.unwrap();
    drop(other);
    a.client.close().await;
    assert!(guard.lost().is_cancelled());
    assert_eq!((server.holder(KEY), server.holder("vm-2")), (None, None));
    assert!(matches!(guard.release().await, Err(LockError::AlreadyLost)));
}

#[tokio::test(start_paused = true)]
async fn closing_does_not_wait_for_an_abandoned_waiter() {
    let server = MemoryServer::new(Cheat::Honest);
    let (a, b) = (plain(&server), plain(&server));
    let held = b.client.acquire_request(ask(KEY)).await.unwrap();
    let waiting = a.client.acquire_request(ask(KEY));
    assert!(tokio::time::timeout(Duration::from_millis(50), waiting).await.is_err());
    // Its task still waits at the server. A few latencies withdraw it; the bound of close is two seconds.
    let closing = a.client.close();
    tokio::time::timeout(Duration::from_millis(100), closing).await.expect("no wait for the holder");
    held.release().await.unwrap();
    sleep(server.latency * 4).await;
    assert_eq!(server.holder(KEY), None);
}

#[tokio::test(start_paused = true)]
async fn closing_is_bounded_when_the_server_is_silent() {
    let server = MemoryServer::new(Cheat::Honest);
    let a = plain(&server);
    let guard = a.client.acquire_request(ask(KEY)).await.unwrap();
    a.session.link.send_replace(Link::BlackHole);
    let closing = a.client.close();
    // Twice the bound of close, in virtual time.
    tokio::time::timeout(Duration::from_secs(4), closing).await.expect("bounded");
    assert!(guard.lost().is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn requests_that_mean_nothing_are_refused_before_they_cost_anything() {
    let server = MemoryServer::new(Cheat::Honest);
    let a = plain(&server);
    let two = || vec!["a".into(), "b".into()];
    for request in [
        Request { keys: Vec::new(), ..ask(KEY) },
        Request { level: 0, ..ask(KEY) },
        Request { level: 2, keys: two(), ..ask(KEY) },
        Request { mode: crate::session::Mode::Shared, ..ask(KEY) },
    ] {
        assert!(matches!(a.client.acquire_request(request).await, Err(LockError::Unsupported(_))));
    }
    sleep(Duration::from_millis(1)).await;
    let past = Request { deadline_ns: server.now.now_ns(), ..ask(KEY) };
    assert!(matches!(a.client.acquire_request(past).await, Err(LockError::TimedOut)));
    assert_eq!(a.client.counts().operations, 0);
    assert!(balanced(&a));
}
