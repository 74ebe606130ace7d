//! The same over TLS: whom Sentinels and members name is spoken to as they are, and a wrong certificate is told with what to do.

use std::path::Path;

use harness::servers::{Authority, Server, ServerKind, Tls, TlsFiles, Valid};
use lock_backends::{Endpoint, server, variant};

use crate::cluster::{Cluster, SERVED};
use crate::sentinel::Service;
use crate::servers::{Instance, is_installed};
use crate::support::{Bench, TTL, let_in, take, unique};

/// An authority, what servers show that it has signed, and what a client can show.
struct Certificates {
    folder: tempfile::TempDir,
    tls: Tls,
}

impl Certificates {
    fn made() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::create(folder.path(), "ours").unwrap();
        let client = Some(authority.client("client", Valid::Now).unwrap());
        let tls = Tls { client, ..authority.tls().unwrap() };
        Self { folder, tls }
    }

    /// The URL, over TLS, that trusts this authority and no other, or whom the machine trusts.
    fn on(&self, url: &str, ca: Option<&Path>) -> String {
        let files = TlsFiles { ca: ca.map(Path::to_owned), ..TlsFiles::default() };
        files.on(&url.replacen("redis", "rediss", 1))
    }

    /// The right one, without a certificate of the client's.
    fn right(&self, url: &str) -> String {
        self.on(url, Some(&self.tls.ca))
    }
}

/// Neither a lock nor whoever asks what server that is gets in at this URL, and both say this word.
async fn refused(url: &str, word: &str) {
    let error = let_in(variant("redis-fenced").unwrap(), url).await.expect_err("refused").to_string();
    assert!(error.contains(word), "{word} at {url}: {error}");
    let error = Server::attach(ServerKind::named("redis"), url).await.expect_err("refused").to_string();
    assert!(error.contains(word), "{word} at {url}: {error}");
}

/// The right certificates let a client in, and each wrong one is told, also where all of these servers want to see the client's.
async fn checked(certificates: &Certificates, url: &str, locks: &[&str], instances: &[&Instance]) {
    let right = certificates.right(url);
    for name in locks {
        take(variant(name).unwrap(), &right).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let attached = Server::attach(ServerKind::named("redis"), &right).await.unwrap();
    assert!(attached.settings().contains_key("topology"), "{:?}", attached.settings());
    let members = (server("redis").unwrap().members)(&Endpoint::from(&*right)).await.unwrap();
    for member in members {
        let bare = (server("redis").unwrap().bare)(&member.endpoint).await;
        bare.unwrap_or_else(|error| panic!("{}: {error}", member.place)).ping().await.unwrap();
    }

    let foreign = Authority::create(certificates.folder.path(), "foreign").unwrap();
    refused(&certificates.on(url, Some(foreign.ca())), "ssl-ca").await;
    // Nobody here trusts that authority.
    refused(&certificates.on(url, None), "ssl-ca").await;
    refused(&certificates.on(url, Some(Path::new("/no/such.pem"))), "/no/such.pem").await;
    // The certificates are for 127.0.0.1 alone.
    refused(&right.replace("127.0.0.1", "localhost"), "another host").await;
    // Without TLS nothing comes about either; what a server says of that is not told to have a certificate's fault.
    assert!(let_in(variant("redis-fenced").unwrap(), url).await.is_err(), "let in without TLS");

    for instance in instances {
        instance.say::<String>("CONFIG SET tls-auth-clients yes").await;
    }
    let (cert, key) = certificates.tls.client.clone().unzip();
    let shown = TlsFiles { ca: Some(certificates.tls.ca.clone()), cert, key }.on(&right);
    for name in locks {
        take(variant(name).unwrap(), &shown).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    refused(&right, "ssl-cert").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_sentinels_name_is_reached_over_tls_and_so_is_the_promoted_one() {
    if !is_installed() {
        return;
    }
    let certificates = Certificates::made();
    let service = Service::start(Some(&certificates.tls)).await;
    let bench =
        Bench::with_ttl(variant("redis-fenced").unwrap(), &certificates.right(&service.url()), TTL * 4);
    let (mine, theirs) = (bench.node().await, bench.node().await);
    let key = unique("promoted");
    let guard = mine.acquire_request(bench.ask(&key)).await.unwrap();
    let before = service.primary().await;
    service.servers[before].is_copied().await;
    service.promote(1 - before).await;
    assert!(theirs.try_acquire_request(bench.ask(&key)).await.unwrap().is_none(), "two hold it");
    guard.release().await.unwrap();
    theirs.acquire_request(bench.ask(&key)).await.unwrap().release().await.unwrap();
    mine.close().await;
    theirs.close().await;

    let locks: Vec<&str> = server("redis").unwrap().variants.iter().map(|variant| variant.name).collect();
    // Sentinels take no such setting while they run.
    let servers: Vec<&Instance> = service.servers.iter().collect();
    checked(&certificates, &service.url(), &locks, &servers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_members_of_a_cluster_are_reached_over_tls() {
    if !is_installed() {
        return;
    }
    let certificates = Certificates::made();
    let cluster = Cluster::start(Some(&certificates.tls)).await;
    let members: Vec<&Instance> = cluster.members.iter().collect();
    checked(&certificates, &cluster.url(), &SERVED, &members).await;
}
