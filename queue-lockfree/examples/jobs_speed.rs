//! Speed of the job queue: both forms beside a bare `SELECT … FOR UPDATE SKIP LOCKED` loop, on one private Postgres.
//!
//! ```sh
//! cargo run --release -p queue-lockfree --example jobs_speed            # not flushed: compares protocols
//! cargo run --release -p queue-lockfree --example jobs_speed durable    # flushed before it is acknowledged
//! ```
//!
//! Jobs do nothing. Jobs/s: 256 are open all the time, counted from submission to outcome. p50, p99: from submission to
//! outcome with one open. The bare loop is fed in batches, takes any row, deletes it and tells nobody: no order, no
//! exclusion, no outcome. Its row holds the yardstick, and `ratio` is jobs/s against the loop right before. All take
//! turns, five times; medians are printed.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a table for people; any failure ends it")]

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use harness::servers::{Durability, Server, ServerKind, ServerOptions};
use hdrhistogram::Histogram;
use queue_lockfree::{
    BoxFuture, Job, JobForm, JobHandler, JobNode, JobNodeOptions, JobOutcome, JobSubmission, Now,
    OnWorkerLoss, TokioNow,
};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Row};
use tokio::task::JoinSet;

const OPEN: usize = 256;
const WARM_UP: Duration = Duration::from_millis(300);
const TIME: Duration = Duration::from_secs(1);
/// Turns of all that is compared; medians are printed.
const ROUNDS: usize = 5;

struct Nothing;

impl JobHandler for Nothing {
    fn run(&self, job: Job) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move { Ok(job.payload) })
    }
}

#[tokio::main]
async fn main() {
    let durable = std::env::args().nth(1).is_some_and(|argument| argument == "durable");
    let durability = if durable { Durability::Durable } else { Durability::Memory };
    let options = ServerOptions { durability, ..ServerOptions::default() };
    let server = Server::start(ServerKind::named("postgres"), &options).await.unwrap();
    println!("PostgreSQL {}, {}", server.version(), durability.name());
    println!(
        "{:<12} {:>7} {:>6} {:>8} {:>6} {:>9} {:>9}",
        "form", "workers", "queues", "jobs/s", "ratio", "p50 ms", "p99 ms"
    );
    for workers in [1, 4, 16] {
        let mut bare_rates = Vec::new();
        let mut lines: BTreeMap<(usize, &str), Vec<[f64; 4]>> = BTreeMap::new();
        for _ in 0..ROUNDS {
            for queues in [1, 64] {
                for form in JobForm::ALL {
                    // Side by side in time, since machines are not equally fast all the time.
                    let bare = bare(server.endpoint(), workers).await;
                    bare_rates.push([bare]);
                    let [rate, p50, p99] = queue(server.endpoint(), *form, workers, queues).await;
                    lines.entry((queues, form.name())).or_default().push([rate, rate / bare, p50, p99]);
                }
            }
        }
        let [bare] = medians(&bare_rates);
        println!(
            "{:<12} {workers:>7} {:>6} {bare:>8.0} {:>6} {:>9} {:>9}",
            "bare loop", "-", "1.00", "-", "-"
        );
        for ((queues, name), rounds) in lines {
            let [rate, ratio, p50, p99] = medians(&rounds);
            println!("{name:<12} {workers:>7} {queues:>6} {rate:>8.0} {ratio:>6.2} {p50:>9.2} {p99:>9.2}");
        }
    }
    server.stop().await.unwrap();
}

/// Of each column.
fn medians<const N: usize>(rounds: &[[f64; N]]) -> [f64; N] {
    std::array::from_fn(|column| {
        let mut values: Vec<f64> = rounds.iter().map(|round| round[column]).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    })
}

/// Jobs/s, and p50 and p99 in ms.
async fn queue(url: &str, form: JobForm, workers: usize, queues: usize) -> [f64; 3] {
    let now = Arc::new(TokioNow::start());
    let options = JobNodeOptions { workers, ..JobNodeOptions::new(url, "bench", form, now.clone()) };
    let node = Arc::new(JobNode::start(options, Arc::new(Nothing)).await.unwrap());
    let rate = drive(&node, &now, OPEN, queues).await.0;
    let latency = drive(&node, &now, 1, queues).await.1;
    Arc::into_inner(node).unwrap().shutdown(TIME).await;
    let ms = |quantile| latency.value_at_quantile(quantile) as f64 / 1e6;
    [rate, ms(0.5), ms(0.99)]
}

