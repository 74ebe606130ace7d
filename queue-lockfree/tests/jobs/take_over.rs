//! Who dies, and what becomes of the jobs: the stories of the original's multi-node tests, and those it does not tell.

use std::time::Duration;

use queue_lockfree::{
    ATTEMPTS_MAX, JobError, JobForm, JobNodeOptions, JobOutcome, JobSubmission, OnWorkerLoss,
};

use tokio::task::JoinSet;

use crate::support::{Bench, NEVER, PATIENCE, completed, in_both_forms, outcome};

in_both_forms! {
    a_job_that_kills_every_worker_is_given_up;
    a_node_whose_database_refuses_what_it_needs_ends_and_says_so;
    a_dead_workers_running_job_is_given_up_and_the_others_run;
    a_dead_workers_restartable_job_runs_again;
    a_job_that_runs_again_is_not_bound_by_its_deadline;
    a_call_of_a_node_that_is_gone_takes_nothing_over;
    jobs_of_other_issuers_survive_their_worker;
    a_result_that_comes_too_late_is_not_written;
    a_dead_issuer_that_lives_still_learns_its_outcome;
    a_node_that_was_declared_dead_ends;
    a_job_hears_that_its_node_may_be_taken_for_dead;
    a_new_life_ends_the_former_one;
}

/// S5: 50 jobs that must not run twice, their worker dies in the first.
async fn a_dead_workers_running_job_is_given_up_and_the_others_run(bench: Bench) {
    let worker = bench.node("worker").await;
    let (issuer, first) = bench.behind_a_prelude(&worker, "hold 00").await;
    let mut others = Vec::new();
    for number in 1..50 {
        others.push(bench.enqueue(&issuer, "q", &format!("say {number:02}")).await);
    }
    bench.script.until_started("00", 1).await;
    drop(worker);
    let taker = bench.taker(&issuer).await;
    assert_eq!(outcome(first).await, Ok(JobOutcome::WorkerLost));
    for (number, ticket) in (1..50).zip(others) {
        assert_eq!(outcome(ticket).await, Ok(completed(&format!("{number:02}"))));
    }
    let started = bench.script.started();
    assert_eq!(started.len(), 51, "the prelude, the lost one, 49 others");
    assert!(started[1..].is_sorted(), "{started:?}");
    bench.end([issuer].into_iter().chain(taker)).await;
}

/// It had started in time, and its deadline passes before another node finds it.
async fn a_job_that_runs_again_is_not_bound_by_its_deadline(bench: Bench) {
    let worker = bench.node("worker").await;
    let issuer = bench.issuer().await;
    let prelude = bench.enqueue(&worker, "q", "hold prelude").await;
    let submission = JobSubmission {
        on_worker_loss: OnWorkerLoss::Restart,
        deadline_ns: bench.deadline_ns(Duration::from_secs(1)),
        ..bench.submission("q", "count gate")
    };
    let ticket = issuer.enqueue(submission).await.unwrap();
    bench.script.open("prelude");
    assert_eq!(outcome(prelude).await, Ok(completed("prelude")));
    bench.script.until_started("gate", 1).await;
    let mut told = JoinSet::new();
    told.spawn(outcome(ticket));
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    drop(worker);
    bench.script.until_dropped(1).await;
    bench.script.open("gate");
    let taker = bench.taker(&issuer).await;
    assert_eq!(told.join_next().await.unwrap().unwrap(), Ok(completed("2")));
    bench.end([issuer].into_iter().chain(taker)).await;
}

