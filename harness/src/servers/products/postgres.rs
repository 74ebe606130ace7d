//! PostgreSQL: `postgres` on a copy of one freshly made cluster, asked with `psql`.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use futures_util::future::BoxFuture;
use nix::sys::signal::Signal;
use nix::unistd::User;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::child;
use crate::servers::about::About;
use crate::servers::command;
use crate::servers::error::ServerError;
use crate::servers::folder::Folder;
use crate::servers::options::{Durability, ServerOptions};
use crate::servers::parameters::Parameters;
use crate::servers::product::{Answer, Product, Seat, Start};
use crate::servers::template::Template;
use crate::servers::tls::TlsFiles;
use crate::servers::url::Address;
use crate::servers::wire::{self, AskError};

const ABOUT: About = About {
    name: "postgres",
    title: "PostgreSQL",
    packages: "postgresql",
    url: "postgres://[user[:password]@]host[:port]/database[?sslmode=verify-full]",
    replicated: false,
    warms_s: 0.0,
    // It refuses to run as root.
    accounts: &["postgres", "nobody"],
    // Left alone, initdb removes what its server was killed in, and with it the number of its shared memory.
    processes: &["initdb", "postgres"],
    // The fast shutdown: does not wait for clients to leave.
    stop: Signal::SIGINT,
    clean_up: remove_segment,
    secured: &[],
    checked: Some(CHECKED),
};

/// Role and database of a private server.
const NAME: &str = "lockbench";

/// With it a client checks the server's certificate and the host name in it.
const CHECKED: &str = "sslmode=verify-full";

/// Where Debian keeps one folder per major version.
const VERSIONS: &str = "/usr/lib/postgresql";

/// One instance.
#[derive(Debug)]
pub(super) struct Postgres;

impl Product for Postgres {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn find(&self) -> Result<(PathBuf, String), ServerError> {
        let program = programs()?.join("postgres");
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

/// The folder of initdb, postgres and psql: of the newest version, or the one that PATH leads to.
fn programs() -> Result<PathBuf, ServerError> {
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
    static CLUSTER: OnceCell<Template> = OnceCell::const_new();
    let bin = programs()?;
    let cluster = CLUSTER.get_or_try_init(|| make(&bin, seat.user.as_ref())).await?;
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

/// One line each: name, tab, value. What the role may not see is left out.
const QUESTION: &str = "SELECT name || chr(9) || setting FROM pg_settings WHERE name IN (\
     'server_version', 'data_directory', 'fsync', 'synchronous_commit', 'full_page_writes', 'wal_sync_method', \
     'synchronous_standby_names', 'max_connections', 'idle_session_timeout')";

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
    let psql = programs().ok().map(|bin| bin.join("psql")).or_else(|| child::on_path("psql"));
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

/// Removes the System V segment that the server of this data folder keeps as an interlock, and leaves behind when
/// it is killed. Only when the process that made it is the one that the folder names, and nobody uses it: those that were
/// killed with the server a moment ago may still hold it, and once the folder is gone nobody knows of it any more.
fn remove_segment(data: &Path) {
    let Some((maker, segment)) = recorded_segment(data) else { return };
    for _ in 0..200 {
        let table = fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
        // Columns: key, shmid, perms, size, cpid, lpid, nattch, …
        let users = table.lines().skip(1).find_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let ours = columns.get(1) == Some(&segment.as_str()) && columns.get(4) == Some(&maker.as_str());
            ours.then(|| columns.get(6).map(|users| *users != "0")).flatten()
        });
        match users {
            None => return,
            Some(true) => child::nap(),
            Some(false) => {
                let result = Command::new("ipcrm").args(["-m", &segment]).output();
                if !result.is_ok_and(|output| output.status.success()) {
                    tracing::warn!(segment, "a shared memory segment of PostgreSQL could not be removed");
                }
                return;
            }
        }
    }
}

/// From `postmaster.pid`: the server's process id on line 1; key and id of its segment on line 7.
fn recorded_segment(data: &Path) -> Option<(String, String)> {
    let record = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    // A minus stands before that of one that serves no clients, such as those that `initdb` starts.
    let maker = record.lines().next()?.trim().trim_start_matches('-').to_owned();
    let segment = record.lines().nth(6)?.split_whitespace().nth(1)?.to_owned();
    Some((maker, segment))
}

#[cfg(test)]
mod tests {
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
}
