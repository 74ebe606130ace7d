//! Logins, on every server, with TLS and without: the right one is let in, a wrong one is told what to do, and no error has the password.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod support;

use harness::servers::{Authority, Server, ServerError, ServerKind, ServerOptions};
use lock_backends::server;
use support::{LET_IN_TTL, of_each_server, take};

of_each_server!(logins_are_asked_for);

/// Of whom a test makes known to the server. What ends a login in a URL has to be encoded there.
const USER: &str = "app";
const PASSWORD: &str = "s3cr/et:%@x";
const ENCODED: &str = "s3cr%2Fet%3A%25%40x";
const WRONG: &str = "wr0ngw0rd";

fn logins_are_asked_for(name: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::create(folder.path(), "authority").unwrap();
        for tls in [None, Some(authority.tls().unwrap())] {
            let options = ServerOptions { detect: LET_IN_TTL, tls, ..ServerOptions::default() };
            let mut running = match Server::start(ServerKind::named(name), &options).await {
                Ok(running) => running,
                Err(missing @ ServerError::Missing { .. }) if std::env::var_os("CI").is_none() => {
                    return eprintln!("skipped: {missing}");
                }
                Err(error) => panic!("{error}"),
            };
            tried(name, &mut running).await;
            running.stop().await.unwrap();
        }
    });
}

async fn tried(name: &str, running: &mut Server) {
    make_known(name, running).await;
    let right = with_login(running.endpoint(), &format!("{USER}:{ENCODED}"));
    for variant in server(name).unwrap().variants {
        take(variant, &right).await.unwrap_or_else(|error| panic!("{}: {error}", variant.name));
        for login in [format!("{USER}:{WRONG}"), format!("nobody:{WRONG}")] {
            let wrong = with_login(running.endpoint(), &login);
            let error = match take(variant, &wrong).await {
                Ok(()) => panic!("{}: let in as {login}", variant.name),
                Err(error) => error.to_string(),
            };
            // That is told at the first request, and not when it connects: another user is somebody there too.
            let told = if name == "zookeeper" { "not authorized" } else { "user or password" };
            assert!(error.contains(told), "{}: {error}", variant.name);
            assert!(!error.contains(WRONG) && !error.contains(PASSWORD), "{}: {error}", variant.name);
        }
    }
    Server::attach(running.kind(), &right).await.unwrap().stop().await.unwrap();
}

/// Makes the account.
async fn make_known(name: &str, running: &mut Server) {
    let url = &running.endpoint().to_owned();
    match name {
        "redis" => {
            let rule = format!("ACL SETUSER {USER} on >{PASSWORD} ~* &* +@all");
            let words: Vec<&str> = rule.split(' ').collect();
            let mut client = redis_connection(url).await;
            redis::cmd(words[0]).arg(&words[1..]).exec_async(&mut client).await.unwrap();
        }
        "postgres" => {
            use sqlx::{Connection as _, PgConnection};
            let mut connection = PgConnection::connect(url).await.unwrap();
            for sql in [
                format!("CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'"),
                format!("GRANT ALL ON DATABASE lockbench TO {USER}"),
                format!("GRANT ALL ON SCHEMA public TO {USER}"),
            ] {
                sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
            }
        }
        "mariadb" => {
            use sqlx::{Connection as _, MySqlConnection};
            let mut connection = MySqlConnection::connect(url).await.unwrap();
            for sql in [
                format!("CREATE USER {USER}@127.0.0.1 IDENTIFIED BY '{PASSWORD}'"),
                format!("GRANT ALL ON lockbench.* TO {USER}@127.0.0.1"),
            ] {
                sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
            }
        }
        "etcd" => {
            use etcd_client::{Certificate, Client, ConnectOptions, TlsOptions};
            let ca = harness::servers::TlsFiles::of(url).ca.map(|ca| std::fs::read_to_string(ca).unwrap());
            let options = match ca {
                Some(ca) => ConnectOptions::new()
                    .with_tls(TlsOptions::new().ca_certificate(Certificate::from_pem(ca))),
                None => ConnectOptions::new(),
            };
            let place = url.split('?').next().unwrap();
            let mut client = Client::connect([place], Some(options)).await.unwrap();
            for user in ["root", USER] {
                client.user_add(user, PASSWORD, None).await.unwrap();
                client.role_add(user).await.unwrap();
                client.user_grant_role(user, user).await.unwrap();
            }
            let everything = etcd_client::Permission::read_write("").with_all_keys();
            client.role_grant_permission(USER, everything).await.unwrap();
            client.auth_enable().await.unwrap();
        }
        // Whoever logs in by digest is known by that.
        "zookeeper" => {}
        "nats" => {
            let config = running.folder().unwrap().join("nats.conf");
            let text = std::fs::read_to_string(&config).unwrap();
            let also = format!("users: [{{ user: {USER}, password: \"{PASSWORD}\" }}, {{ user: lockbench");
            std::fs::write(&config, text.replace("users: [{ user: lockbench", &also)).unwrap();
            running.kill().await.unwrap();
            running.restart().await.unwrap();
        }
        name => panic!("{name}: how is an account made there?"),
    }
}

async fn redis_connection(url: &str) -> redis::aio::MultiplexedConnection {
    let (place, _) = url.split_once('?').unwrap_or((url, ""));
    let client = match harness::servers::TlsFiles::of(url).ca {
        Some(ca) => {
            let root_cert = Some(std::fs::read(ca).unwrap());
            redis::Client::build_with_tls(place, redis::TlsCertificates { client_tls: None, root_cert })
        }
        None => redis::Client::open(place),
    };
    client.unwrap().get_multiplexed_async_connection().await.unwrap()
}

/// The URL with this login in the place of its own.
fn with_login(url: &str, login: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("zookeeper", url));
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    format!("{scheme}://{login}@{place}")
}
