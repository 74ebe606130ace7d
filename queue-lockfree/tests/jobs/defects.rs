//! The defects of the original's job queue, each as a test that ours passes.

use queue_lockfree::{JobForm, JobNodeOptions, JobOutcome};

use crate::support::{Bench, completed, in_both_forms, outcome};

in_both_forms! {
    a_job_that_is_given_up_is_told_to_its_issuer;
    who_takes_over_its_own_job_is_told_too;
    a_payload_that_cannot_be_read_does_not_stop_the_queue;
    a_body_that_panics_at_once_does_not_stop_the_queue;
    a_restarted_node_does_not_leave_its_former_life_behind;
    a_lost_event_is_made_up_for;
    only_the_faithful_form_has_one_lock_for_all;
    finished_jobs_do_not_gather_in_a_busy_queue;
}

/// Defect 1: the error event carried no id, so the issuer waited for ever.
async fn a_job_that_is_given_up_is_told_to_its_issuer(bench: Bench) {
    let worker = bench.node("worker").await;
    let (issuer, ticket) = bench.behind_a_prelude(&worker, "hold never").await;
    bench.script.until_started("never", 1).await;
    drop(worker);
    assert_eq!(outcome(ticket).await, Ok(JobOutcome::WorkerLost));
    let taker = bench.taker(&issuer).await;
    assert_eq!(bench.ask(&issuer, "q", "say next").await, Ok(completed("next")));
    bench.end([issuer].into_iter().chain(taker)).await;
}

/// Defect 2: the completion of a taker's own first job was overwritten by one that did nothing.
async fn who_takes_over_its_own_job_is_told_too(bench: Bench) {
    let worker = bench.node("worker").await;
    let issuer = bench.issuer().await;
    let prelude = bench.enqueue(&worker, "q", "hold prelude").await;
    let first = bench.enqueue_restartable(&issuer, "q", "hold first").await;
    let second = bench.enqueue(&issuer, "q", "say second").await;
    bench.script.open("prelude");
    assert_eq!(outcome(prelude).await, Ok(completed("prelude")));
    bench.script.until_started("first", 1).await;
    drop(worker);
    bench.script.until_dropped(1).await;
    bench.script.open("first");
    let taker = bench.taker(&issuer).await;
    assert_eq!(outcome(first).await, Ok(completed("first")));
    assert_eq!(outcome(second).await, Ok(completed("second")));
    assert_eq!(bench.script.started(), ["prelude", "first", "first", "second"]);
    bench.end([issuer].into_iter().chain(taker)).await;
}

/// Defect 3: the last pending job did not de-serialise, and the queue was stuck until its worker died.
async fn a_payload_that_cannot_be_read_does_not_stop_the_queue(bench: Bench) {
    let node = bench.node("a").await;
    let unreadable = bench.ask(&node, "q", "nonsense").await;
    assert!(matches!(&unreadable, Ok(JobOutcome::Failed(reason)) if reason.contains("a word and a text")));
    assert_eq!(bench.ask(&node, "q", "say next").await, Ok(completed("next")));
    bench.end([node]).await;
}

/// Defect 4: a job's body that threw before it returned left the queue stuck.
async fn a_body_that_panics_at_once_does_not_stop_the_queue(bench: Bench) {
    let node = bench.node("a").await;
    let held = bench.enqueue(&node, "q", "hold gate").await;
    let panics = bench.enqueue(&node, "q", "panic oops").await;
    let next = bench.enqueue(&node, "q", "say next").await;
    bench.script.open("gate");
    assert_eq!(outcome(held).await, Ok(completed("gate")));
    assert_eq!(outcome(panics).await, Ok(JobOutcome::Failed("the handler panicked: oops".into())));
    assert_eq!(outcome(next).await, Ok(completed("next")));
    bench.end([node]).await;
}

