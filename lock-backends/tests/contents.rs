//! What is on a server is counted, ours apart from what is others', and clearing it takes ours alone.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod support;

use harness::servers::Server;
use lock_backends::{ClientOptions, Endpoint, Held, LockClient, SessionOptions, server};
use support::{PATIENCE, TTL, of_each_server, start, unique};

of_each_server!(ours_is_told_from_what_is_others);

fn ours_is_told_from_what_is_others(name: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let Some(running) = start(name).await else { return };
        let endpoint = Endpoint::from(running.endpoint());
        let server = server(name).unwrap();
        let contents = (server.contents)(&endpoint).await.unwrap();
        let held = async || contents.held().await.unwrap();
        assert_eq!(held().await, Held { ours: 0, others: Some(0) }, "{name}: a new server");

        put_something(name, &running).await;
        assert_eq!(held().await, Held { ours: 0, others: Some(1) }, "{name}: with something of others");

        (server.bare)(&endpoint).await.unwrap().write().await.unwrap();
        for variant in server.variants {
            let session = SessionOptions::new(&unique("node"), TTL);
            let node =
                LockClient::connect(variant, &endpoint, session, ClientOptions::default()).await.unwrap();
            let guard = node.acquire(&unique("key"), PATIENCE).await.unwrap();
            guard.release().await.unwrap();
            node.close().await;
        }
        let used = held().await;
        assert!(used.ours > 0 && used.others == Some(1), "{name}: {used:?}");

        contents.clear().await.unwrap();
        assert_eq!(held().await, Held { ours: 0, others: Some(1) }, "{name}: cleared");
        running.stop().await.unwrap();
    });
}

/// One thing that is not ours, called nearly so where that is possible.
async fn put_something(name: &str, running: &Server) {
    let url = running.endpoint();
    match name {
        "redis" => drop(support::say(running, "SET lockbenches:1 theirs").await),
        "postgres" => {
            use sqlx::{Connection as _, PgConnection};
            let mut connection = PgConnection::connect(url).await.unwrap();
            sqlx::raw_sql("CREATE SCHEMA jobs; CREATE TABLE jobs.job (n int)")
                .execute(&mut connection)
                .await
                .unwrap();
        }
        "mariadb" => {
            use sqlx::{Connection as _, MySqlConnection};
            let mut connection = MySqlConnection::connect(url).await.unwrap();
            sqlx::raw_sql("CREATE TABLE lockbenches (n int)").execute(&mut connection).await.unwrap();
        }
        "etcd" => {
            let mut client = etcd_client::Client::connect([url], None).await.unwrap();
            client.put("lockbenches/1", "theirs", None).await.unwrap();
        }
        "zookeeper" => {
            use zookeeper_client::{Acls, Client, CreateMode};
            let client = Client::connect(url).await.unwrap();
            let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
            client.create("/lockbenches", b"theirs", &options).await.unwrap();
        }
        "nats" => {
            let (login, place) = url.strip_prefix("nats://").unwrap().split_once('@').unwrap();
            let (user, password) = login.split_once(':').unwrap();
            let options = async_nats::ConnectOptions::with_user_and_password(user.into(), password.into());
            let context = async_nats::jetstream::new(options.connect(place).await.unwrap());
            let config = async_nats::jetstream::stream::Config {
                name: "lockbenches".to_owned(),
                ..Default::default()
            };
            context.create_stream(config).await.unwrap();
        }
        name => panic!("{name}: what could be on it?"),
    }
}
