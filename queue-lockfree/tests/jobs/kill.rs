//! `kill -9` of workers, issuers and the database at random points. Nodes are processes; the database keeps a log of its
//! own, by triggers, of what every job went through, and handlers write down each execution.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use queue_lockfree::{
    BoxFuture, Job, JobError, JobForm, JobHandler, JobNode, JobNodeOptions, JobSubmission, OnWorkerLoss,
    TokioNow,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::support::{Bench, PATIENCE, in_both_forms};

in_both_forms! {
    whoever_is_killed_each_job_has_one_outcome;
}

/// Set in the processes that are to be killed: URL, name, form, incarnation.
const NODE: &str = "LOCKBENCH_JOBS_NODE";

/// Replays one seed.
const SEED: &str = "LOCKBENCH_JOBS_SEED";

/// How many seeds: 3 of each form in `make test`, 200 in `make test-long`.
const SEEDS: &str = "LOCKBENCH_JOBS_SEEDS";

/// Names of the queues that all nodes share.
const QUEUES: u32 = 5;

/// Before anything is submitted.
const AUDIT: &str = "\
    CREATE SCHEMA audit; \
    CREATE TABLE audit.step (seq bigserial, job bigint, text text, issuer bigint, queue bigint, was text, became text, attempt int); \
    CREATE TABLE audit.execution (job bigint, attempt int, PRIMARY KEY (job, attempt)); \
    CREATE FUNCTION audit.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
      INSERT INTO audit.step (job, text, issuer, queue, was, became, attempt) VALUES (NEW.id, \
        convert_from(NEW.payload, 'UTF8'), NEW.issuer, CASE WHEN TG_OP = 'INSERT' THEN NEW.queue ELSE OLD.queue END, \
        CASE WHEN TG_OP = 'INSERT' THEN 'none' ELSE OLD.state END, NEW.state, NEW.attempts); \
      RETURN NEW; END $$; \
    CREATE TABLE audit.declared_dead (node bigint PRIMARY KEY); \
    CREATE FUNCTION audit.bury() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
      INSERT INTO audit.declared_dead SELECT OLD.id WHERE current_query() NOT LIKE 'DELETE%'; RETURN OLD; END $$; \
    CREATE TRIGGER gone BEFORE DELETE ON jobs.node FOR EACH ROW EXECUTE FUNCTION audit.bury(); \
    CREATE TRIGGER submitted AFTER INSERT ON jobs.job FOR EACH ROW EXECUTE FUNCTION audit.note(); \
    CREATE TRIGGER changed AFTER UPDATE ON jobs.job FOR EACH ROW \
      WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION audit.note()";

async fn whoever_is_killed_each_job_has_one_outcome(mut bench: Bench) {
    let number = |name| std::env::var(name).ok().map(|value: String| value.parse::<u64>().unwrap());
    let seeds = match number(SEED) {
        Some(seed) => seed..seed + 1,
        None => 1..1 + number(SEEDS).unwrap_or(3),
    };
    let mut sum = Counts::default();
    for seed in seeds {
        eprintln!("{} {SEED}={seed}", bench.form.name());
        sum.add(&one_seed(&mut bench, seed).await);
        bench.execute("DROP SCHEMA jobs CASCADE; DROP SCHEMA audit CASCADE").await;
    }
    eprintln!("{} {sum:?}", bench.form.name());
    bench.server.stop().await.unwrap();
}

/// What came out of a seed.
#[derive(Debug, Default)]
struct Counts {
    jobs: usize,
    completed: usize,
    worker_lost: usize,
    issuer_lost: usize,
    /// Jobs put back because their worker had died.
    put_back: usize,
    executions: usize,
    nodes_killed: usize,
    database_killed: usize,
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.jobs += other.jobs;
        self.completed += other.completed;
        self.worker_lost += other.worker_lost;
        self.issuer_lost += other.issuer_lost;
        self.put_back += other.put_back;
        self.executions += other.executions;
        self.nodes_killed += other.nodes_killed;
        self.database_killed += other.database_killed;
    }
}

