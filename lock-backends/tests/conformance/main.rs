//! One suite for every registered variant, on the real server that it names, gated by what it declares.
//!
//! To see which contract of which variant runs: `cargo test -p lock-backends --test conformance --
//! --nocapture`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod disk;
mod exclusion;
mod leaving;
mod links;
mod names;
mod waiting;

use std::panic::AssertUnwindSafe;
use std::sync::Mutex;

use futures_util::FutureExt;
use lock_backends::{Variant, backends};
use tokio::time::timeout;

use support::{Bench, PATIENCE};

support::of_each_server! { conforms_on }

fn conforms_on(server: &str) {
    conforms(Some(server));
}

#[test]
fn in_process() {
    conforms(None);
}

/// The contract that all variants of a server are put to together.
const SLOW_DISK: &str = "a_lease_outlasts_a_slow_disk_or_its_loss_is_told_before_another_has_the_key";

/// Runs every contract of every variant of that server; a broken one does not hide the next.
fn conforms(server: Option<&str>) {
    // Side by side they would take each other's processor, and leases end by the clock.
    static ONE_SERVER_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_SERVER_AT_A_TIME.lock().unwrap_or_else(|broken| broken.into_inner());
    // A line for each contract that is broken, on purpose or not; a backtrace of each would bury which.
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    let variants = match server.map(backends::server) {
        None => backends::LOCAL,
        Some(Some(server)) => server.variants,
        Some(None) => return eprintln!("skipped: no variant on {server:?} in this build"),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut running = None;
        if let Some(name) = server {
            running = support::start(name).await;
            if running.is_none() {
                return;
            }
        }
        let mut broken = Vec::new();
        for variant in variants {
            let bench = Bench::new(variant, running.as_ref().map_or("", |running| running.endpoint()));
            broken.extend(run_contracts(&bench).await);
            if let Some(running) = &mut running {
                let name = format!("{}: a_restarted_server_keeps_the_locks_apart", variant.name);
                let contract = links::a_restarted_server_keeps_the_locks_apart(&bench, running);
                match timeout(PATIENCE * 3, AssertUnwindSafe(contract).catch_unwind()).await {
                    Ok(Ok(())) => eprintln!("holds    {name}"),
                    Ok(Err(_)) => broken.push(name),
                    Err(_) => broken.push(format!("{name} (hung)")),
                }
            }
        }
        if let Some(mut running) = running {
            // All have one server, so that one who breaks it cannot be told alone.
            let told = variants.iter().filter(|variant| !variant.breaks().contains(&SLOW_DISK));
            let benches: Vec<_> = told.map(|variant| Bench::new(variant, running.endpoint())).collect();
            let contract = disk::a_lease_outlasts_a_slow_disk_or_its_loss_is_told_before_another_has_the_key(
                &benches,
                &mut running,
            );
            broken.extend(timeout(PATIENCE * 3, contract).await.expect("it ends"));
            running.stop().await.unwrap();
        }
        assert!(broken.is_empty(), "broken: {broken:?}");
    });
}

async fn run_contracts(bench: &Bench) -> Vec<String> {
    let mut broken = Vec::new();
    const CONTRACTS: &str = include_str!("main.rs");
    let broken_by_some = [bench.variant.breaks(), bench.variant.breaks_by_chance()].concat();
    let unknown = broken_by_some.iter().filter(|name| !CONTRACTS.contains(&format!("::{name}")));
    broken.extend(unknown.map(|name| format!("{}: there is no contract {name}", bench.variant.name)));
    let has_server = backends::server_of(bench.variant).is_some();
    let Variant { capabilities, .. } = *bench.variant;
    macro_rules! run {
        ($($subject:ident :: $contract:ident $(if $promised:expr)?;)*) => {$(
            let name = format!("{}: {}", bench.variant.name, stringify!($contract));
            let promised = true $(&& $promised)?;
            if promised {
                let broken_on_purpose = bench.variant.breaks().contains(&stringify!($contract));
                let by_chance = bench.variant.breaks_by_chance().contains(&stringify!($contract));
                match timeout(PATIENCE * 3, AssertUnwindSafe($subject::$contract(bench)).catch_unwind()).await {
                    Ok(Ok(())) if broken_on_purpose => broken.push(format!("{name} (holds, and is said to be broken)")),
                    Ok(Err(_)) if broken_on_purpose => eprintln!("breaks   {name}: on purpose"),
                    Ok(Err(_)) if by_chance => eprintln!("breaks   {name}: on purpose, by chance"),
                    Ok(Ok(())) => eprintln!("holds    {name}"),
                    Ok(Err(_)) => broken.push(name),
                    Err(_) => broken.push(format!("{name} (hung)")),
                }
            } else {
                eprintln!("skipped  {name}: not {}", concat!($(stringify!($promised))?));
            }
        )*};
    }
    run! {
        exclusion::a_key_has_one_holder_and_tokens_rise;
        exclusion::a_level_is_never_exceeded_and_is_reached;
        exclusion::tokens_rise_over_sessions if capabilities.token;
        waiting::a_try_does_not_wait;
        waiting::a_deadline_leaves_nothing;
        leaving::a_dropped_acquire_future_leaves_no_lock_behind;
        leaving::a_future_dropped_at_any_await_point_leaves_no_lock_behind;
        leaving::a_waiter_that_leaves_is_withdrawn_at_once;
        links::an_expired_waiter_is_never_granted if capabilities.lease;
        links::a_cut_link_is_survived_or_told if has_server;
        names::the_holder_is_shown_to_whoever_is_refused;
        names::a_slot_is_never_taken_for_a_key;
        names::names_with_one_hash_never_share_a_lock;
        leaving::a_dropped_guard_frees_the_key;
        leaving::a_closed_session_frees_its_keys;
        links::a_vanished_session_frees_its_keys_and_its_holder_is_told if has_server;
        links::an_acquire_on_a_silent_link_ends_and_frees_its_key if has_server;
        links::a_try_over_a_cut_link_tells_the_truth_and_leaves_nothing if has_server;
        links::a_try_over_a_silent_link_tells_the_truth_and_leaves_nothing if has_server;
        exclusion::several_keys_are_taken_all_or_nothing;
        exclusion::thirty_three_keys_are_held_at_once_by_one_client;
        exclusion::shared_mode_is_refused if !capabilities.shared_mode;
        exclusion::shared_holders_do_not_exclude_each_other if capabilities.shared_mode;
        names::odd_names_are_names;
        names::names_that_look_alike_exclude_themselves_alone;
        waiting::ten_thousand_waiters_on_one_session;
        waiting::local_waiters_are_served_in_the_order_of_their_calls;
        waiting::sessions_are_served_in_the_order_of_their_arrival if capabilities.fair;
    }
    broken
}
