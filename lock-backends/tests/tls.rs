//! TLS, on every server: the right certificates let a client in, and each wrong one ends with an error that says what to do.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod support;

use std::path::{Path, PathBuf};

use harness::servers::{Authority, Server, ServerError, ServerKind, ServerOptions, Tls, TlsFiles, Valid};
use lock_backends::{Endpoint, server};
use support::{LET_IN_TTL, let_in, of_each_server, take};

of_each_server!(certificates_are_checked);

fn certificates_are_checked(name: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(checked(name));
}

async fn checked(name: &str) {
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::create(folder.path(), "ours").unwrap();
    let foreign = Authority::create(folder.path(), "foreign").unwrap();
    let variants = server(name).unwrap().variants;

    // Nobody needs a certificate of a client's.
    let Some(running) = start(name, ours.tls().unwrap()).await else { return };
    for variant in variants {
        take(variant, running.endpoint()).await.unwrap_or_else(|error| panic!("{}: {error}", variant.name));
    }
    let url = running.endpoint();
    refused(name, &with_ca(url, foreign.ca()), &["ssl-ca"]).await;
    refused(name, &with_ca(url, Path::new("/no/such.pem")), &["/no/such.pem"]).await;
    // The certificate is for 127.0.0.1 alone.
    refused(name, &url.replace("127.0.0.1", "localhost"), &["another host"]).await;
    running.stop().await.unwrap();

    // A client shows one.
    let client = ours.client("client", Valid::Now).unwrap();
    let mutual = |client: (PathBuf, PathBuf)| Tls { client: Some(client), ..ours.tls().unwrap() };
    let Some(running) = start(name, mutual(client.clone())).await else { return };
    take(variants[0], running.endpoint()).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    let without = without_client(running.endpoint());
    refused(name, &without, &["ssl-cert"]).await;
    let key_alone = format!("{without}&ssl-key={}", client.1.display());
    refused(name, &key_alone, &["ssl-cert and ssl-key go together"]).await;
    running.stop().await.unwrap();

    // The server comes back with a certificate that has expired. Whoever checks is not let in, nor is whoever started it.
    let Some(mut running) = start(name, ours.tls().unwrap()).await else { return };
    let (cert, key) = ours.server("old", &["127.0.0.1"], Valid::Expired).unwrap();
    let place = running.folder().unwrap().to_owned();
    let [cert, key] = [cert, key].map(|path| std::fs::read_to_string(path).unwrap());
    running.kill().await.unwrap();
    for (file, text) in [("cert.pem", cert.clone()), ("key.pem", key.clone()), ("both.pem", key + &cert)] {
        let path = place.join(file);
        if path.exists() {
            std::fs::write(path, text).unwrap();
        }
    }
    let url = running.endpoint().to_owned();
    tokio::select! {
        again = running.restart() => panic!("{name}: it was let in: {again:?}"),
        () = refused(name, &url, &["expired"]) => {}
    }
    running.stop().await.unwrap();
}

/// Neither its first variant nor its bare client is let in at this URL, and the error says all of these words. It may still be about
/// to start.
async fn refused(name: &str, url: &str, words: &[&str]) {
    let server = server(name).unwrap();
    let told = async {
        loop {
            let error = match let_in(server.variants[0], url).await {
                Ok(_) => panic!("{name}: let in at {url}, where {words:?} was to be said"),
                Err(error) => error.to_string(),
            };
            if words.iter().all(|word| error.contains(word)) {
                return;
            }
            eprintln!("{name}: {error}");
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    let waited = tokio::time::timeout(std::time::Duration::from_secs(20), told).await;
    waited.unwrap_or_else(|_| panic!("{name}: nobody said {words:?}"));
    assert!((server.bare)(&Endpoint::from(url)).await.is_err(), "{name}: a bare client was let in");
}

fn with_ca(url: &str, ca: &Path) -> String {
    TlsFiles { ca: Some(ca.to_owned()), ..TlsFiles::default() }.on(url)
}

fn without_client(url: &str) -> String {
    url.split_once("&ssl-cert=").unwrap().0.to_owned()
}

async fn start(name: &str, tls: Tls) -> Option<Server> {
    let options = ServerOptions { detect: LET_IN_TTL, tls: Some(tls), ..ServerOptions::default() };
    match Server::start(ServerKind::named(name), &options).await {
        Ok(server) => Some(server),
        Err(missing @ ServerError::Missing { .. }) if std::env::var_os("CI").is_none() => {
            eprintln!("skipped: {missing}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}