/// Keeps so many jobs open for a while. Jobs/s and the time that each took, in ns.
async fn drive(
    node: &Arc<JobNode>,
    now: &Arc<TokioNow>,
    open: usize,
    queues: usize,
) -> (f64, Histogram<u64>) {
    let from_ns = now.now_ns() + u64::try_from(WARM_UP.as_nanos()).unwrap();
    let until_ns = from_ns + u64::try_from(TIME.as_nanos()).unwrap();
    let mut callers = JoinSet::new();
    for caller in 0..open {
        let (node, now) = (Arc::clone(node), Arc::clone(now));
        callers.spawn(async move {
            let mut taken = Histogram::<u64>::new(3).unwrap();
            for number in caller.. {
                let asked_ns = now.now_ns();
                if asked_ns > until_ns {
                    break;
                }
                let queue = format!("queue-{}", number * 7 % queues);
                let (payload, on_worker_loss) = (Bytes::from_static(&[7; 64]), OnWorkerLoss::GiveUp);
                let submission =
                    JobSubmission { queue: &queue, payload, on_worker_loss, deadline_ns: u64::MAX };
                assert!(matches!(node.submit(submission).await, Ok(JobOutcome::Completed(_))));
                let told_ns = now.now_ns();
                if (from_ns..until_ns).contains(&told_ns) {
                    taken.record(told_ns - asked_ns).unwrap();
                }
            }
            taken
        });
    }
    let mut all = Histogram::new(3).unwrap();
    callers.join_all().await.iter().for_each(|taken| all.add(taken).unwrap());
    (all.len() as f64 / TIME.as_secs_f64(), all)
}

/// Rows/s of loops that take one row each, while a feeder keeps rows there.
async fn bare(url: &str, workers: usize) -> f64 {
    let options = PgConnectOptions::from_str(url).unwrap();
    let mut feeder = PgConnection::connect_with(&options).await.unwrap();
    let table = "DROP TABLE IF EXISTS bare; \
                 CREATE TABLE bare (id bigserial PRIMARY KEY, payload bytea NOT NULL, state text NOT NULL); \
                 CREATE INDEX bare_pending ON bare (id) WHERE state = 'pending'";
    sqlx::raw_sql(table).execute(&mut feeder).await.unwrap();
    let now = TokioNow::start();
    let (until_ns, pending, done) =
        (TIME.as_nanos() as u64, Arc::new(AtomicI64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut loops = JoinSet::new();
    for _ in 0..workers {
        let (options, pending, done) = (options.clone(), Arc::clone(&pending), Arc::clone(&done));
        loops.spawn(async move {
            let mut connection = PgConnection::connect_with(&options).await.unwrap();
            while now.now_ns() < until_ns {
                let mut transaction = connection.begin().await.unwrap();
                let take = "SELECT id, payload FROM bare WHERE state = 'pending' ORDER BY id LIMIT 1 \
                            FOR UPDATE SKIP LOCKED";
                let Some(row) = sqlx::query(take).fetch_optional(&mut *transaction).await.unwrap() else {
                    transaction.rollback().await.unwrap();
                    tokio::task::yield_now().await;
                    continue;
                };
                let remove = sqlx::query("DELETE FROM bare WHERE id = $1").bind(row.get::<i64, _>(0));
                remove.execute(&mut *transaction).await.unwrap();
                transaction.commit().await.unwrap();
                pending.fetch_sub(1, Ordering::Relaxed);
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    while now.now_ns() < until_ns {
        if pending.load(Ordering::Relaxed) < OPEN as i64 {
            let feed = "INSERT INTO bare (payload, state) SELECT $1, 'pending' FROM generate_series(1, $2)";
            let feed = sqlx::query(feed).bind([7_u8; 64].as_slice()).bind(OPEN as i32);
            feed.execute(&mut feeder).await.unwrap();
            pending.fetch_add(OPEN as i64, Ordering::Relaxed);
        } else {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    loops.join_all().await;
    done.load(Ordering::Relaxed) as f64 / TIME.as_secs_f64()
}