/// As it may happen long after the node has given up waiting for it. Queues that a dead node took over would be stuck.
async fn a_call_of_a_node_that_is_gone_takes_nothing_over(bench: Bench) {
    let gone = bench.node("gone").await;
    let id = bench.count("SELECT id FROM jobs.node").await;
    gone.shutdown(crate::support::PATIENCE).await;
    let issuer = bench.issuer().await;
    let held = bench.enqueue(&issuer, "q", "hold gate").await;
    // Nobody else takes it over before.
    let mut lock = bench.hold("SELECT jobs.lock_all(); UPDATE jobs.queue SET worker = NULL").await;
    let late = sqlx::query("SELECT jobs.take_over($1, $2)").bind(id).bind(bench.form == JobForm::Faithful);
    let late = late.execute(&mut *lock).await;
    assert_eq!(late.is_err(), bench.form == JobForm::Faithful, "{late:?}");
    lock.rollback().await.unwrap();
    bench.script.open("gate");
    let taker = bench.taker(&issuer).await;
    assert_eq!(outcome(held).await, Ok(completed("gate")));
    bench.end([issuer].into_iter().chain(taker)).await;
}

/// S6: the same, and the first may run twice.
async fn a_dead_workers_restartable_job_runs_again(bench: Bench) {
    let worker = bench.node("worker").await;
    let issuer = bench.issuer().await;
    let prelude = bench.enqueue(&worker, "q", "hold prelude").await;
    let mut tickets = vec![bench.enqueue_restartable(&issuer, "q", "count 00").await];
    for number in 1..50 {
        tickets.push(bench.enqueue_restartable(&issuer, "q", &format!("say {number:02}")).await);
    }
    bench.script.open("prelude");
    assert_eq!(outcome(prelude).await, Ok(completed("prelude")));
    bench.script.until_started("00", 1).await;
    drop(worker);
    bench.script.until_dropped(1).await;
    bench.script.open("00");
    let taker = bench.taker(&issuer).await;
    let first = tickets.remove(0);
    assert_eq!(outcome(first).await, Ok(completed("2")), "its second attempt");
    for (number, ticket) in (1..50).zip(tickets) {
        assert_eq!(outcome(ticket).await, Ok(completed(&format!("{number:02}"))));
    }
    let started = bench.script.started();
    assert_eq!(started.len(), 52, "the prelude, the first twice, 49 others");
    assert!(started[1..].is_sorted(), "{started:?}");
    bench.end([issuer].into_iter().chain(taker)).await;
}

/// S7: a node dies that is worker and issuer. Faithful: its jobs vanish, those of others run. Skip-locked: all run.
async fn jobs_of_other_issuers_survive_their_worker(bench: Bench) {
    let dying = bench.node_with(JobNodeOptions { workers: 1, ..bench.options("dying") }).await;
    let issuer = bench.issuer().await;
    let mut own = vec![bench.enqueue(&dying, "q", "hold own 0").await];
    let mut others = Vec::new();
    for number in 1..10 {
        own.push(bench.enqueue(&dying, "q", &format!("say own {number}")).await);
        others.push(bench.enqueue(&issuer, "q", &format!("say other {number}")).await);
    }
    bench.script.until_started("own 0", 1).await;
    drop(dying);
    let taker = bench.taker(&issuer).await;
    for (number, ticket) in (1..10).zip(others) {
        assert_eq!(outcome(ticket).await, Ok(completed(&format!("other {number}"))));
    }
    bench.until("SELECT count(*) FROM jobs.job WHERE finished IS NULL", 0).await;
    let own_started = bench.script.started().iter().filter(|text| text.starts_with("own")).count();
    let vanished = bench.count("SELECT count(*) FROM jobs.job WHERE state = 'issuer-lost'").await;
    let given_up = bench.count("SELECT count(*) FROM jobs.job WHERE state = 'worker-lost'").await;
    let expected = if bench.form == JobForm::Faithful { (1, 10, 0) } else { (10, 0, 1) };
    assert_eq!((own_started, vanished, given_up), expected);
    drop(own);
    bench.end([issuer].into_iter().chain(taker)).await;
}

