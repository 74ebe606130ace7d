//! What others have on a server, of each product: put there, and read back to the last detail that its clients can see.

use std::fmt::Write as _;

use futures_util::StreamExt as _;
use harness::servers::Server;
use sqlx::{Connection as _, MySqlConnection, PgConnection, Row as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Something of others, called nearly as what is lockbench's where that is possible.
pub(crate) async fn put(server: &Server) {
    let url = server.endpoint();
    match server.kind().name() {
        "redis" => {
            let put = [
                "SET a 1",
                "RPUSH b x y z",
                "HSET c f v g w",
                "SET lockbenches theirs",
                "SELECT 3",
                "SET d 2",
            ];
            drop(say(server, &put).await);
        }
        "postgres" => {
            let mut connection = PgConnection::connect(url).await.unwrap();
            let sql = "CREATE SCHEMA jobs; CREATE TABLE jobs.job (id serial PRIMARY KEY, what text); \
                       INSERT INTO jobs.job (what) VALUES ('a'), ('b'); CREATE TABLE lockbenches (id int); \
                       INSERT INTO lockbenches VALUES (7)";
            sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        }
        "mariadb" => {
            let mut connection = MySqlConnection::connect(url).await.unwrap();
            for sql in [
                "CREATE TABLE lockbenches (id int PRIMARY KEY, what text)",
                "INSERT INTO lockbenches VALUES (7, 'a'), (8, 'b')",
            ] {
                sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
            }
        }
        "etcd" => {
            let mut client = etcd_client::Client::connect([url], None).await.unwrap();
            for (key, value) in [("lockbenches/1", "theirs"), ("a", "1")] {
                client.put(key, value, None).await.unwrap();
            }
        }
        "zookeeper" => {
            use zookeeper_client::{Acls, Client, CreateMode};
            let client = Client::connect(url).await.unwrap();
            let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
            for (path, data) in [("/lockbenches", "theirs"), ("/lockbenches/a", "1")] {
                client.create(path, data.as_bytes(), &options).await.unwrap();
            }
        }
        "nats" => {
            let context = nats(server).await;
            let config = async_nats::jetstream::stream::Config {
                name: "lockbenches".to_owned(),
                subjects: vec!["lockbenches.>".to_owned()],
                ..Default::default()
            };
            context.create_stream(config).await.unwrap();
            for payload in ["a", "b"] {
                context.publish("lockbenches.x", payload.into()).await.unwrap().await.unwrap();
            }
        }
        name => panic!("{name}: what could be on it?"),
    }
}

/// All of it, in one text.
pub(crate) async fn read(server: &Server) -> String {
    let url = server.endpoint();
    let mut all = String::new();
    match server.kind().name() {
        "redis" => {
            let dumps = ["DUMP a", "DUMP b", "DUMP c", "DUMP lockbenches", "SELECT 3", "DUMP d", "DBSIZE"];
            // Bytes, each as a character of its own.
            all.extend(say(server, &dumps).await.into_iter().map(char::from));
        }
        "postgres" => {
            let mut connection = PgConnection::connect(url).await.unwrap();
            for sql in [
                "SELECT string_agg(t::text || ctid::text || xmin::text, ' ' ORDER BY id) FROM jobs.job t",
                "SELECT string_agg(t::text || ctid::text || xmin::text, ' ' ORDER BY id) FROM lockbenches t",
                "SELECT last_value::text FROM jobs.job_id_seq",
                "SELECT string_agg(n.nspname || '.' || c.relname || ' ' || c.relfilenode, ' ' ORDER BY c.oid) FROM pg_class c \
                    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname IN ('jobs', 'public') AND c.relname !~ '^lockbench_'",
            ] {
                let text: String = sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap();
                writeln!(all, "{text}").unwrap();
            }
        }
        "mariadb" => {
            let mut connection = MySqlConnection::connect(url).await.unwrap();
            let rows = "SELECT GROUP_CONCAT(CONCAT(id, '=', what) ORDER BY id) FROM lockbenches";
            let rows: String = sqlx::query_scalar(rows).fetch_one(&mut connection).await.unwrap();
            let made =
                sqlx::raw_sql("SHOW CREATE TABLE lockbenches").fetch_one(&mut connection).await.unwrap();
            let made: String = made.try_get_unchecked(1).unwrap();
            let sum = sqlx::raw_sql("CHECKSUM TABLE lockbenches").fetch_one(&mut connection).await.unwrap();
            let sum: i64 = sum.try_get_unchecked(1).unwrap();
            writeln!(all, "{rows} {made} {sum}").unwrap();
        }
        "etcd" => {
            let mut client = etcd_client::Client::connect([url], None).await.unwrap();
            let everything = etcd_client::GetOptions::new().with_all_keys();
            for one in client.get("", Some(everything)).await.unwrap().kvs() {
                let key = one.key_str().unwrap();
                if !key.starts_with("lockbench/") {
                    let (value, made, changed) =
                        (one.value_str().unwrap(), one.create_revision(), one.mod_revision());
                    writeln!(all, "{key} {value} {made} {changed} {}", one.lease()).unwrap();
                }
            }
        }
        "zookeeper" => {
            let client = zookeeper_client::Client::connect(url).await.unwrap();
            for path in ["/lockbenches", "/lockbenches/a"] {
                writeln!(all, "{path} {:?}", client.get_data(path).await.unwrap()).unwrap();
            }
            let names = client.list_children("/").await.unwrap();
            let theirs: Vec<_> = names.iter().filter(|name| !is_ours(name)).collect();
            writeln!(all, "{theirs:?}").unwrap();
        }
        "nats" => {
            let context = nats(server).await;
            let stream = context.get_stream("lockbenches").await.unwrap();
            for sequence in 1..=2 {
                writeln!(all, "{:?}", stream.get_raw_message(sequence).await.unwrap()).unwrap();
            }
            writeln!(all, "{:?}", stream.cached_info().state).unwrap();
            let names = context.stream_names().map(Result::unwrap).collect::<Vec<_>>().await;
            let theirs: Vec<_> = names.iter().filter(|name| !is_ours(name)).collect();
            writeln!(all, "{theirs:?}").unwrap();
        }
        name => panic!("{name}: what is on it?"),
    }
    all
}

/// Of a stream, or of a node at the top.
fn is_ours(name: &str) -> bool {
    let name = name.strip_prefix("KV_").unwrap_or(name);
    name.starts_with("lockbench") && name != "lockbenches"
}

async fn nats(server: &Server) -> async_nats::jetstream::Context {
    let (login, place) = server.endpoint().strip_prefix("nats://").unwrap().split_once('@').unwrap();
    let (user, password) = login.split_once(':').unwrap();
    let options = async_nats::ConnectOptions::with_user_and_password(user.into(), password.into());
    async_nats::jetstream::new(options.connect(place).await.unwrap())
}

/// Says commands to a Redis server and returns its answers, as bytes.
async fn say(server: &Server, commands: &[&str]) -> Vec<u8> {
    let (password, address) = server.endpoint().strip_prefix("redis://:").unwrap().split_once('@').unwrap();
    let mut connection = TcpStream::connect(address).await.unwrap();
    let all = format!("AUTH {password}\r\n{}\r\nQUIT\r\n", commands.join("\r\n"));
    connection.write_all(all.as_bytes()).await.unwrap();
    let mut answers = Vec::new();
    connection.read_to_end(&mut answers).await.unwrap();
    answers
}
