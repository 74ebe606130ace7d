//! The examples, run as they are.

#![allow(dead_code, reason = "each example is a program of its own, with a main that may not be called here")]

#[path = "../examples/jobs.rs"]
mod jobs;
#[path = "../examples/ring.rs"]
mod ring;
#[path = "../examples/work_queue.rs"]
mod work_queue;

use harness::servers::{Server, ServerError, ServerKind, ServerOptions};

#[test]
fn tasks_of_a_volume_run_in_order_and_a_late_one_does_not() {
    work_queue::main().unwrap();
}

#[test]
fn a_ring_of_three_nodes_runs_tasks_at_the_owner_and_lets_one_leave() {
    ring::main().unwrap();
}

#[tokio::test]
async fn jobs_are_completed_through_a_real_database() {
    let server = match Server::start(ServerKind::named("postgres"), &ServerOptions::default()).await {
        Ok(server) => server,
        Err(missing @ ServerError::Missing { .. }) if std::env::var_os("CI").is_none() => {
            eprintln!("skipped: {missing}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    jobs::run(server.endpoint()).await.unwrap();
}
