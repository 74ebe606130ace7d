//! A ZooKeeper that knows its accounts, by SASL: started from Debian's jar with a JAAS file, without TLS and with it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod support;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use harness::servers::{Authority, Server, ServerKind, TlsFiles, redact};
use lock_backends::{Endpoint, server};
use support::{PATIENCE, start, take};
use tokio::time::{sleep, timeout};

const USER: &str = "app";
const PASSWORD: &str = "s3cr/et:%@x";
const ENCODED: &str = "s3cr%2Fet%3A%25%40x";
const WRONG: &str = "wr0ngw0rd";

const JARS: &str = "/usr/share/java";

/// Killed when it is dropped.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A server on these two ports, the second of which speaks TLS, that knows one account.
fn started(folder: &Path, authority: &Authority, [plain, secured]: [u16; 2]) -> Started {
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let jaas = write(
        "jaas.conf",
        format!(
            "Server {{\n  org.apache.zookeeper.server.auth.DigestLoginModule required\n  user_{USER}=\"{PASSWORD}\";\n}};\n"
        ),
    );
    let (cert, key) = authority.server("zookeeper", &["127.0.0.1"], harness::servers::Valid::Now).unwrap();
    let [cert, key] = [cert, key].map(|path| std::fs::read_to_string(path).unwrap());
    let both = write("both.pem", key + &cert);
    let ca = authority.ca().display();
    let config = write(
        "zoo.cfg",
        format!(
            "dataDir={}/data\ntickTime=1000\nadmin.enableServer=false\nmaxClientCnxns=0\n\
             authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n\
             clientPort={plain}\nclientPortAddress=127.0.0.1\nsecureClientPort={secured}\nsecureClientPortAddress=127.0.0.1\n\
             serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\n\
             ssl.keyStore.location={both}\nssl.keyStore.type=PEM\nssl.trustStore.location={ca}\nssl.trustStore.type=PEM\n\
             ssl.clientAuth=none\nssl.hostnameVerification=false\n",
            folder.display()
        ),
    );
    let jars =
        ["zookeeper", "slf4j-nop", "netty-codec", "netty-resolver"].map(|jar| format!("{JARS}/{jar}.jar"));
    let java = Command::new("java")
        .args(["-Xmx256m", "-XX:-UsePerfData", &format!("-Djava.security.auth.login.config={jaas}")])
        .args(["-cp", &jars.join(":"), "org.apache.zookeeper.server.ZooKeeperServerMain", &config])
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Started(java.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_let_in_by_sasl_and_a_wrong_password_is_told_without_it() {
    // Whether it can be started at all, and a server that knows nobody.
    let Some(knows_nobody) = start("zookeeper").await else { return };
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::create(folder.path(), "authority").unwrap();
    let free = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let ports = free.map(|listener| listener.local_addr().unwrap().port());
    let _server = started(folder.path(), &authority, ports);
    let (kind, zookeeper) = (ServerKind::named("zookeeper"), server("zookeeper").unwrap());
    let files = TlsFiles { ca: Some(authority.ca().to_owned()), ..TlsFiles::default() };
    let url = |secured: bool, login: &str| {
        let (scheme, port) = if secured { ("zookeeper+tls", ports[1]) } else { ("zookeeper", ports[0]) };
        let url = format!("{scheme}://{login}@127.0.0.1:{port}?sasl=digest-md5");
        if secured { files.on(&url) } else { url }
    };

    for secured in [false, true] {
        let right = url(secured, &format!("{USER}:{ENCODED}"));
        let answers = async {
            while Server::attach(kind, &right).await.is_err() {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, answers).await.expect("it answers");
        for variant in zookeeper.variants {
            take(variant, &right).await.unwrap_or_else(|error| panic!("{}: {error}", variant.name));
        }
        let endpoint = Endpoint::from(&*right);
        (zookeeper.bare)(&endpoint).await.unwrap().write().await.unwrap();
        let contents = (zookeeper.contents)(&endpoint).await.unwrap();
        assert!(contents.held().await.unwrap().ours > 0);

        let refused = async |url: &str, word: &str| {
            for variant in zookeeper.variants {
                let error = take(variant, url).await.expect_err("let in").to_string();
                assert!(error.contains(word), "{}: {error}", variant.name);
                assert!(!error.contains(WRONG) && !error.contains(PASSWORD), "{}: {error}", variant.name);
            }
        };
        let wrong = url(secured, &format!("{USER}:{WRONG}"));
        refused(&wrong, "user or password").await;
        assert!((zookeeper.bare)(&Endpoint::from(&*wrong)).await.is_err(), "a bare client was let in");
        // The server lets in an account that it does not know, as nobody; and whoever makes himself known by digest is somebody else.
        // Neither may touch what the account made.
        refused(&url(secured, &format!("nobody:{ENCODED}")), "not authorized").await;
        refused(&right.replace("sasl=digest-md5", "").replace("?&", "?"), "not authorized").await;
        contents.clear().await.unwrap();
        assert_eq!(contents.held().await.unwrap().ours, 0);
        assert!(!redact(&right).contains(ENCODED), "{}", redact(&right));
    }

    let unknown = format!("zookeeper://{USER}:{ENCODED}@{}?sasl=digest-md5", knows_nobody.endpoint());
    for variant in zookeeper.variants {
        let error = take(variant, &unknown).await.expect_err("let in").to_string();
        assert!(error.contains("SASL"), "{}: {error}", variant.name);
    }
    knows_nobody.stop().await.unwrap();
}
