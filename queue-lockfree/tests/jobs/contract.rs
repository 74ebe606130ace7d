//! What both forms promise while nobody dies.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use queue_lockfree::{
    JobError, JobForm, JobNode, JobNodeOptions, JobOutcome, JobSubmission, NAME_BYTES, PAYLOAD_BYTES,
};
use tokio::task::JoinSet;

use crate::support::{Bench, PATIENCE, completed, in_both_forms, outcome};

in_both_forms! {
    each_job_is_told_how_it_ended;
    jobs_of_a_queue_start_in_order_one_at_a_time;
    queues_run_side_by_side;
    nodes_that_share_short_lived_queues_do_not_wait_in_a_circle;
    an_issuer_learns_what_another_node_did;
    a_job_past_its_deadline_never_starts;
    a_started_job_is_not_bound_by_its_deadline;
    what_is_too_large_is_refused;
    open_submissions_are_bounded;
    who_does_not_wait_leaves_a_job_that_runs;
    a_drained_node_leaves_its_jobs_to_others;
    the_database_may_die_while_jobs_run;
    two_forms_do_not_share_a_database;
}

async fn each_job_is_told_how_it_ended(bench: Bench) {
    let node = bench.node("a").await;
    assert_eq!(bench.ask(&node, "q", "say hello").await, Ok(completed("hello")));
    assert_eq!(bench.ask(&node, "q", "fail on purpose").await, Ok(JobOutcome::Failed("on purpose".into())));
    let panicked = JobOutcome::Failed("the handler panicked: oops".into());
    assert_eq!(bench.ask(&node, "q", "panic oops").await, Ok(panicked.clone()));
    assert_eq!(bench.ask(&node, "q", "panic-later oops").await, Ok(panicked));
    assert_eq!(bench.ask(&node, "q", "say again").await, Ok(completed("again")));
    bench.end([node]).await;
}

/// Three nodes submit 30 jobs each to one queue. Each node's jobs start in its order, and never two at once.
async fn jobs_of_a_queue_start_in_order_one_at_a_time(bench: Bench) {
    let nodes = [bench.node("a").await, bench.node("b").await, bench.node("c").await];
    let mut tickets = Vec::new();
    for number in 0..30 {
        for (name, node) in ["a", "b", "c"].iter().zip(&nodes) {
            tickets.push(bench.enqueue(node, "q", &format!("say {name} {number:02}")).await);
        }
    }
    for ticket in tickets {
        assert!(matches!(outcome(ticket).await, Ok(JobOutcome::Completed(_))));
    }
    let started = bench.script.started();
    assert_eq!(started.len(), 90);
    for name in ["a", "b", "c"] {
        let of_node: Vec<_> = started.iter().filter(|text| text.starts_with(name)).collect();
        assert!(of_node.is_sorted(), "{of_node:?}");
    }
    bench.end(nodes).await;
}

/// Batches from three nodes name the same five queues, which come and go all the time.
async fn nodes_that_share_short_lived_queues_do_not_wait_in_a_circle(bench: Bench) {
    let bench = Arc::new(bench);
    let nodes = [bench.node("a").await, bench.node("b").await, bench.node("c").await].map(Arc::new);
    let mut callers = JoinSet::new();
    for caller in 0..12 {
        let (bench, node) = (Arc::clone(&bench), Arc::clone(&nodes[caller % 3]));
        callers.spawn(async move {
            for round in 0..60 {
                let (queue, payload) = (format!("q{}", (caller * 7 + round * 3) % 5), format!("say {round}"));
                let told = bench.ask(&node, &queue, &payload).await;
                assert!(matches!(told, Ok(JobOutcome::Completed(_))), "{told:?}");
            }
        });
    }
    callers.join_all().await;
    assert_eq!(bench.script.started().len(), 12 * 60);
    for node in nodes {
        Arc::into_inner(node).unwrap().shutdown(PATIENCE).await;
    }
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(bench.count(deadlocks).await, 0);
    Arc::into_inner(bench).unwrap().end([]).await;
}

/// Each of two jobs waits for a gate that opens when both are inside.
async fn queues_run_side_by_side(bench: Bench) {
    let node = bench.node("a").await;
    let first = bench.enqueue(&node, "first", "hold gate").await;
    let second = bench.enqueue(&node, "second", "hold gate").await;
    bench.script.until_started("gate", 2).await;
    bench.script.open("gate");
    assert_eq!(outcome(first).await, Ok(completed("gate")));
    assert_eq!(outcome(second).await, Ok(completed("gate")));
    bench.end([node]).await;
}

async fn an_issuer_learns_what_another_node_did(bench: Bench) {
    let worker = bench.node("worker").await;
    let (issuer, ticket) = bench.behind_a_prelude(&worker, "say told").await;
    assert_eq!(outcome(ticket).await, Ok(completed("told")));
    bench.end([worker, issuer]).await;
}

async fn a_job_past_its_deadline_never_starts(bench: Bench) {
    let node = bench.node("a").await;
    let held = bench.enqueue(&node, "q", "hold gate").await;
    bench.script.until_started("gate", 1).await;
    let deadline_ns = bench.deadline_ns(Duration::from_millis(100));
    let late = JobSubmission { deadline_ns, ..bench.submission("q", "say late") };
    let late = node.enqueue(late).await.unwrap();
    let behind = bench.enqueue(&node, "q", "say behind").await;
    // Told while the job before it still runs: nothing has to come to its turn.
    assert_eq!(outcome(late).await, Ok(JobOutcome::TimedOut));
    let past = JobSubmission { deadline_ns: 0, ..bench.submission("q", "say past") };
    assert_eq!(node.submit(past).await, Ok(JobOutcome::TimedOut));
    bench.script.open("gate");
    assert_eq!(outcome(held).await, Ok(completed("gate")));
    assert_eq!(outcome(behind).await, Ok(completed("behind")));
    assert_eq!(bench.script.started(), ["gate", "behind"]);
    bench.end([node]).await;
}

