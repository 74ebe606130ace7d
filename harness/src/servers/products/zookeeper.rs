//! ZooKeeper: one JVM a member, asked with four-letter words.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use futures_util::future::BoxFuture;
use nix::sys::signal::Signal;

use crate::child;
use crate::servers::about::About;
use crate::servers::command;
use crate::servers::error::ServerError;
use crate::servers::options::{Durability, ServerOptions, Topology};
use crate::servers::product::{Answer, Product, Seat, Start};
use crate::servers::url::Address;
use crate::servers::wire::{self, AskError};

const ABOUT: About = About {
    name: "zookeeper",
    title: "ZooKeeper",
    packages: "libzookeeper-java default-jre-headless",
    url: "zookeeper://[user:password@]host[:port],…, zookeeper+tls:// over TLS",
    topologies: &[Topology::Single, Topology::Replicated],
    warms_s: 4.0,
    accounts: &["zookeeper", "nobody"],
    processes: &["java"],
    stop: Signal::SIGTERM,
    clean_up: |_| {},
    secured: &["zookeeper+tls", "zk+tls"],
    checked: None,
};

/// Where Debian keeps jars. The server's names the others that it needs.
const JARS: &str = "/usr/share/java";

const SINGLE_MAIN: &str = "org.apache.zookeeper.server.ZooKeeperServerMain";
const QUORUM_MAIN: &str = "org.apache.zookeeper.server.quorum.QuorumPeerMain";

/// What `conf` tells that matters to a client.
const SETTINGS: [&str; 6] =
    ["tickTime", "minSessionTimeout", "maxSessionTimeout", "maxClientCnxns", "initLimit", "syncLimit"];

/// The setting that is a property of the JVM alone: it cannot be asked for.
const FORCE_SYNC: &str = "forceSync";

/// Ticks in which a follower has to connect to the leader and take over its state; JVMs start slowly.
const INIT_LIMIT: u32 = 100;

/// Ticks after which a leader and a follower that hear nothing of each other part: half a session timeout, so that
/// sessions can outlive it.
const SYNC_LIMIT: u32 = 5;

/// Standalone, or an ensemble of three.
#[derive(Debug)]
pub(super) struct Zookeeper;

impl Product for Zookeeper {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn find(&self, program: Option<&Path>) -> Result<(PathBuf, String), ServerError> {
        let Programs { jar, .. } = Programs::of(program)?;
        let version_of = |name: &str| {
            let version = name.strip_prefix("zookeeper-")?.strip_suffix(".jar")?.to_owned();
            version.starts_with(|c: char| c.is_ascii_digit()).then_some(version)
        };
        let own = jar.file_name().and_then(|name| version_of(&name.to_string_lossy()));
        // The package links zookeeper-<version>.jar to the jar.
        let links = || {
            let files = fs::read_dir(JARS).into_iter().flatten().flatten();
            files.filter_map(|file| version_of(&file.file_name().to_string_lossy())).max()
        };
        let packaged = || jar.starts_with(JARS).then(links).flatten();
        let version = own.or_else(packaged).unwrap_or_else(|| "unknown".to_owned());
        Ok((jar, version))
    }

    fn start<'a>(
        &'a self,
        seats: &'a [Seat],
        place: usize,
        options: &'a ServerOptions,
    ) -> BoxFuture<'a, Result<Start, ServerError>> {
        Box::pin(async move { start(seats, place, options) })
    }

    fn endpoint(&self, address: SocketAddr, seat: &Seat) -> String {
        if seat.tls.is_some() { format!("zookeeper+tls://{address}") } else { address.to_string() }
    }

    fn ask<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Answer, AskError>> {
        Box::pin(ask(url))
    }

    fn leads<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Option<u64>, AskError>> {
        Box::pin(leads(url))
    }

    fn effective(&self, durability: Durability) -> &'static [(&'static str, &'static str)] {
        match durability {
            Durability::Durable => &[(FORCE_SYNC, "yes")],
            Durability::Memory => &[(FORCE_SYNC, "no")],
        }
    }
}

/// What runs the server, and what it is.
struct Programs {
    java: PathBuf,
    jar: PathBuf,
    class_path: String,
}

impl Programs {
    /// Those of the package, or the jar that is named, with all that is in its folder, as in the archives of the project.
    fn of(named: Option<&Path>) -> Result<Self, ServerError> {
        let missing = |what: &str, package| ServerError::Missing {
            product: ABOUT.title,
            what: what.to_owned(),
            package,
        };
        let java =
            child::on_path("java").ok_or_else(|| missing("the program java", "default-jre-headless"))?;
        if let Some(jar) = command::named(&ABOUT, named)? {
            let folder = jar.parent().unwrap_or(Path::new("/"));
            if folder != Path::new(JARS) {
                return Ok(Self {
                    java,
                    class_path: format!("{}:{}/*", jar.display(), folder.display()),
                    jar,
                });
            }
        }
        let jar = Path::new(JARS).join("zookeeper.jar");
        if !jar.is_file() {
            return Err(missing(&format!("its jar, {}", jar.display()), "libzookeeper-java"));
        }
        // slf4j-simple is there so that the reason of a failed start reaches the log, and nothing below a warning.
        // What speaks TLS is Netty, of which the server's jar does not name all parts that it takes.
        let others =
            ["slf4j-simple", "netty-codec", "netty-resolver"].map(|name| format!("{JARS}/{name}.jar"));
        Ok(Self { java, class_path: format!("{}:{}", jar.display(), others.join(":")), jar })
    }
}

