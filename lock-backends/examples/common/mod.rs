//! The life of a lock, the same on every server; what differs is the name and the address.

use std::error::Error;
use std::time::Duration;

use lock_backends::{ClientOptions, LockClient, LockError, SessionOptions};

/// How long a silent holder keeps its lock.
const TTL: Duration = Duration::from_secs(5);
/// How long to wait for a lock.
const WITHIN: Duration = Duration::from_secs(10);

/// Takes a lock of this variant, is refused it from a second node, works under it and gives it back.
pub(crate) async fn run(name: &str, usual_url: &str) -> Result<(), Box<dyn Error>> {
    // Other users of the machine can read arguments, so a URL with a password comes by the environment.
    let given = std::env::args().nth(1).or_else(|| std::env::var("LOCK_URL").ok());
    let url = given.unwrap_or_else(|| usual_url.to_owned());
    let variant = lock_backends::variant(name)?;
    // A client for each process: one session, however many locks. Clones of it are cheap.
    let client = connect(variant, &url, "node-1").await?;

    let guard = client.acquire("vm-7", WITHIN).await?;
    // The resource should refuse a token lower than the highest that it has seen.
    println!("holding vm-7 until {:?} at least, token {:?}", guard.valid_until(), guard.token());

    let other = connect(variant, &url, "node-2").await?;
    assert!(other.try_acquire("vm-7").await?.is_none());
    println!("refused to node-2");

    // The work stops when the lock is lost: the session broke, or its lease could not be renewed in time.
    let lost = guard.lost();
    tokio::select! {
        () = lost.cancelled() => println!("lost vm-7: stopped half-way"),
        () = work() => println!("done"),
    }

    match guard.release().await {
        Ok(()) => println!("released vm-7"),
        // Somebody else may have held it meanwhile: what was done has to be looked at.
        Err(LockError::AlreadyLost) => println!("vm-7 was lost before its release"),
        Err(error) => return Err(error.into()),
    }

    // A holder that loses its lock: here since its own client is closed.
    let guard = other.acquire("vm-7", WITHIN).await?;
    let lost = guard.lost();
    other.close().await;
    lost.cancelled().await;
    assert!(matches!(guard.release().await, Err(LockError::AlreadyLost)));
    println!("node-2 was told of its loss");

    client.close().await;
    Ok(())
}

async fn connect(variant: &lock_backends::Variant, url: &str, node: &str) -> Result<LockClient, LockError> {
    LockClient::connect(variant, &url.into(), SessionOptions::new(node, TTL), ClientOptions::default()).await
}

async fn work() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}