async fn one_seed(bench: &mut Bench, seed: u64) -> Counts {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    bench.node("set-up").await.shutdown(PATIENCE).await;
    bench.execute(AUDIT).await;
    let said = Arc::new(Mutex::new(Said::default()));
    let mut counts = Counts::default();
    let mut nodes: Vec<_> = (0..3).map(|name| Some(NodeProcess::start(bench, name, 0, &said))).collect();
    until_busy(&said).await;
    for life in 1..=rng.random_range(2..=4) {
        sleep(Duration::from_millis(rng.random_range(20..400))).await;
        let target = rng.random_range(0..4);
        if target == nodes.len() {
            bench.server.kill().await.unwrap();
            sleep(Duration::from_millis(rng.random_range(0..200))).await;
            bench.server.restart().await.unwrap();
            counts.database_killed += 1;
            continue;
        }
        if let Some(node) = nodes[target].take() {
            node.kill().await;
            counts.nodes_killed += 1;
        }
        // Half of the time it comes back, at once or after a while; otherwise others have to notice.
        if rng.random_bool(0.5) {
            sleep(Duration::from_millis(rng.random_range(0..200))).await;
            nodes[target] = Some(NodeProcess::start(bench, target, life, &said));
        }
    }
    // It sees to what dead nodes have left when all others have stopped.
    let witness = Arc::new(Witness::on(bench.server.endpoint()));
    let last = JobNode::start(options(bench.server.endpoint(), "last", bench.form), witness).await.unwrap();
    for node in nodes.into_iter().flatten() {
        node.stop().await;
    }
    bench.until("SELECT count(*) FROM jobs.job WHERE finished IS NULL", 0).await;
    last.shutdown(PATIENCE).await;
    // A job is dropped only if the node that submitted it was declared dead, by others or by its own next life.
    let dropped_alive = "SELECT count(*) FROM audit.step lost JOIN audit.step submitted USING (job) \
                         WHERE lost.became = 'issuer-lost' AND submitted.was = 'none' \
                           AND submitted.issuer NOT IN (SELECT node FROM audit.declared_dead)";
    assert_eq!(bench.count(dropped_alive).await, 0);
    let steps = "SELECT job, text, queue, was, became, attempt FROM audit.step ORDER BY seq";
    let steps: Vec<Step> = sqlx::query_as(steps).fetch_all(bench.pool()).await.unwrap();
    let executions = sqlx::query_as("SELECT job, attempt FROM audit.execution").fetch_all(bench.pool()).await;
    judge(bench.form, &said.lock().unwrap(), &steps, executions.unwrap().into_iter().collect(), counts)
}

/// A step of a job, as the database saw it.
type Step = (i64, String, Option<i64>, String, String, i32);

