//! MariaDB: `mariadbd` on a copy of one freshly made data folder, asked with the client program `mariadb`.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use futures_util::future::BoxFuture;
use nix::sys::signal::Signal;
use nix::unistd::User;
use tokio::time::timeout;

use crate::child;
use crate::servers::about::About;
use crate::servers::command;
use crate::servers::error::ServerError;
use crate::servers::options::{Durability, ServerOptions, Topology};
use crate::servers::parameters::Parameters;
use crate::servers::product::{Answer, Product, Seat, Start};
use crate::servers::template::{Template, Templates};
use crate::servers::tls::TlsFiles;
use crate::servers::url::Address;
use crate::servers::wire::{self, AskError};

const ABOUT: About = About {
    name: "mariadb",
    title: "MariaDB",
    packages: "mariadb-server",
    url: "mysql://user[:password]@host[:port]/database[?ssl-mode=VERIFY_IDENTITY]",
    topologies: &[Topology::Single],
    warms_s: 0.0,
    // It refuses to run as root.
    accounts: &["mysql", "nobody"],
    processes: &["mariadbd"],
    stop: Signal::SIGTERM,
    clean_up: |_| {},
    secured: &[],
    checked: Some(CHECKED),
};

/// Account and database of a private server.
const NAME: &str = "lockbench";

/// With it a client checks the server's certificate and the host name in it.
const CHECKED: &str = "ssl-mode=VERIFY_IDENTITY";

/// Of the redo log: small, so that a data folder is copied quickly.
const LOG_FILE_SIZE: &str = "--innodb-log-file-size=8M";

/// One instance.
#[derive(Debug)]
pub(super) struct Mariadb;

impl Product for Mariadb {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn find(&self, program: Option<&Path>) -> Result<(PathBuf, String), ServerError> {
        self::program("mariadb")?;
        let program = Programs::of(program)?.server;
        let output = command::says_of_itself(&program, ABOUT.title)?;
        Ok((program, number(output.split_whitespace().nth(2).unwrap_or("unknown"))))
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
        format!("mysql://{NAME}:{}@{address}/{NAME}{checked}", seat.secret.text())
    }

    fn ask<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Answer, AskError>> {
        Box::pin(ask(url))
    }

    fn effective(&self, durability: Durability) -> &'static [(&'static str, &'static str)] {
        match durability {
            // A commit is acknowledged when its redo log is written and flushed.
            Durability::Durable => &[("innodb_flush_log_at_trx_commit", "1"), ("innodb_doublewrite", "ON")],
            // The log is written and flushed once a second, whatever was acknowledged meanwhile.
            Durability::Memory => &[("innodb_flush_log_at_trx_commit", "0"), ("innodb_doublewrite", "OFF")],
        }
    }
}

/// On PATH, or in /usr/sbin, where Debian keeps the server and which is on root's PATH alone.
fn program(name: &str) -> Result<PathBuf, ServerError> {
    let administrators = Some(Path::new("/usr/sbin").join(name)).filter(|path| path.is_file());
    child::on_path(name).or(administrators).ok_or_else(|| ServerError::Missing {
        product: ABOUT.title,
        what: format!("the program {name}"),
        package: ABOUT.packages,
    })
}

/// What makes a data folder, and what serves it.
struct Programs {
    install: PathBuf,
    server: PathBuf,
    /// Of a server that is named: where what it comes with is.
    base: Option<PathBuf>,
}

impl Programs {
    fn of(named: Option<&Path>) -> Result<Self, ServerError> {
        let Some(server) = command::named(&ABOUT, named)? else {
            return Ok(Self { install: program(INSTALL)?, server: program("mariadbd")?, base: None });
        };
        let base = server.parent().and_then(Path::parent).map(Path::to_owned);
        Ok(Self { install: command::beside(&ABOUT, &server, INSTALL)?, server, base })
    }
}

const INSTALL: &str = "mariadb-install-db";

/// `10.11.19` of `10.11.19-MariaDB-0+deb12u1`.
fn number(version: &str) -> String {
    version.split('-').next().unwrap_or(version).to_owned()
}

async fn start(seat: &Seat, options: &ServerOptions) -> Result<Start, ServerError> {
    static TEMPLATES: Templates = Templates::new();
    let programs = Programs::of(options.program.as_deref())?;
    let template = TEMPLATES.of(&programs.server);
    let template = template.get_or_try_init(|| make(&programs, seat.user.as_ref())).await?;
    template.copy_to(&ABOUT, seat).await?;
    let data = seat.folder.data();
    // Carried out before the first client is let in, at each start.
    let account = format!("{NAME}@127.0.0.1");
    let (create, grant) = ("CREATE OR REPLACE USER", "GRANT ALL PRIVILEGES ON *.* TO");
    let password = seat.secret.text();
    let certificates = seat.certificates(&ABOUT)?;
    let way = match &certificates {
        Some(_) if seat.asks_for_certificates() => " REQUIRE X509",
        Some(_) => " REQUIRE SSL",
        None => "",
    };
    let init = format!(
        "{create} {account} IDENTIFIED BY '{password}'{way};\n{grant} {account} WITH GRANT OPTION;\n"
    );
    let init = seat.confide(&ABOUT, "init.sql", &init)?;
    let (flush, doublewrite) = match options.durability {
        Durability::Durable => ("1", "ON"),
        Durability::Memory => ("0", "OFF"),
    };
    let settings = [
        ("port", seat.ports[0].to_string()),
        ("bind-address", "127.0.0.1".to_owned()),
        // None: its path may be no longer than 107 bytes, which a data folder's may be.
        ("socket", String::new()),
        ("tmpdir", data.display().to_string()),
        ("pid-file", data.join("pid").display().to_string()),
        ("init-file", init.display().to_string()),
        ("max-connections", "1000".to_owned()),
        ("innodb-buffer-pool-size", "64M".to_owned()),
        ("innodb-flush-log-at-trx-commit", flush.to_owned()),
        ("innodb-doublewrite", doublewrite.to_owned()),
        // The machine has few places for it, and many servers may run side by side.
        ("innodb-use-native-aio", "OFF".to_owned()),
    ];
    let mut args = words(&data);
    args.push("--skip-name-resolve".into());
    args.extend(settings.iter().map(|(name, value)| format!("--{name}={value}").into()));
    for (name, path) in ["ssl-ca", "ssl-cert", "ssl-key"].iter().zip(certificates.into_iter().flatten()) {
        args.push(format!("--{name}={}", path.display()).into());
    }
    // It shows its data folder with a slash at the end.
    let identity = format!("{}/", data.display());
    Ok(Start { program: programs.server, args, flags: [].into(), identity })
}

