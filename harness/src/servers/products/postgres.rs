//! PostgreSQL: `postgres` on a copy of one freshly made cluster, asked with `psql`.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use futures_util::future::BoxFuture;
use nix::sys::signal::Signal;
use nix::unistd::User;
use tokio::time::timeout;

use crate::child;
use crate::servers::about::About;
use crate::servers::command;
use crate::servers::error::ServerError;
use crate::servers::folder::Folder;
use crate::servers::options::{Durability, ServerOptions, Topology};
use crate::servers::parameters::Parameters;
use crate::servers::product::{Answer, Product, Seat, Start};
use crate::servers::template::{Template, Templates};
use crate::servers::tls::TlsFiles;
use crate::servers::url::Address;
use crate::servers::wire::{self, AskError};

const ABOUT: About = About {
    name: "postgres",
    title: "PostgreSQL",
    packages: "postgresql",
    url: "postgres://[user[:password]@]host[:port]/database[?sslmode=verify-full]",
    topologies: &[Topology::Single],
    warms_s: 0.0,
    // It refuses to run as root.
    accounts: &["postgres", "nobody"],
    // Left alone, initdb removes what its server was killed in, and with it the number of its shared memory.
    processes: &["initdb", "postgres"],
    // The fast shutdown: does not wait for clients to leave.
    stop: Signal::SIGINT,
    clean_up: remove_shared_memory,
    secured: &[],
    checked: Some(CHECKED),
};

/// Role and database of a private server.
const NAME: &str = "lockbench";

/// With it a client checks the server's certificate and the host name in it.
const CHECKED: &str = "sslmode=verify-full";

/// How often it is asked to remove what a killed one left; it takes the kernel some milliseconds to see a process off.
const CHECKS: u32 = 100;

/// Where Debian keeps one folder per major version.
const VERSIONS: &str = "/usr/lib/postgresql";

/// One instance.
#[derive(Debug)]
pub(super) struct Postgres;

impl Product for Postgres {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn find(&self, program: Option<&Path>) -> Result<(PathBuf, String), ServerError> {
        let program = programs(program)?.join("postgres");
        let output = command::says_of_itself(&program, ABOUT.title)?;
        Ok((program, output.split_whitespace().nth(2).unwrap_or("unknown").to_owned()))
    }

    fn start<'a>(
        &'a self,
        seats: &'a [Seat],
        place: usize,
        options: &'a ServerOptions,
    ) -> BoxFuture<'a, Result<Start, ServerError>> {
        Box::pin(start(&seats[place], options))
    }

    fn endpoint(&self, address: SocketAddr, seat: &Seat) -> String {
        let checked = if seat.tls.is_some() { format!("?{CHECKED}") } else { String::new() };
        format!("postgres://{NAME}:{}@{address}/{NAME}{checked}", seat.secret.text())
    }

    fn ask<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Answer, AskError>> {
        Box::pin(ask(url))
    }

    fn effective(&self, durability: Durability) -> &'static [(&'static str, &'static str)] {
        match durability {
            Durability::Durable => {
                &[("fsync", "on"), ("synchronous_commit", "on"), ("full_page_writes", "on")]
            }
            Durability::Memory => {
                &[("fsync", "off"), ("synchronous_commit", "off"), ("full_page_writes", "off")]
            }
        }
    }
}

/// The folder of initdb, postgres and psql: that of the `postgres` that is named, of the newest version, or the one that PATH leads to.
fn programs(named: Option<&Path>) -> Result<PathBuf, ServerError> {
    if let Some(program) = command::named(&ABOUT, named)? {
        let initdb = command::beside(&ABOUT, &program, "initdb")?;
        return Ok(initdb.parent().map(Path::to_owned).unwrap_or_default());
    }
    let version = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
    let mut versions: Vec<u32> =
        fs::read_dir(VERSIONS).into_iter().flatten().flatten().filter_map(version).collect();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    let packaged = versions.iter().map(|version| Path::new(VERSIONS).join(version.to_string()).join("bin"));
    let linked = child::on_path("initdb").and_then(|initdb| initdb.canonicalize().ok());
    let complete =
        |bin: &PathBuf| ["initdb", "postgres", "psql"].iter().all(|program| bin.join(program).is_file());
    packaged.chain(linked.and_then(|initdb| initdb.parent().map(Path::to_owned))).find(complete).ok_or_else(
        || ServerError::Missing {
            product: ABOUT.title,
            what: format!("initdb, postgres and psql, in {VERSIONS}/*/bin or on PATH,"),
            package: ABOUT.packages,
        },
    )
}