fn judge(
    form: JobForm,
    said: &Said,
    steps: &[Step],
    executions: BTreeSet<(i64, i32)>,
    mut counts: Counts,
) -> Counts {
    counts.executions = executions.len();

    let mut inside: BTreeMap<i64, i32> = BTreeMap::new();
    let mut jobs: BTreeMap<&str, Vec<&Step>> = BTreeMap::new();
    for step in steps {
        let (job, text, queue, was, became, _) = step;
        let inside = inside.entry(queue.unwrap_or_else(|| panic!("{job} has no queue"))).or_default();
        *inside += i32::from(became == "running") - i32::from(was == "running");
        assert!((0..=1).contains(inside), "{inside} jobs at once in queue {queue:?}, at {step:?}");
        jobs.entry(text).or_default().push(step);
    }
    counts.jobs = jobs.len();
    let mut started = BTreeSet::new();
    for (text, steps) in &jobs {
        let job = steps[0].0;
        assert!(steps.iter().all(|step| step.0 == job), "submitted twice: {steps:?}");
        let finals: Vec<_> = steps.iter().filter(|step| step.4 != "pending" && step.4 != "running").collect();
        assert_eq!(finals.len(), 1, "outcomes of {text}: {steps:?}");
        let last = finals[0];
        assert_eq!(*last, *steps.last().unwrap(), "after its outcome: {steps:?}");
        let told = said.told.get(*text).map(Vec::as_slice).unwrap_or_default();
        assert!(
            told.len() <= 1 && told.iter().all(|told| *told == last.4),
            "{text}: told {told:?}, is {last:?}"
        );

        // Every start is written down, and ends in one way: with the outcome, or by being put back.
        let starts: Vec<i32> = steps.iter().filter(|step| step.4 == "running").map(|step| step.5).collect();
        started.extend(starts.iter().map(|attempt| (job, *attempt)));
        let put_back = steps.iter().filter(|step| step.3 == "running" && step.4 == "pending").count();
        assert_eq!(starts.len(), put_back + usize::from(last.3 == "running"), "{steps:?}");
        assert!(put_back == 0 || text.ends_with("restartable"), "{steps:?}");
        counts.put_back += put_back;
        let ran = |attempt: i32| executions.contains(&(job, attempt));
        match last.4.as_str() {
            "completed" => {
                counts.completed += 1;
                assert!(ran(last.5), "no execution behind the outcome: {steps:?}");
            }
            "worker-lost" => {
                counts.worker_lost += 1;
                assert!(text.ends_with("once") && starts.len() == 1, "{steps:?}");
            }
            "issuer-lost" => {
                counts.issuer_lost += 1;
                assert_eq!(form, JobForm::Faithful, "{steps:?}");
            }
            other => panic!("{other} is not to be expected: {steps:?}"),
        }
    }
    // At least once: an execution for each start that was not cut short, and none without a start.
    assert!(executions.is_subset(&started), "{:?}", executions.difference(&started));
    let cut_short = started.len() - executions.len();
    assert!(cut_short <= counts.put_back + counts.worker_lost + counts.issuer_lost);
    for text in &said.entered {
        assert!(jobs.contains_key(text.as_str()), "lost: {text}");
        let issuer = text.split(' ').next().unwrap().rsplit_once('.').unwrap().0;
        assert!(!said.survived.contains(issuer) || said.told.contains_key(text), "never told: {text}");
    }
    assert!(counts.completed >= 10, "too little happened: {counts:?}");
    counts
}

/// What nodes said, by the text of the submission.
#[derive(Debug, Default)]
struct Said {
    /// The database has it.
    entered: BTreeSet<String>,
    told: BTreeMap<String, Vec<String>>,
    /// Nodes that ended in their own time.
    survived: BTreeSet<String>,
}

impl Said {
    fn note(&mut self, line: &str) {
        let Some(line) = line.strip_prefix('@') else { return eprintln!("a node says: {line}") };
        let (verb, rest) = line.split_once(' ').unwrap();
        match verb {
            "entered" => drop(self.entered.insert(rest.to_owned())),
            "told" => {
                let (outcome, text) = rest.split_once(' ').unwrap();
                self.told.entry(text.to_owned()).or_default().push(outcome.to_owned());
            }
            "survived" => drop(self.survived.insert(rest.to_owned())),
            other => panic!("{other}"),
        }
    }
}

async fn until_busy(said: &Mutex<Said>) {
    let busy = timeout(PATIENCE, async {
        while said.lock().unwrap().told.len() < 10 {
            sleep(Duration::from_millis(5)).await;
        }
    });
    busy.await.expect("jobs complete before the first fault");
}

/// A node in a process of its own.
struct NodeProcess {
    child: Child,
    /// A line lets it end in its own time; closing it, as our death does, ends it at once.
    stdin: ChildStdin,
    /// Ends when the process has ended and all that it said is noted.
    hearing: JoinSet<()>,
}

impl NodeProcess {
    fn start(bench: &Bench, name: usize, life: u32, said: &Arc<Mutex<Said>>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["kill::a_node_that_may_be_killed", "--exact", "--nocapture", "--test-threads=1"]);
        command.env(NODE, format!("{} {name} {} {life}", bench.server.endpoint(), bench.form.name()));
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut child = child.unwrap();
        let stdin = child.stdin.take().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let said = Arc::clone(said);
        let mut hearing = JoinSet::new();
        hearing.spawn(async move {
            let mut line = String::new();
            while stderr.read_line(&mut line).await.unwrap() > 0 {
                // Whoever is killed may be in the middle of its last line.
                if let Some(line) = line.strip_suffix('\n') {
                    said.lock().unwrap().note(line);
                }
                line.clear();
            }
        });
        Self { child, stdin, hearing }
    }

    async fn kill(mut self) {
        self.child.kill().await.unwrap();
        self.hearing.join_all().await;
    }

    async fn stop(mut self) {
        // It may have ended already, declared dead.
        self.stdin.write_all(b"stop\n").await.ok();
        let ended = timeout(2 * PATIENCE, self.child.wait()).await.expect("a node ends").unwrap();
        assert!(ended.success(), "{ended}");
        self.hearing.join_all().await;
    }
}