/// What every one of its programs is told; that it reads no settings of the machine's has to come first.
fn words(data: &Path) -> Vec<OsString> {
    let mut datadir = OsString::from("--datadir=");
    datadir.push(data);
    vec!["--no-defaults".into(), datadir, LOG_FILE_SIZE.into()]
}

/// Makes a data folder with an empty database, and no account that could log in.
async fn make(programs: &Programs, user: Option<&User>) -> Result<Template, ServerError> {
    let folder = Template::folder(&ABOUT, user)?;
    let data = folder.data();
    let failed =
        |source| ServerError::Folder { product: ABOUT.title, action: "fill", path: data.clone(), source };
    let Programs { install, server, base } = programs;
    let mut command = command::command(&ABOUT, install, user, &folder)?;
    command.args(words(&data)).args([
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        "--skip-name-resolve",
    ]);
    if let Some(base) = base {
        let mut arg = OsString::from("--basedir=");
        arg.push(base);
        command.arg(arg);
    }
    command::to_its_end(&ABOUT, command, install, &folder).await?;

    let script = folder.path().join("create.sql");
    // The account that is left owns the views of the system and is locked.
    let accounts = "DELETE FROM mysql.global_priv WHERE User <> 'mariadb.sys';";
    fs::write(&script, format!("CREATE DATABASE {NAME};\n{accounts}\n")).map_err(failed)?;
    let mut command = command::command(&ABOUT, server, user, &folder)?;
    command.args(words(&data)).arg("--bootstrap").stdin(Stdio::from(File::open(&script).map_err(failed)?));
    command::to_its_end(&ABOUT, command, server, &folder).await?;
    Template::of(&ABOUT, folder).await
}

/// One line each: name, tab, value.
const QUESTION: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('version', 'datadir', \
     'innodb_flush_log_at_trx_commit', 'innodb_doublewrite', 'innodb_flush_method', 'log_bin', 'max_connections', \
     'wait_timeout', 'tcp_keepalive_time')";

/// What tells the client program what the URL tells a library.
fn over_tls(url: &str, files: &TlsFiles) -> Vec<OsString> {
    let parameters = Parameters::of(url);
    let mode = ["ssl-mode", "sslmode"].into_iter().find_map(|name| parameters.get(name));
    let mode = mode.map(|mode| mode.to_ascii_uppercase());
    let mut args: Vec<OsString> = match mode.as_deref() {
        Some("DISABLED") => vec!["--skip-ssl".into()],
        Some("REQUIRED" | "VERIFY_CA") => vec!["--ssl".into()],
        Some("VERIFY_IDENTITY") => vec!["--ssl".into(), "--ssl-verify-server-cert".into()],
        // As the library: without checking whom it speaks to.
        _ => Vec::new(),
    };
    for (name, path) in [("--ssl-ca=", &files.ca), ("--ssl-cert=", &files.cert), ("--ssl-key=", &files.key)] {
        if let Some(path) = path {
            let mut arg = OsString::from(name);
            arg.push(path);
            args.push(arg);
        }
    }
    args
}

async fn ask(url: &str) -> Result<Answer, AskError> {
    let address = Address::parse(url, 3306);
    let both = ["mysql", "mariadb"];
    let address = address.and_then(|address| address.spoken(&[], &both, ABOUT.url)).map_err(AskError::Url)?;
    // Cheaper than a program that finds out that nobody listens.
    drop(wire::connect(&address).await?);
    let mut command = tokio::process::Command::new(program("mariadb").map_err(AskError::Missing)?);
    // Not in the arguments, which every user of the machine can read.
    if let Some(password) = &address.password {
        command.env("MYSQL_PWD", password);
    }
    let host = address.host.trim_start_matches('[').trim_end_matches(']');
    command.args([
        "--no-defaults",
        "--protocol=tcp",
        "--connect-timeout=3",
        "--batch",
        "--skip-column-names",
    ]);
    command.args(["--host", host, "--port", &address.port.to_string()]);
    command.args(["--user", address.user.as_deref().unwrap_or("root"), "--execute", QUESTION]);
    command.args(over_tls(url, &address.files));
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
            "version" => answer.version = number(value),
            "datadir" => answer.identity = Some(value.to_owned()),
            _ => drop(answer.settings.insert(name.to_owned(), value.to_owned())),
        }
    }
    Ok(answer)
}
