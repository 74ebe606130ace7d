//! A database of one's own, nodes on it, and a handler whose jobs say what to do.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use harness::servers::{Server, ServerError, ServerKind, ServerOptions};
use queue_lockfree::{
    BoxFuture, Job, JobError, JobForm, JobHandler, JobNode, JobNodeOptions, JobOutcome, JobSubmission, Now,
    OnWorkerLoss, Ticket, TokioNow,
};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use tokio::sync::{Semaphore, watch};

/// Long enough for a loaded machine: reaching it is a failure, not a measurement.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// So long that a node does not notice its own death within a test.
pub(crate) const NEVER: Duration = Duration::from_secs(6_000);

/// One Postgres, one form.
pub(crate) struct Bench {
    pub(crate) server: Server,
    pub(crate) form: JobForm,
    pub(crate) now: Arc<TokioNow>,
    pub(crate) script: Arc<Script>,
    pool: PgPool,
}

impl Bench {
    /// `None`, with the reason printed, where there is no Postgres. Under CI that is a failure.
    pub(crate) async fn start(form: JobForm) -> Option<Self> {
        let server = match Server::start(ServerKind::named("postgres"), &ServerOptions::default()).await {
            Ok(server) => server,
            Err(missing @ ServerError::Missing { .. }) if std::env::var_os("CI").is_none() => {
                eprintln!("skipped: {missing}");
                return None;
            }
            Err(error) => panic!("{error}"),
        };
        let options = PgConnectOptions::from_str(server.endpoint()).unwrap();
        let pool = PgPoolOptions::new().max_connections(2).connect_lazy_with(options);
        Some(Self { server, form, now: Arc::new(TokioNow::start()), script: Arc::default(), pool })
    }

    /// Declares a node dead, as an operator might who removes its row.
    pub(crate) async fn evict(&self, name: &str) {
        let evicted = sqlx::query("DELETE FROM jobs.node WHERE name = $1").bind(name);
        assert_eq!(evicted.execute(&self.pool).await.unwrap().rows_affected(), 1);
    }

