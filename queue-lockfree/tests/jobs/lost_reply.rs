//! The reply to an operation is lost, and the node asks again: whatever it asked for happens once.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use queue_lockfree::{JobNodeOptions, JobOutcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::support::{Bench, in_both_forms, outcome};

in_both_forms! {
    a_submission_whose_reply_is_lost_is_one_job;
    a_turn_whose_reply_is_lost_is_taken_once;
    outcomes_whose_reply_is_lost_are_told_once;
}

async fn a_submission_whose_reply_is_lost_is_one_job(bench: Bench) {
    everything_happens_once(bench, "jobs.submit(").await;
}

async fn a_turn_whose_reply_is_lost_is_taken_once(bench: Bench) {
    everything_happens_once(bench, "jobs.work(").await;
}

async fn outcomes_whose_reply_is_lost_are_told_once(bench: Bench) {
    everything_happens_once(bench, "jobs.collect(").await;
}

/// A second node runs jobs meanwhile, and looks so often that an outcome is acknowledged before the repetition comes.
async fn everything_happens_once(bench: Bench, operation: &'static str) {
    let thief = Thief::of(operation, bench.server.endpoint()).await;
    let often = JobNodeOptions { poll: Duration::from_millis(10), ..bench.options("often") };
    let other = bench.node_with(JobNodeOptions { name: "other".to_owned(), ..often.clone() }).await;
    let node = bench.node_with(JobNodeOptions { url: thief.url.clone(), ..often }).await;
    for round in 0..10 {
        let [a, b, c] = ["a", "b", "c"].map(|queue| (queue, format!("say {round} {queue}")));
        let (a, b, c) = tokio::join!(
            bench.enqueue(&node, a.0, &a.1),
            bench.enqueue(&node, b.0, &b.1),
            bench.enqueue(&node, c.0, &c.1)
        );
        for ticket in [a, b, c] {
            assert!(matches!(outcome(ticket).await, Ok(JobOutcome::Completed(_))));
        }
        if round == 2 {
            thief.armed.store(true, Ordering::SeqCst);
        }
    }
    assert!(!thief.armed.load(Ordering::SeqCst), "a reply was stolen");
    let started = bench.script.started();
    assert_eq!(started.len(), 30, "{started:?}");
    assert_eq!(started.iter().collect::<HashSet<_>>().len(), 30);
    bench.end([node, other]).await;
}

/// A way to the database on which one reply to the operation gets lost when it is armed, and the connection a while after.
struct Thief {
    url: String,
    armed: Arc<AtomicBool>,
    _tasks: JoinSet<()>,
}

impl Thief {
    async fn of(operation: &'static str, url: &str) -> Self {
        let (head, rest) = url.split_once("127.0.0.1:").expect("servers of the tests listen on loopback");
        let (port, tail) = rest.split_once('/').unwrap_or((rest, ""));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("{head}{}/{tail}", listener.local_addr().unwrap());
        let (port, armed) = (port.parse::<u16>().unwrap(), Arc::new(AtomicBool::new(false)));
        let mut tasks = JoinSet::new();
        let shared = armed.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                let (armed, stolen) = (shared.clone(), Arc::new(AtomicBool::new(false)));
                let seen = stolen.clone();
                connections.spawn(async move {
                    tokio::select! {
                        () = requests(from_client, to_server, operation, &armed, &seen) => {}
                        () = replies(from_server, to_client, &stolen) => {}
                    }
                });
            }
        });
        Self { url, armed, _tasks: tasks }
    }
}

/// A statement is named once, in the message that prepares it, and then run by messages of type `B`.
async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    operation: &str,
    armed: &AtomicBool,
    stolen: &AtomicBool,
) {
    let mut buffer = vec![0; 64 * 1024];
    let mut named = false;
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        let message = &buffer[..n];
        named |= message.windows(operation.len()).any(|part| part == operation.as_bytes());
        if named && message[0] == b'B' && armed.swap(false, Ordering::SeqCst) {
            stolen.store(true, Ordering::SeqCst);
        }
        if to.write_all(message).await.is_err() {
            return;
        }
    }
}

async fn replies(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, stolen: &AtomicBool) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        if stolen.load(Ordering::SeqCst) {
            // Long enough for what the operation started to come to its end.
            return sleep(Duration::from_millis(500)).await;
        }
        if to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}