async fn start(seat: &Seat, options: &ServerOptions) -> Result<Start, ServerError> {
    static CLUSTERS: Templates = Templates::new();
    let bin = programs(options.program.as_deref())?;
    let cluster = CLUSTERS.of(&bin);
    let cluster = cluster.get_or_try_init(|| make(&bin, seat.user.as_ref())).await?;
    let data = seat.folder.data();
    cluster.copy_to(&ABOUT, seat).await?;
    let password = format!("ALTER ROLE {NAME} PASSWORD '{}';\n", seat.secret.text());
    single_user(&bin, &seat.folder, seat.user.as_ref(), &seat.confide(&ABOUT, "password.sql", &password)?)
        .await?;

    let flush = if options.durability == Durability::Durable { "on" } else { "off" };
    let settings = [
        ("listen_addresses", "127.0.0.1"),
        ("port", &seat.ports[0].to_string()),
        ("unix_socket_directories", ""),
        ("max_connections", "300"),
        // Transfers between two databases are prepared in both.
        ("max_prepared_transactions", "100"),
        ("fsync", flush),
        ("synchronous_commit", flush),
        ("full_page_writes", flush),
        // In the data folder, and so removed with it; the default leaves files in /dev/shm after a kill.
        ("dynamic_shared_memory_type", "mmap"),
    ];
    let mut args = vec![OsString::from("-D"), data.clone().into()];
    for (name, value) in settings {
        args.extend(["-c".into(), format!("{name}={value}").into()]);
    }
    if let Some([ca, cert, key]) = seat.certificates(&ABOUT)? {
        let files = [("ssl_ca_file", ca), ("ssl_cert_file", cert), ("ssl_key_file", key)];
        args.extend(["-c".into(), "ssl=on".into()]);
        for (name, path) in files {
            args.extend(["-c".into(), format!("{name}={}", path.display()).into()]);
        }
        let clients = if seat.asks_for_certificates() { " clientcert=verify-ca" } else { "" };
        let who = format!("hostssl all all 127.0.0.1/32 scram-sha-256{clients}\n");
        let path = data.join("pg_hba.conf");
        let failed = |source| ServerError::Folder {
            product: ABOUT.title,
            action: "write",
            path: path.clone(),
            source,
        };
        fs::write(&path, who).map_err(failed)?;
    }
    Ok(Start { program: bin.join("postgres"), args, flags: [].into(), identity: data.display().to_string() })
}

/// Makes a cluster, which takes a second or more.
async fn make(bin: &Path, user: Option<&User>) -> Result<Template, ServerError> {
    let folder = Template::folder(&ABOUT, user)?;
    let data = folder.data();
    let failed =
        |source| ServerError::Folder { product: ABOUT.title, action: "fill", path: data.clone(), source };
    let initdb = bin.join("initdb");
    let mut command = command::command(&ABOUT, &initdb, user, &folder)?;
    // Whom it lets in is said below; here it would have to be told a password.
    command.arg("-D").arg(&data).args(["-U", NAME, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]);
    command::to_its_end(&ABOUT, command, &initdb, &folder).await?;
    fs::write(data.join("pg_hba.conf"), "host all all 127.0.0.1/32 scram-sha-256\n").map_err(failed)?;

    let script = folder.path().join("create.sql");
    fs::write(&script, format!("CREATE DATABASE {NAME};\n")).map_err(failed)?;
    single_user(bin, &folder, user, &script).await?;
    Template::of(&ABOUT, folder).await
}

/// Has the cluster of this folder carry out a script, one command a line, before it serves anybody; takes 50 ms.
async fn single_user(
    bin: &Path,
    folder: &Folder,
    user: Option<&User>,
    script: &Path,
) -> Result<(), ServerError> {
    let failed = |source| ServerError::Folder {
        product: ABOUT.title,
        action: "read",
        path: script.to_owned(),
        source,
    };
    let single = bin.join("postgres");
    let mut command = command::command(&ABOUT, &single, user, folder)?;
    command.stdin(Stdio::from(File::open(script).map_err(failed)?)).args(["--single", "-F"]);
    // What is in the script may be a password, and is not for the log, whatever goes wrong.
    for setting in [
        "dynamic_shared_memory_type=mmap",
        "password_encryption=scram-sha-256",
        "log_min_error_statement=panic",
    ] {
        command.args(["-c", setting]);
    }
    command.arg("-D").arg(folder.data()).arg("postgres");
    command::to_its_end(&ABOUT, command, &single, folder).await
}