    /// A transaction that has run this and is left open.
    pub(crate) async fn hold(&self, sql: &'static str) -> sqlx::Transaction<'static, sqlx::Postgres> {
        let mut transaction = self.pool.begin().await.unwrap();
        sqlx::raw_sql(sql).execute(&mut *transaction).await.unwrap();
        transaction
    }

    pub(crate) fn options(&self, name: &str) -> JobNodeOptions {
        let options = JobNodeOptions::new(self.server.endpoint(), name, self.form, self.now.clone());
        JobNodeOptions { poll: Duration::from_millis(200), grace: PATIENCE, ..options }
    }

    pub(crate) async fn node(&self, name: &str) -> JobNode {
        self.node_with(self.options(name)).await
    }

    pub(crate) async fn node_with(&self, options: JobNodeOptions) -> JobNode {
        JobNode::start(options, self.script.clone()).await.unwrap()
    }

    /// A node that issues jobs and, as far as its form allows, runs none.
    pub(crate) async fn issuer(&self) -> JobNode {
        let workers = usize::from(self.form == JobForm::Faithful);
        self.node_with(JobNodeOptions { workers, ..self.options("issuer") }).await
    }

    /// A node that runs what a dead one left. In the faithful form that is the issuer: the survivor.
    pub(crate) async fn taker(&self, _survivor: &JobNode) -> Option<JobNode> {
        if self.form == JobForm::Faithful { None } else { Some(self.node("taker").await) }
    }

    /// A job of an issuer in queue `q` that the worker certainly runs: it is submitted while the worker is inside another
    /// one.
    pub(crate) async fn behind_a_prelude(&self, worker: &JobNode, payload: &str) -> (JobNode, Ticket) {
        let issuer = self.issuer().await;
        let prelude = self.enqueue(worker, "q", "hold prelude").await;
        let ticket = self.enqueue(&issuer, "q", payload).await;
        self.script.open("prelude");
        assert_eq!(outcome(prelude).await, Ok(completed("prelude")));
        (issuer, ticket)
    }

    /// Submits, with all patience; the job may not be started twice.
    pub(crate) async fn ask(
        &self,
        node: &JobNode,
        queue: &str,
        payload: &str,
    ) -> Result<JobOutcome, JobError> {
        tokio::time::timeout(PATIENCE, node.submit(self.submission(queue, payload))).await.unwrap()
    }

    pub(crate) async fn enqueue(&self, node: &JobNode, queue: &str, payload: &str) -> Ticket {
        node.enqueue(self.submission(queue, payload)).await.unwrap()
    }

    pub(crate) async fn enqueue_restartable(&self, node: &JobNode, queue: &str, payload: &str) -> Ticket {
        let submission = self.submission(queue, payload);
        node.enqueue(JobSubmission { on_worker_loss: OnWorkerLoss::Restart, ..submission }).await.unwrap()
    }

    pub(crate) fn submission<'a>(&self, queue: &'a str, payload: &str) -> JobSubmission<'a> {
        JobSubmission {
            queue,
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            on_worker_loss: OnWorkerLoss::GiveUp,
            deadline_ns: u64::MAX,
        }
    }

    pub(crate) fn deadline_ns(&self, wait: Duration) -> u64 {
        self.now.now_ns() + u64::try_from(wait.as_nanos()).unwrap()
    }

    /// For questions of a test's own.
    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// The first column of the first row, as a number.
    pub(crate) async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }

    pub(crate) async fn execute(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&self.pool).await.unwrap();
    }

    /// Polls until the count is that.
    pub(crate) async fn until(&self, sql: &'static str, count: i64) {
        let waited = tokio::time::timeout(PATIENCE, async {
            while self.count(sql).await != count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("never became {count}: {sql}"));
    }

    /// Everything is cleaned up and the server gone.
    pub(crate) async fn end(self, nodes: impl IntoIterator<Item = JobNode>) {
        self.until("SELECT count(*) FROM jobs.queue", 0).await;
        self.until("SELECT count(*) FROM jobs.first", 0).await;
        self.until("SELECT count(*) FROM jobs.job WHERE issuer IS NOT NULL", 0).await;
        self.script.assert_exclusive();
        for node in nodes {
            node.shutdown(PATIENCE).await;
        }
        assert_eq!(self.count("SELECT count(*) FROM jobs.node").await, 0, "every node left");
        self.pool.close().await;
        self.server.stop().await.unwrap();
    }
}

/// What came of a ticket, with all patience.
pub(crate) async fn outcome(ticket: Ticket) -> Result<JobOutcome, JobError> {
    tokio::time::timeout(PATIENCE, ticket.outcome()).await.expect("an outcome")
}

pub(crate) fn completed(text: &str) -> JobOutcome {
    JobOutcome::Completed(Bytes::copy_from_slice(text.as_bytes()))
}

/// The handler: a payload is a word, a space and a text.
///
/// `say` returns the text; `fail` fails with it; `panic` and `panic-later` panic with it; `big` returns more than fits;
/// `hold` waits until the gate of that name opens, then returns the text; `count` does, and returns the attempt;
/// `until-lost` waits for the lost signal.
#[derive(Default)]
pub(crate) struct Script {
    /// Texts in the order in which jobs started.
    started: watch::Sender<Vec<String>>,
    /// Most jobs of a queue that were inside at once, and how many are.
    inside: Mutex<HashMap<String, (u64, u64)>>,
    gates: Mutex<HashMap<String, Arc<Semaphore>>>,
    /// Jobs that returned.
    left: watch::Sender<usize>,
    /// Jobs that were dropped halfway.
    dropped: watch::Sender<usize>,
}

impl Script {
    pub(crate) fn started(&self) -> Vec<String> {
        self.started.borrow().clone()
    }

    /// Waits until a job with this text has started so often.
    pub(crate) async fn until_started(&self, text: &str, times: usize) {
        let mut started = self.started.subscribe();
        let there = |started: &Vec<String>| started.iter().filter(|other| *other == text).count() >= times;
        let waited = tokio::time::timeout(PATIENCE, started.wait_for(there)).await;
        drop(waited.unwrap_or_else(|_| panic!("{text} never started")).unwrap());
    }

