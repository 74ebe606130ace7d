//! The requests over the client library: its sessions, its connections and its errors stay here.

use std::fmt;
use std::mem::forget;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use zookeeper_client::{Acls, Client, CreateMode, Error, EventType, LockOptions, LockPrefix, SessionState};

use super::no_delay::no_delay;
use super::requests::{Created, Event, Failure, Found, Opened, Reply, Requests, Watch};
use super::url::Ensemble;
use crate::backends::common::{CONNECT_TIMEOUT, asked};
use crate::session::LockError;

/// The library keeps a session alive as long as a client exists.
struct Wire {
    client: Client,
    /// Of what it creates.
    acls: Acls<'static>,
}

/// Opens a session with that timeout, or the nearest that the server grants.
pub(super) async fn connect(ensemble: &Ensemble, session_timeout: Duration) -> Result<Opened, LockError> {
    let connector = Client::connector().with_session_timeout(session_timeout).with_fail_eagerly();
    let client = timeout(CONNECT_TIMEOUT, ensemble.connect(connector))
        .await
        .map_err(|_| LockError::Unavailable("no answer from zookeeper".to_owned()))??;
    let cluster = ensemble.cluster();
    no_delay(&cluster).await;
    let mut states = client.state_watcher();
    let ended = Box::pin(async move {
        loop {
            match states.changed().await {
                state if state.is_terminated() => return,
                // A new connection.
                SessionState::SyncConnected => no_delay(&cluster).await,
                _ => {}
            }
        }
    });
    Ok(Opened {
        timeout: client.session_timeout(),
        requests: Arc::new(Wire { client, acls: ensemble.acls() }),
        ended,
    })
}

impl Requests for Wire {
    fn create<'a>(&'a self, prefix: &'a str, data: &'a [u8]) -> Reply<'a, Created> {
        let options = CreateMode::EphemeralSequential.with_acls(self.acls);
        let created = self.client.create(prefix, data, &options);
        asked(async move {
            let (stat, sequence) = created.await.map_err(failure)?;
            let path = format!("{prefix}{sequence}");
            Ok(Created { path, sequence: sequence.into_i64(), czxid: stat.czxid })
        })
    }

    fn put_if_absent<'a>(&'a self, path: &'a str, data: &'a [u8]) -> Reply<'a, i64> {
        let created = self.client.create(path, data, &CreateMode::Ephemeral.with_acls(self.acls));
        asked(async move { Ok(created.await.map_err(failure)?.0.czxid) })
    }

    fn mkdir<'a>(&'a self, path: &'a str) -> Reply<'a, ()> {
        asked(async move {
            let container = CreateMode::Container.with_acls(self.acls);
            self.client.mkdir(path, &container).await.map_err(failure)
        })
    }

    fn children<'a>(&'a self, path: &'a str) -> Reply<'a, Vec<String>> {
        let listed = self.client.list_children(path);
        asked(async move { listed.await.map_err(failure) })
    }

    fn exists<'a>(&'a self, path: &'a str) -> Reply<'a, Option<i64>> {
        let stat = self.client.check_stat(path);
        asked(async move { Ok(stat.await.map_err(failure)?.map(|stat| stat.czxid)) })
    }

    fn read<'a>(&'a self, path: &'a str) -> Reply<'a, Found> {
        let read = self.client.get_data(path);
        asked(async move {
            let (data, stat) = read.await.map_err(failure)?;
            Ok(Found { data, czxid: stat.czxid })
        })
    }

    fn watch<'a>(&'a self, path: &'a str) -> Reply<'a, Watch> {
        let read = self.client.get_and_watch_data(path);
        asked(async move {
            let (_, _, watcher) = read.await.map_err(failure)?;
            let happened = async {
                let event = watcher.changed().await;
                match event.event_type {
                    EventType::NodeDeleted => Event::Deleted,
                    EventType::Session if event.session_state.is_terminated() => Event::SessionEnded,
                    _ => Event::Changed,
                }
            };
            Ok(Box::pin(happened) as Watch)
        })
    }

    fn delete<'a>(&'a self, path: &'a str) -> Reply<'a, ()> {
        let deleted = self.client.delete(path, None);
        asked(async move { deleted.await.map_err(failure) })
    }

    fn sync<'a>(&'a self, path: &'a str) -> Reply<'a, ()> {
        let synced = self.client.sync(path);
        asked(async move { synced.await.map_err(failure) })
    }

    fn lock<'a>(&'a self, prefix: &'a str, data: &'a [u8]) -> Reply<'a, String> {
        asked(async move {
            let parents = CreateMode::Container.with_acls(self.acls);
            let options = LockOptions::new(self.acls).with_ancestor_options(parents);
            let prefix = LockPrefix::new_custom(prefix.to_owned(), "").map_err(failure)?;
            let lock = self.client.lock(prefix, data, options.map_err(failure)?).await.map_err(failure)?;
            let path = lock.lock_path().to_owned();
            // Its drop would delete the node.
            forget(lock);
            Ok(path)
        })
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

fn failure(error: Error) -> Failure {
    match error {
        Error::ConnectionLoss | Error::Timeout | Error::Custom(_) => Failure::Unanswered(error.to_string()),
        Error::SessionExpired | Error::SessionMoved | Error::ClientClosed | Error::AuthFailed => {
            Failure::SessionEnded
        }
        Error::NoNode => Failure::NoNode,
        Error::NodeExists => Failure::NodeExists,
        // What only its creator may touch has none: the server has let in an account that it does not know, as nobody.
        Error::InvalidAcl => Failure::Refused(
            "the server does not know who this is: it has no such account, or no SASL".to_owned(),
        ),
        error => Failure::Refused(error.to_string()),
    }
}
