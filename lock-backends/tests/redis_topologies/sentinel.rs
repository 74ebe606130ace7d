//! The primary that Sentinels name, and the next one.

use std::time::Duration;

use harness::servers::{Tls, redact};
use lock_backends::{LockError, server, variant};
use tokio::time::{sleep, timeout};

use crate::servers::{Instance, PASSWORD, SENTINELS_PASSWORD, is_installed};
use crate::support::{Bench, PATIENCE, TTL, let_in, take, unique};

/// Outlasts a promotion on a machine with much to do.
const LEASE: Duration = TTL.saturating_mul(6);

/// A primary, a replica of it, and three Sentinels who watch them.
pub(crate) struct Service {
    pub(crate) servers: [Instance; 2],
    pub(crate) sentinels: [Instance; 3],
}

impl Service {
    /// Over TLS where it is given.
    pub(crate) async fn start(tls: Option<&Tls>) -> Self {
        let primary = Instance::server_over(tls, &[]).await;
        let replica = Instance::server_over(tls, &[format!("replicaof 127.0.0.1 {}", primary.port)]).await;
        replica.says("INFO replication", "master_link_status:up").await;
        let sentinel = || Instance::sentinel_over(tls, primary.port, 500);
        let sentinels = [sentinel().await, sentinel().await, sentinel().await];
        for sentinel in &sentinels {
            sentinel.says("INFO sentinel", "slaves=1,sentinels=3").await;
        }
        Self { servers: [primary, replica], sentinels }
    }

    pub(crate) fn url(&self) -> String {
        let places: Vec<_> = self.sentinels.iter().map(|one| format!("127.0.0.1:{}", one.port)).collect();
        format!(
            "redis+sentinel://:{PASSWORD}@{}/locks?sentinel-password={SENTINELS_PASSWORD}",
            places.join(",")
        )
    }

    /// The place of the one that a Sentinel names.
    pub(crate) async fn primary(&self) -> usize {
        let named: (String, u16) = self.sentinels[0].say("SENTINEL GET-MASTER-ADDR-BY-NAME locks").await;
        self.servers.iter().position(|server| server.port == named.1).unwrap()
    }

    /// Has the Sentinels make this one the primary; returns when all of them name it, and it says so too.
    pub(crate) async fn promote(&self, place: usize) {
        let asked = async {
            // As long as it does not know the replica well enough it refuses.
            while self.sentinels[0].try_say::<String>("SENTINEL FAILOVER locks").await.is_err() {
                sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(PATIENCE, asked).await.expect("a promotion");
        let port = self.servers[place].port.to_string();
        for sentinel in &self.sentinels {
            sentinel.says("INFO sentinel", &format!("address=127.0.0.1:{port},slaves=1")).await;
        }
        self.servers[place].says("INFO replication", "role:master").await;
        // The Sentinels leave it a primary for up to twelve seconds more, in which it renews what the promoted one lets run out: what
        // Redis warns of, and not what is looked at here.
        self.servers[1 - place].say::<()>(&format!("REPLICAOF 127.0.0.1 {port}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_over_sentinels_is_the_primarys_and_follows_each_promotion() {
    if !is_installed() {
        return;
    }
    let service = Service::start(None).await;
    let url = service.url();
    for variant in server("redis").unwrap().variants {
        take(variant, &url).await.unwrap_or_else(|error| panic!("{}: {error}", variant.name));
    }

    for name in ["redis-fenced", "redis-queue"] {
        let bench = Bench::with_ttl(variant(name).unwrap(), &url, LEASE);
        let (mine, theirs) = (bench.node().await, bench.node().await);
        let key = unique("promoted");
        let guard = mine.acquire_request(bench.ask(&key)).await.unwrap();
        let before = service.primary().await;
        service.servers[before].is_copied().await;
        service.promote(1 - before).await;

        assert!(theirs.try_acquire_request(bench.ask(&key)).await.unwrap().is_none(), "{name}: two hold it");
        // A renewal of it, at the new primary.
        sleep(LEASE).await;
        assert!(theirs.try_acquire_request(bench.ask(&key)).await.unwrap().is_none(), "{name}: not renewed");
        let waiting = theirs.acquire_request(bench.ask(&key));
        let handed = async {
            sleep(Duration::from_millis(200)).await;
            guard.release().await
        };
        let (waited, released) = tokio::join!(waiting, handed);
        assert_eq!(released.unwrap(), (), "{name}");
        waited.unwrap_or_else(|error| panic!("{name}: {error}")).release().await.unwrap();
        // The demoted one follows again before the next turn.
        service.servers[before].says("INFO replication", "master_link_status:up").await;
        mine.close().await;
        theirs.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_stands_still_keeps_nobody_from_the_promoted_one() {
    if !is_installed() {
        return;
    }
    let service = Service::start(None).await;
    let bench = Bench::new(variant("redis-fenced").unwrap(), &service.url());
    let (node, other) = (bench.node().await, bench.node().await);
    let before = service.primary().await;
    // Connections to it stay: nobody says goodbye.
    service.servers[before].stop();
    let key = unique("stands-still");
    let guard = node.acquire_request(bench.ask(&key)).await.unwrap();
    assert_eq!(service.primary().await, 1 - before);
    // What it asked the one that stands still first is unknown, as long as nobody answers for that one.
    let tried = loop {
        match other.try_acquire_request(bench.ask(&key)).await {
            Err(LockError::Unknown(_)) => sleep(Duration::from_millis(100)).await,
            tried => break tried.unwrap(),
        }
    };
    assert!(tried.is_none(), "two hold it");
    service.servers[before].go_on();
    guard.release().await.unwrap();
    node.close().await;
    other.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_url_of_sentinels_is_told_without_its_passwords() {
    if !is_installed() {
        return;
    }
    let primary = Instance::server(&[]).await;
    let sentinel = Instance::sentinel(primary.port, 5000).await;
    let variant = variant("redis-fenced").unwrap();
    let wrong = "wr0ngw0rd";
    for (login, service, asked, told) in [
        (wrong, "locks", SENTINELS_PASSWORD, "user or password"),
        (PASSWORD, "locks", wrong, "sentinel-password"),
        (PASSWORD, "others", SENTINELS_PASSWORD, "No such master"),
    ] {
        let url = format!(
            "redis+sentinel://:{login}@127.0.0.1:{}/{service}?sentinel-password={asked}",
            sentinel.port
        );
        let error = let_in(variant, &url).await.expect_err("refused").to_string();
        assert!(error.contains(told), "{service}: {error}");
        assert!([PASSWORD, SENTINELS_PASSWORD, wrong].iter().all(|word| !error.contains(word)), "{error}");
        assert!([login, asked].iter().all(|word| !redact(&url).contains(word)), "{}", redact(&url));
    }
    // A server is no Sentinel.
    let url =
        format!("redis+sentinel://:{PASSWORD}@127.0.0.1:{}/locks?sentinel-password={PASSWORD}", primary.port);
    let error = let_in(variant, &url).await.expect_err("refused");
    assert!(matches!(&error, LockError::Unavailable(why) if why.contains("no Sentinel")), "{error}");
}