    /// Waits until so many jobs have left.
    pub(crate) async fn until_ended(&self, times: usize) {
        let mut left = self.left.subscribe();
        let waited = tokio::time::timeout(PATIENCE, left.wait_for(|left| *left >= times)).await;
        waited.expect("a job leaves").unwrap();
    }

    /// Lets holds of this gate through, from now on.
    pub(crate) fn open(&self, gate: &str) {
        self.gate(gate).add_permits(1_000);
    }

    pub(crate) fn dropped(&self) -> usize {
        *self.dropped.borrow()
    }

    /// Waits until so many jobs were dropped halfway, their workers with them.
    pub(crate) async fn until_dropped(&self, times: usize) {
        let mut dropped = self.dropped.subscribe();
        let waited = tokio::time::timeout(PATIENCE, dropped.wait_for(|dropped| *dropped >= times)).await;
        waited.expect("a job is dropped").unwrap();
    }

    fn gate(&self, gate: &str) -> Arc<Semaphore> {
        let mut gates = self.gates.lock().unwrap();
        gates.entry(gate.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(0))).clone()
    }

    /// No two jobs of a queue were ever inside at once, not counting those whose worker had been declared dead.
    pub(crate) fn assert_exclusive(&self) {
        let inside = self.inside.lock().unwrap();
        let shared: Vec<_> = inside.iter().filter(|(_, (most, _))| *most > 1).collect();
        assert!(shared.is_empty(), "inside at once: {shared:?}");
    }
}

/// A job's stay inside.
struct Inside<'a> {
    script: &'a Script,
    queue: String,
    left: bool,
}

impl<'a> Inside<'a> {
    fn enter(script: &'a Script, queue: &str) -> Self {
        let mut inside = script.inside.lock().unwrap();
        let (most, now) = inside.entry(queue.to_owned()).or_default();
        *now += 1;
        *most = (*most).max(*now);
        Self { script, queue: queue.to_owned(), left: false }
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.script.inside.lock().unwrap().get_mut(&self.queue).unwrap().1 -= 1;
        if self.left {
            self.script.left.send_modify(|left| *left += 1);
        } else {
            self.script.dropped.send_modify(|dropped| *dropped += 1);
        }
    }
}

impl JobHandler for Script {
    fn run(&self, job: Job) -> BoxFuture<'_, Result<Bytes, String>> {
        let payload = String::from_utf8(job.payload.to_vec()).expect("a text");
        let (word, text) = payload.split_once(' ').expect("a word and a text");
        let (word, text) = (word.to_owned(), text.to_owned());
        self.started.send_modify(|started| started.push(text.clone()));
        assert!(word != "panic", "{text}");
        // Exclusion is not promised to a worker that was declared dead; its tests use a queue of that name.
        let attempt = job.attempt;
        let queue = if job.queue == "zombie" { format!("zombie-{attempt}") } else { job.queue };
        let mut inside = Inside::enter(self, &queue);
        let lost = job.lost;
        Box::pin(async move {
            // The whole of it, or only its flag would live as long as the job.
            let inside = &mut inside;
            tokio::task::yield_now().await;
            assert!(word != "panic-later", "{text}");
            match word.as_str() {
                "hold" | "count" => drop(self.gate(&text).acquire().await.unwrap()),
                "until-lost" => lost.cancelled().await,
                _ => {}
            }
            inside.left = true;
            match word.as_str() {
                "fail" => Err(text),
                "count" => Ok(Bytes::from(attempt.to_string())),
                "big" => Ok(Bytes::from(vec![0; queue_lockfree::PAYLOAD_BYTES + 1])),
                _ => Ok(Bytes::from(text)),
            }
        })
    }
}

/// Writes one test for each form of a contract.
macro_rules! in_both_forms {
    ($($(#[$meta:meta])* $name:ident;)*) => {
        mod faithful {
            $($(#[$meta])* #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(bench) = $crate::support::Bench::start(queue_lockfree::JobForm::Faithful).await {
                    super::$name(bench).await;
                }
            })*
        }
        mod skip_locked {
            $($(#[$meta])* #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(bench) = $crate::support::Bench::start(queue_lockfree::JobForm::SkipLocked).await {
                    super::$name(bench).await;
                }
            })*
        }
    };
}
pub(crate) use in_both_forms;