/// Defect 5: nobody took over what a node that was alone left when it was restarted; the next job of the queue first ran
/// stale ones, and what had been running stayed for ever.
async fn a_restarted_node_does_not_leave_its_former_life_behind(bench: Bench) {
    let node = bench.node("only").await;
    let _running = bench.enqueue_restartable(&node, "q", "hold gate").await;
    let _pending = bench.enqueue(&node, "q", "say stale").await;
    bench.script.until_started("gate", 1).await;
    drop(node);
    bench.script.until_dropped(1).await;
    bench.script.open("gate");
    let node = bench.node("only").await;
    // Without any further job.
    bench.until("SELECT count(*) FROM jobs.job WHERE finished IS NULL", 0).await;
    assert_eq!(bench.ask(&node, "q", "say fresh").await, Ok(completed("fresh")));
    let (started, dropped) = match bench.form {
        // Its callers are dead, so nobody wants them.
        JobForm::Faithful => (vec!["gate", "fresh"], 2),
        JobForm::SkipLocked => (vec!["gate", "gate", "stale", "fresh"], 0),
    };
    assert_eq!(bench.script.started(), started);
    assert_eq!(bench.count("SELECT count(*) FROM jobs.job WHERE state = 'issuer-lost'").await, dropped);
    bench.end([node]).await;
}

/// Defect 6: a lost event left the caller waiting for ever. Here all of them are lost.
async fn a_lost_event_is_made_up_for(bench: Bench) {
    let worker = bench.node("worker").await;
    bench
        .execute(
            "DO $$ DECLARE f text; BEGIN \
             FOREACH f IN ARRAY ARRAY['conclude', 'submit', 'take_over'] LOOP \
               EXECUTE replace(pg_get_functiondef(('jobs.' || f)::regproc), 'pg_notify', 'concat'); \
             END LOOP; END $$",
        )
        .await;
    let (issuer, ticket) = bench.behind_a_prelude(&worker, "say heard").await;
    assert_eq!(outcome(ticket).await, Ok(completed("heard")));
    assert_eq!(bench.ask(&issuer, "other", "say found").await, Ok(completed("found")));
    bench.end([worker, issuer]).await;
}

/// Defect 7: one lock for all queues, twice a job. That is what `faithful` is for; `skip-locked` does without it, and is
/// not held up by a locked queue either.
async fn only_the_faithful_form_has_one_lock_for_all(bench: Bench) {
    let node = bench.node("a").await;
    let lock = bench.hold("SELECT jobs.lock_all()").await;
    let asked = bench.ask(&node, "q", "say free");
    if bench.form == JobForm::SkipLocked {
        assert_eq!(asked.await, Ok(completed("free")));
        lock.rollback().await.unwrap();
        let held = bench.enqueue(&node, "locked", "hold gate").await;
        let lock = bench.hold("SELECT * FROM jobs.queue WHERE name = 'locked' FOR UPDATE").await;
        assert_eq!(bench.ask(&node, "q", "say free").await, Ok(completed("free")));
        bench.script.open("gate");
        lock.rollback().await.unwrap();
        assert_eq!(outcome(held).await, Ok(completed("gate")));
    } else {
        let waits = "SELECT count(DISTINCT pid) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND \
                     pid IN (SELECT pid FROM pg_stat_activity WHERE query LIKE '%jobs.submit%')";
        let (asked, ()) = tokio::join!(asked, async {
            bench.until(waits, 1).await;
            assert!(bench.script.started().is_empty());
            lock.rollback().await.unwrap();
        });
        assert_eq!(asked, Ok(completed("free")));
    }
    bench.end([node]).await;
}

/// Defect 8: finished entries stayed as long as their queue was busy.
async fn finished_jobs_do_not_gather_in_a_busy_queue(bench: Bench) {
    let node = bench.node_with(JobNodeOptions { workers: 1, ..bench.options("a") }).await;
    let mut tickets = Vec::new();
    for number in 0..50 {
        tickets.push(bench.enqueue(&node, "q", &format!("say {number}")).await);
    }
    let busy = bench.enqueue(&node, "q", "hold gate").await;
    for ticket in tickets {
        assert!(matches!(outcome(ticket).await, Ok(JobOutcome::Completed(_))));
    }
    bench.until("SELECT count(*) FROM jobs.job", 1).await;
    bench.script.open("gate");
    assert_eq!(outcome(busy).await, Ok(completed("gate")));
    bench.end([node]).await;
}