async fn a_started_job_is_not_bound_by_its_deadline(bench: Bench) {
    let node = bench.node("a").await;
    let deadline_ns = bench.deadline_ns(Duration::from_secs(2));
    let held = JobSubmission { deadline_ns, ..bench.submission("q", "hold gate") };
    let held = node.enqueue(held).await.unwrap();
    bench.script.until_started("gate", 1).await;
    let until = bench.deadline_ns(Duration::from_secs(3));
    let opened = async {
        while queue_lockfree::Now::now_ns(&*bench.now) < until {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bench.script.open("gate");
    };
    let (outcome, ()) = tokio::join!(outcome(held), opened);
    assert_eq!(outcome, Ok(completed("gate")));
    bench.end([node]).await;
}

async fn what_is_too_large_is_refused(bench: Bench) {
    let node = bench.node("a").await;
    let (longest, too_long) = ("n".repeat(NAME_BYTES), "n".repeat(NAME_BYTES + 1));
    assert_eq!(bench.ask(&node, &longest, "say fits").await, Ok(completed("fits")));
    for name in ["", &too_long, "a\0b"] {
        assert_eq!(bench.ask(&node, name, "say never").await, Err(JobError::Name));
    }
    let payload = |bytes| Bytes::from([b"say ".as_slice(), &vec![b'x'; bytes - 4]].concat());
    let largest = JobSubmission { payload: payload(PAYLOAD_BYTES), ..bench.submission("q", "") };
    assert!(matches!(node.submit(largest).await, Ok(JobOutcome::Completed(_))));
    let too_large = JobSubmission { payload: payload(PAYLOAD_BYTES + 1), ..bench.submission("q", "") };
    assert_eq!(node.submit(too_large).await, Err(JobError::Payload));
    let result = bench.ask(&node, "q", "big result").await;
    assert!(matches!(&result, Ok(JobOutcome::Failed(reason)) if reason.contains("exceeds")), "{result:?}");
    assert!(!bench.script.started().contains(&"never".to_owned()));
    bench.end([node]).await;
}

async fn open_submissions_are_bounded(bench: Bench) {
    let node = bench.node_with(JobNodeOptions { open: 2, ..bench.options("a") }).await;
    let first = bench.enqueue(&node, "q", "hold gate").await;
    let second = bench.enqueue(&node, "q", "say second").await;
    assert_eq!(bench.ask(&node, "q", "say third").await, Err(JobError::QueueFull));
    bench.script.open("gate");
    assert_eq!(outcome(first).await, Ok(completed("gate")));
    assert_eq!(outcome(second).await, Ok(completed("second")));
    assert_eq!(bench.ask(&node, "q", "say fourth").await, Ok(completed("fourth")));
    bench.end([node]).await;
}

/// `end` sees that its outcome is cleaned up although nobody took it.
async fn who_does_not_wait_leaves_a_job_that_runs(bench: Bench) {
    let node = bench.node("a").await;
    drop(bench.enqueue(&node, "q", "say unheard").await);
    bench.script.until_started("unheard", 1).await;
    bench.end([node]).await;
}

/// The first node leaves with a job pending behind one that runs to its end; the pending one then is the other's.
async fn a_drained_node_leaves_its_jobs_to_others(bench: Bench) {
    let (leaver, other) = (bench.node("leaver").await, bench.node("other").await);
    let held = bench.enqueue(&leaver, "q", "hold gate").await;
    bench.script.until_started("gate", 1).await;
    let pending = bench.enqueue(&other, "q", "say pending").await;
    let mut leaving = JoinSet::new();
    leaving.spawn(leaver.shutdown(PATIENCE));
    bench.script.open("gate");
    // Its result was written before the node left; whether it was also told depends on who was quicker.
    assert!(matches!(outcome(held).await, Ok(JobOutcome::Completed(_)) | Err(JobError::Shutdown)));
    leaving.join_next().await.unwrap().unwrap();
    assert_eq!(outcome(pending).await, Ok(completed("pending")));
    assert_eq!(bench.script.started(), ["gate", "pending"], "nothing ran twice");
    assert_eq!(bench.script.dropped(), 0);
    bench.end([other]).await;
}

/// Killed with one job inside and one pending, and while a third is submitted.
async fn the_database_may_die_while_jobs_run(mut bench: Bench) {
    let node = bench.node("a").await;
    let held = bench.enqueue(&node, "q", "hold gate").await;
    let pending = bench.enqueue(&node, "q", "say pending").await;
    bench.script.until_started("gate", 1).await;
    bench.server.kill().await.unwrap();
    bench.script.open("gate");
    let third = bench.submission("other", "say third");
    let (third, restarted) = tokio::join!(node.submit(third), bench.server.restart());
    restarted.unwrap();
    assert_eq!(third, Ok(completed("third")));
    assert_eq!(outcome(held).await, Ok(completed("gate")));
    assert_eq!(outcome(pending).await, Ok(completed("pending")));
    assert_eq!(bench.script.started().len(), 3, "nothing ran twice");
    bench.end([node]).await;
}

async fn two_forms_do_not_share_a_database(bench: Bench) {
    let node = bench.node("a").await;
    let form = *JobForm::ALL.iter().find(|form| **form != bench.form).unwrap();
    let other = JobNode::start(JobNodeOptions { form, ..bench.options("b") }, bench.script.clone()).await;
    let error = other.err();
    assert!(
        matches!(&error, Some(JobError::Database(reason)) if reason.contains(bench.form.name())),
        "{error:?}"
    );
    bench.end([node]).await;
}