/// The worker is declared dead while it only stands still: it goes on, and finds its job taken.
///
/// ```text
/// zombie  running, token 1 ──────────────────────────────▶ result: refused
/// taker              declared dead ─▶ running, token 2 ─▶ result: "2"
/// ```
async fn a_result_that_comes_too_late_is_not_written(bench: Bench) {
    let zombie =
        bench.node_with(JobNodeOptions { detect: NEVER, workers: 1, ..bench.options("zombie") }).await;
    let issuer = bench.issuer().await;
    let prelude = bench.enqueue(&zombie, "zombie", "hold prelude").await;
    let ticket = bench.enqueue_restartable(&issuer, "zombie", "count gate").await;
    bench.script.open("prelude");
    assert_eq!(outcome(prelude).await, Ok(completed("prelude")));
    bench.script.until_started("gate", 1).await;
    bench.evict("zombie").await;
    let taker = bench.taker(&issuer).await;
    bench.script.until_started("gate", 2).await;
    assert_eq!(zombie.refused_results(), 0);
    bench.script.open("gate");
    assert_eq!(outcome(ticket).await, Ok(completed("2")));
    let refused = tokio::time::timeout(crate::support::PATIENCE, async {
        while zombie.refused_results() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    refused.await.expect("the zombie's result is refused");
    drop(zombie);
    bench.end([issuer].into_iter().chain(taker)).await;
}

/// Only the issuer is declared dead: the job goes on where it is, and the outcome is kept for a while.
async fn a_dead_issuer_that_lives_still_learns_its_outcome(bench: Bench) {
    let worker = bench.node("worker").await;
    let (issuer, ticket) = bench.behind_a_prelude(&worker, "hold gate").await;
    bench.script.until_started("gate", 1).await;
    bench.evict("issuer").await;
    issuer.ended().cancelled().await;
    bench.script.open("gate");
    assert_eq!(outcome(ticket).await, Ok(completed("gate")));
    assert_eq!(bench.ask(&issuer, "q", "say more").await, Err(JobError::Evicted));
    drop(issuer);
    bench.end([worker]).await;
}

/// Its handler is dropped where it is, and its ticket says that nobody knows.
async fn a_node_that_was_declared_dead_ends(bench: Bench) {
    let options = JobNodeOptions { retain: Duration::from_millis(200), ..bench.options("a") };
    let node = bench.node_with(options.clone()).await;
    let ticket = bench.enqueue(&node, "q", "hold never").await;
    bench.script.until_started("never", 1).await;
    node.shutdown(Duration::ZERO).await;
    assert_eq!(bench.script.dropped(), 1);
    assert_eq!(outcome(ticket).await, Err(JobError::Shutdown));
    let node = bench.node_with(options).await;
    let ticket = bench.enqueue(&node, "q2", "hold never").await;
    bench.script.until_started("never", 2).await;
    bench.evict("a").await;
    // Unless its own last round found that the job has no worker any more.
    assert!(matches!(outcome(ticket).await, Err(JobError::Unknown(_)) | Ok(JobOutcome::WorkerLost)));
    assert_eq!(bench.script.dropped(), 2);
    drop(node);
    // Somebody has to be there to see to what it left.
    let heir = bench.node("heir").await;
    bench.end([heir]).await;
}

/// The database is away for longer than a node may be silent: whoever is inside is told. Nobody took over, so the result
/// counts.
async fn a_job_hears_that_its_node_may_be_taken_for_dead(mut bench: Bench) {
    let node = bench.node_with(JobNodeOptions { detect: Duration::from_secs(1), ..bench.options("a") }).await;
    let ticket = bench.enqueue(&node, "q", "until-lost told").await;
    bench.script.until_started("told", 1).await;
    bench.server.kill().await.unwrap();
    bench.script.until_ended(1).await;
    bench.server.restart().await.unwrap();
    assert_eq!(outcome(ticket).await, Ok(completed("told")));
    assert_eq!(bench.ask(&node, "q", "say on").await, Ok(completed("on")));
    bench.end([node]).await;
}

/// Two processes of one name: the later one is the node.
async fn a_new_life_ends_the_former_one(bench: Bench) {
    let former = bench.node("a").await;
    let held = bench.enqueue(&former, "q", "hold never").await;
    bench.script.until_started("never", 1).await;
    let later = bench.node("a").await;
    former.ended().cancelled().await;
    assert_eq!(bench.ask(&former, "q", "say no").await, Err(JobError::Evicted));
    // Skip-locked gives the job up because its worker died; faithful drops it because its issuer did.
    let expected =
        if bench.form == JobForm::Faithful { JobOutcome::IssuerLost } else { JobOutcome::WorkerLost };
    assert_eq!(outcome(held).await, Ok(expected));
    assert_eq!(bench.ask(&later, "q", "say yes").await, Ok(completed("yes")));
    drop(former);
    bench.end([later]).await;
}

/// What makes its process end, again and again, is not passed on for ever; the queue goes on without it.
async fn a_job_that_kills_every_worker_is_given_up(bench: Bench) {
    // Nobody notices a death by himself: who comes next takes over.
    let options = |name: &str| JobNodeOptions { detect: NEVER, ..bench.options(name) };
    let workers = usize::from(bench.form == JobForm::Faithful);
    let issuer = bench.node_with(JobNodeOptions { workers, ..options("issuer") }).await;
    let mut worker = bench.node_with(options("worker-0")).await;
    let prelude = bench.enqueue(&worker, "q", "hold prelude").await;
    let killer = bench.enqueue_restartable(&issuer, "q", "hold killer").await;
    let next = bench.enqueue(&issuer, "q", "say next").await;
    bench.script.open("prelude");
    assert_eq!(outcome(prelude).await, Ok(completed("prelude")));
    let attempts = usize::try_from(ATTEMPTS_MAX).unwrap();
    for attempt in 1..=attempts {
        bench.script.until_started("killer", attempt).await;
        drop(worker);
        bench.script.until_dropped(attempt).await;
        bench.evict(&format!("worker-{}", attempt - 1)).await;
        worker = bench.node_with(options(&format!("worker-{attempt}"))).await;
    }
    assert_eq!(outcome(killer).await, Ok(JobOutcome::GivenUp));
    assert_eq!(outcome(next).await, Ok(completed("next")));
    assert_eq!(bench.script.started().iter().filter(|text| *text == "killer").count(), attempts);
    bench.end([issuer, worker]).await;
}

/// As after a permission was taken away: no retry helps, so none is made for ever while callers wait.
async fn a_node_whose_database_refuses_what_it_needs_ends_and_says_so(bench: Bench) {
    for function in ["work", "beat", "collect"] {
        let node = bench.node(function).await;
        let gate = format!("gate-{function}");
        let waiting = bench.enqueue(&node, function, &format!("hold {gate}")).await;
        bench.script.until_started(&gate, 1).await;
        let rename = async |from: &str, to: &str| {
            let rename = format!("ALTER FUNCTION jobs.{from} RENAME TO {to}");
            sqlx::raw_sql(sqlx::AssertSqlSafe(rename)).execute(bench.pool()).await.unwrap();
        };
        rename(function, "away").await;
        if function == "work" {
            bench.script.open(&gate);
        }
        let ended = tokio::time::timeout(PATIENCE, node.ended().cancelled_owned()).await;
        assert!(ended.is_ok(), "{function}: the node goes on for ever");
        let refused = bench.ask(&node, "q", "say no").await;
        assert!(
            matches!(&refused, Err(JobError::Database(reason)) if reason.contains(function)),
            "{refused:?}"
        );
        let unknown = outcome(waiting).await;
        assert!(
            matches!(&unknown, Err(JobError::Unknown(reason)) if reason.contains(function)),
            "{unknown:?}"
        );
        rename("away", function).await;
        drop(node);
    }
}