/// One line each: name, tab, value. What the role may not see is left out, and of replicas what is not there.
const QUESTION: &str = "SELECT name || chr(9) || setting FROM pg_settings WHERE name IN (\
     'server_version', 'data_directory', 'fsync', 'synchronous_commit', 'full_page_writes', 'wal_sync_method', \
     'synchronous_standby_names', 'max_connections', 'idle_session_timeout') \
     UNION ALL SELECT 'topology' || chr(9) || 'a primary with standbys: ' || count(*) \
        || coalesce(' (' || string_agg(sync_state, ', ' ORDER BY sync_state) || ')', '') \
        FROM pg_stat_replication WHERE NOT pg_is_in_recovery() HAVING count(*) > 0 \
     UNION ALL SELECT 'standby of' || chr(9) || coalesce((SELECT sender_host || ':' || sender_port \
        FROM pg_stat_wal_receiver), 'another one') WHERE pg_is_in_recovery()";

async fn ask(url: &str) -> Result<Answer, AskError> {
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err(AskError::Url(format!("{} is expected", ABOUT.url)));
    }
    // A URL without a host means a Unix socket, which psql knows how to find.
    let address = Address::parse(url, 5432).ok();
    if let Some(address) = &address {
        // Cheaper than a program that finds out that nobody listens.
        drop(wire::connect(address).await?);
    }
    let psql = programs(None).ok().map(|bin| bin.join("psql")).or_else(|| child::on_path("psql"));
    let psql = psql.ok_or_else(|| {
        let what = "the program psql, which asks the server,".to_owned();
        AskError::Missing(ServerError::Missing { product: ABOUT.title, what, package: "postgresql-client" })
    })?;
    let mut command = tokio::process::Command::new(psql);
    let files = TlsFiles::of(url);
    let named = [("PGSSLROOTCERT", &files.ca), ("PGSSLCERT", &files.cert), ("PGSSLKEY", &files.key)];
    for (name, path) in named {
        if let Some(path) = path {
            command.env(name, path);
        }
    }
    // Not in the arguments, which every user of the machine can read.
    if let Some(password) = address.and_then(|address| address.password) {
        command.env("PGPASSWORD", password);
    }
    command.args(["--no-psqlrc", "--no-password", "--quiet", "--no-align", "--tuples-only"]);
    command
        .args(["--command", QUESTION, "--dbname", &without_files(&without_password(url))])
        .env("PGCONNECT_TIMEOUT", "3");
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(wire::PATIENCE, command.output()).await.map_err(|_| wire::no_answer())??;
    if !output.status.success() {
        return Err(AskError::Silent(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let mut answer = Answer::default();
    for (name, value) in
        String::from_utf8_lossy(&output.stdout).lines().filter_map(|line| line.split_once('\t'))
    {
        match name {
            "server_version" => {
                answer.version = value.split(' ').next().unwrap_or_default().to_owned();
            }
            "data_directory" => answer.identity = Some(value.to_owned()),
            "standby of" => {
                return Err(AskError::Url(format!(
                    "this is a standby, which takes no writes, and whose locks exclude nobody at its primary, {value}: give that one"
                )));
            }
            _ => drop(answer.settings.insert(name.to_owned(), value.to_owned())),
        }
    }
    Ok(answer)
}

/// Under names that `psql` does not know it would refuse them.
fn without_files(url: &str) -> String {
    let mut parameters = Parameters::of(url);
    parameters.drop_all("ssl-");
    parameters.url()
}

fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let user = authority.rsplit_once('@').and_then(|(login, place)| Some((login.split_once(':')?.0, place)));
    match user {
        Some((user, place)) => format!("{scheme}://{user}@{place}{tail}"),
        None => url.to_owned(),
    }
}

/// Has PostgreSQL itself remove what one of its processes left outside of this data folder when it was killed: the System V
/// segment that is its interlock, and what `initdb`, which cannot be told otherwise, has in /dev/shm. The next start does so
/// before anything else, and a check of the settings (45 ms) is one. Refused while anybody who was killed a moment ago is
/// still attached; once the folder is gone nobody knows of any of it any more.
fn remove_shared_memory(data: &Path) {
    let record = data.join("postmaster.pid");
    // Removed by whoever was stopped in peace.
    if !record.exists() {
        return;
    }
    let checked = || -> Result<bool, ServerError> {
        // Of the version that made it: another one refuses the folder.
        let started = fs::read_to_string(data.join("postmaster.opts")).unwrap_or_default();
        let started = started.split('"').next().map(|line| Path::new(line.trim()).to_owned());
        let named = started.filter(|program| program.is_file());
        let program = programs(named.as_deref())?.join("postgres");
        let failed = |source| ServerError::Spawn { product: ABOUT.title, program: program.clone(), source };
        let owner = fs::metadata(data).map_err(failed)?;
        let mut check = Command::new(&program);
        check.args(["--check", "-F", "-D"]).arg(data).current_dir(data).uid(owner.uid()).gid(owner.gid());
        Ok(check.output().map_err(failed)?.status.success())
    };
    for _ in 0..CHECKS {
        // It names one who was killed, and would be taken for alive until its parent has taken note of that.
        fs::remove_file(&record).ok();
        match checked() {
            Ok(true) => return,
            Ok(false) => child::nap(),
            Err(error) => {
                tracing::warn!(%error, "what PostgreSQL left in shared memory stays there");
                return;
            }
        }
    }
    tracing::warn!(folder = %data.display(), "what PostgreSQL left in shared memory stays there");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use procfs::process::MMapPath;

    use super::*;

    #[test]
    fn the_password_stays_out_of_the_arguments() {
        for (url, shown) in [
            ("postgres://me:s3cret@db:1/x?a=b", "postgres://me@db:1/x?a=b"),
            ("postgres://me@db/x", "postgres://me@db/x"),
            ("postgres:///x?host=/run/postgresql", "postgres:///x?host=/run/postgresql"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }

    /// Those in /dev/shm that a process in this folder has mapped, and what is left of them.
    fn mapped(data: &Path) -> BTreeSet<PathBuf> {
        let processes = procfs::process::all_processes().unwrap().flatten();
        let inside = processes.filter(|process| process.cwd().is_ok_and(|cwd| cwd.starts_with(data)));
        let maps = inside.flat_map(|process| process.maps().into_iter().flatten());
        maps.filter_map(|map| match map.pathname {
            MMapPath::Path(path) if path.starts_with("/dev/shm/") => Some(path),
            _ => None,
        })
        .collect()
    }

    /// Lets `initdb` begin, and stops it as soon as one of its servers, which come and go, has memory and told the folder so.
    async fn stopped_initdb(
        folder: &Folder,
        bin: &Path,
        user: Option<&User>,
    ) -> (child::Process, BTreeSet<PathBuf>) {
        let data = folder.data();
        let mut command = command::command(&ABOUT, &bin.join("initdb"), user, folder).unwrap();
        command.arg("-D").arg(&data).args(["-U", NAME, "-A", "trust", "--no-sync"]);
        let mut process = child::Process::spawn(command).await.unwrap();
        let mut had = BTreeSet::new();
        while had.is_empty() && process.ended().is_none() {
            if data.join("postmaster.pid").exists() {
                had = mapped(&data);
            }
        }
        process.pause().await.unwrap();
        had.retain(|path| path.exists());
        (process, had)
    }

    /// Something that a kill leaves, in a folder: whether its parent has been told of it, or, since that is stopped, has not.
    async fn goes_with_its_folder(reaped: bool) {
        let bin = match programs(None) {
            Ok(bin) => bin,
            Err(error) => {
                assert!(std::env::var_os("CI").is_none(), "{error}");
                return eprintln!("skipped: {error}");
            }
        };
        let user = command::user(&ABOUT).unwrap();
        let mut met = BTreeSet::new();
        // One that ended by itself at that moment has left nothing.
        for _ in 0..20 {
            let folder = Template::folder(&ABOUT, user.as_ref()).unwrap();
            let (mut process, had) = stopped_initdb(&folder, &bin, user.as_ref()).await;
            met = had;
            if reaped {
                process.kill().await.unwrap();
            } else {
                let servers: Vec<_> =
                    process.tree().into_iter().filter(|stat| stat.comm == "postgres").collect();
                child::kill_all(&servers);
                child::await_end(&servers);
            }
            remove_shared_memory(&folder.data());
            let left: Vec<&PathBuf> = met.iter().filter(|path| path.exists()).collect();
            assert!(left.is_empty(), "{left:?} of {met:?} are left");
            if !met.is_empty() {
                return;
            }
        }
        assert!(!met.is_empty(), "no kill met a server of initdb");
    }

    #[tokio::test]
    async fn what_a_killed_initdb_had_in_memory_goes_with_its_folder() {
        goes_with_its_folder(true).await;
    }

    #[tokio::test]
    async fn what_a_server_had_whose_death_its_parent_does_not_know_of_goes_too() {
        goes_with_its_folder(false).await;
    }
}