/// Notes each execution before it does anything.
struct Witness {
    pool: PgPool,
}

impl Witness {
    fn on(url: &str) -> Self {
        let options = PgConnectOptions::from_str(url).unwrap();
        Self { pool: PgPoolOptions::new().max_connections(2).connect_lazy_with(options) }
    }
}

impl JobHandler for Witness {
    fn run(&self, job: Job) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move {
            let note = "INSERT INTO audit.execution VALUES ($1, $2) ON CONFLICT DO NOTHING";
            let attempt = i32::try_from(job.attempt).unwrap();
            // Until the database has it, also if that is away meanwhile.
            while sqlx::query(note).bind(job.id).bind(attempt).execute(&self.pool).await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
            sleep(Duration::from_millis(job.token % 10)).await;
            Ok(job.payload)
        })
    }
}

fn options(url: &str, name: &str, form: JobForm) -> JobNodeOptions {
    let options = JobNodeOptions::new(url, name, form, Arc::new(TokioNow::start()));
    JobNodeOptions { poll: Duration::from_millis(200), grace: PATIENCE, ..options }
}

/// Not a test of its own: what [`NodeProcess`] runs. Issues jobs, runs jobs, and says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_may_be_killed() {
    let Ok(order) = std::env::var(NODE) else { return };
    let [url, name, form, life] = order.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let form = *JobForm::ALL.iter().find(|known| known.name() == form).unwrap();
    let me = format!("node-{name}.{life}");
    let options = options(url, &format!("node-{name}"), form);
    let node = Arc::new(JobNode::start(options, Arc::new(Witness::on(url))).await.unwrap());
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut issuing = JoinSet::new();
    for issuer in 0..4 {
        let (node, me, stopped) = (node.clone(), me.clone(), stopped.clone());
        issuing.spawn(async move { issue(&node, &me, issuer, &stopped).await });
    }
    let mut line = String::new();
    let mut stdin = BufReader::new(tokio::io::stdin());
    tokio::select! {
        read = stdin.read_line(&mut line) => if read.unwrap() == 0 { std::process::exit(1) },
        () = node.ended().cancelled_owned() => std::process::exit(0),
    }
    stop.send_replace(true);
    let sure = issuing.join_all().await.into_iter().all(|sure| sure);
    Arc::into_inner(node).unwrap().shutdown(PATIENCE).await;
    if sure {
        eprintln!("@survived {me}");
    }
}

/// Submits one job after the other. True if each was told its outcome.
async fn issue(node: &JobNode, me: &str, issuer: u64, stopped: &tokio::sync::watch::Receiver<bool>) -> bool {
    let mut rng = ChaCha8Rng::seed_from_u64(issuer);
    for number in 0.. {
        if *stopped.borrow() {
            break;
        }
        let on_worker_loss = if rng.random_bool(0.5) { OnWorkerLoss::Restart } else { OnWorkerLoss::GiveUp };
        let kind = if on_worker_loss == OnWorkerLoss::Restart { "restartable" } else { "once" };
        let text = format!("{me}.{issuer}-{number} {kind}");
        let queue = format!("queue-{}", rng.random_range(0..QUEUES));
        let payload = Bytes::from(text.clone());
        let submission = JobSubmission { queue: &queue, payload, on_worker_loss, deadline_ns: u64::MAX };
        let ticket = match node.enqueue(submission).await {
            Ok(ticket) => ticket,
            Err(JobError::Unknown(_) | JobError::Evicted | JobError::Shutdown) => return false,
            Err(error) => panic!("{error}"),
        };
        eprintln!("@entered {text}");
        match ticket.outcome().await {
            Ok(outcome) => eprintln!("@told {} {text}", outcome.name()),
            Err(_) => return false,
        }
    }
    true
}