fn start(seats: &[Seat], place: usize, options: &ServerOptions) -> Result<Start, ServerError> {
    let Programs { java, class_path, .. } = Programs::of(options.program.as_deref())?;
    let Seat { folder, ports: [port, ..], .. } = &seats[place];
    let data = folder.data().display().to_string();
    let tick_ms = (options.detect.as_millis() / 10).max(1);
    let mut config = format!(
        "dataDir={data}\ntickTime={tick_ms}\nmaxClientCnxns=0\nadmin.enableServer=false\n\
         4lw.commands.whitelist=srvr,ruok,conf,mntr\n"
    );
    config += &match seats[place].certificates(&ABOUT)? {
        Some([ca, cert, key]) => over_tls(&seats[place], &ca, &cert, &key)?,
        None => format!("clientPort={port}\nclientPortAddress=127.0.0.1\n"),
    };
    let replicated = seats.len() > 1;
    if replicated {
        config += &format!("initLimit={INIT_LIMIT}\nsyncLimit={SYNC_LIMIT}\n");
        for (number, Seat { ports: [_, quorum, election], .. }) in seats.iter().enumerate() {
            config += &format!("server.{number}=127.0.0.1:{quorum}:{election}\n");
        }
        let path = folder.data().join("myid");
        let written = fs::write(&path, format!("{place}\n"));
        let (product, action) = (ABOUT.title, "write");
        written.map_err(|source| ServerError::Folder { product, action, path, source })?;
    }
    let config_file = seats[place].confide(&ABOUT, "zoo.cfg", &config)?;
    let force_sync = if options.durability == Durability::Durable { "yes" } else { "no" };
    let args = [
        "-Xms256m",
        "-Xmx256m",
        // Otherwise a file in the system's temporary folder outlives a kill.
        "-XX:-UsePerfData",
        "-XX:ErrorFile=jvm-crash.log",
        &format!("-Djava.io.tmpdir={data}"),
        "-Djava.awt.headless=true",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        &format!("-Dzookeeper.{FORCE_SYNC}={force_sync}"),
        // In KiB: the log grows in steps of this.
        "-Dzookeeper.preAllocSize=4096",
        "-cp",
        &class_path,
        if replicated { QUORUM_MAIN } else { SINGLE_MAIN },
        &config_file.display().to_string(),
    ];
    Ok(Start {
        program: java,
        args: args.iter().map(Into::into).collect(),
        flags: [(FORCE_SYNC.to_owned(), force_sync.to_owned())].into(),
        identity: data,
    })
}

/// The part of its configuration that has a member speak TLS with its clients. It reads certificate and key in one file.
fn over_tls(seat: &Seat, ca: &Path, cert: &Path, key: &Path) -> Result<String, ServerError> {
    let read = |path: &Path| {
        let (product, action, path) = (ABOUT.title, "read", path.to_owned());
        fs::read_to_string(&path).map_err(|source| ServerError::Folder { product, action, path, source })
    };
    let both = seat.confide(&ABOUT, "both.pem", &(read(key)? + &read(cert)?))?;
    let (port, ca, both) = (seat.ports[0], ca.display(), both.display());
    let clients = if seat.asks_for_certificates() { "need" } else { "none" };
    Ok(format!(
        "secureClientPort={port}\nsecureClientPortAddress=127.0.0.1\n\
         serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\n\
         ssl.keyStore.location={both}\nssl.keyStore.type=PEM\n\
         ssl.trustStore.location={ca}\nssl.trustStore.type=PEM\n\
         ssl.clientAuth={clients}\nssl.hostnameVerification=false\n"
    ))
}

fn spoken(address: Address) -> Result<Address, String> {
    address.spoken(&["", "zookeeper", "zk"], ABOUT.secured, ABOUT.url)
}

async fn ask(list: &str) -> Result<Answer, AskError> {
    let mut answer = None;
    for address in wire::addresses(list, 2181, spoken)? {
        let status = Status::ask(&address).await?;
        let version = status.line("Zookeeper version:").and_then(|text| text.split(['-', ',']).next());
        let mut this = Answer { version: version.unwrap_or("unknown").to_owned(), ..Answer::default() };
        this.settings.insert("mode".to_owned(), status.mode().to_owned());
        // Outside our own servers this word is rarely allowed; then these settings stay unknown.
        let config = wire::exchange(&address, b"conf").await.unwrap_or_default();
        for (name, value) in config.lines().filter_map(|line| line.split_once('=')) {
            if SETTINGS.contains(&name) {
                this.settings.insert(name.to_owned(), value.to_owned());
            } else if name == "dataDir" {
                this.identity = Some(value.trim_end_matches("/version-2").to_owned());
            }
        }
        answer.get_or_insert(this);
    }
    answer.ok_or_else(|| AskError::Url("it names no host".to_owned()))
}

/// The epoch in which a member leads; `None` where it follows.
async fn leads(endpoint: &str) -> Result<Option<u64>, AskError> {
    let status =
        Status::ask(&Address::parse(endpoint, 2181).and_then(spoken).map_err(AskError::Url)?).await?;
    if status.mode() != "leader" {
        return Ok(None);
    }
    let zxid = status.line("Zxid:").and_then(|zxid| zxid.strip_prefix("0x"));
    let zxid = zxid.and_then(|zxid| u64::from_str_radix(zxid, 16).ok());
    Ok(Some(zxid.ok_or_else(|| AskError::Silent(format!("srvr: {}", status.0.trim())))? >> 32))
}

/// What a member that serves says to `srvr`.
struct Status(String);

impl Status {
    async fn ask(address: &Address) -> Result<Self, AskError> {
        let status = Self(wire::exchange(address, b"srvr").await?);
        match status.line("Mode:") {
            Some(_) => Ok(status),
            None => Err(AskError::Silent(format!("srvr: {}", status.0.trim()))),
        }
    }

    fn mode(&self) -> &str {
        self.line("Mode:").unwrap_or_default()
    }

    fn line(&self, start: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(start)).map(str::trim)
    }
}
