//! ZooKeeper: nodes below the root of the URL.

use std::fmt;

use zookeeper_client::{Client, Error};

use crate::session::{BoxFuture, Contents, Endpoint, Held, LockError, unavailable};

/// Nodes of ours, and the server's own.
const OURS: [&str; 2] = ["lockbench", "lockbench-bare"];
const ITS_OWN: &str = "zookeeper";

pub(super) struct Zookeeper(Client);

impl fmt::Debug for Zookeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Zookeeper")
    }
}

impl Zookeeper {
    pub(super) async fn connect(endpoint: &Endpoint) -> Result<Self, LockError> {
        let ensemble = super::url::ensemble(endpoint)?;
        ensemble.connect(Client::connector().with_fail_eagerly()).await.map(Self)
    }

    async fn top(&self) -> Result<Vec<String>, LockError> {
        match self.0.list_children("/").await {
            Ok(top) => Ok(top),
            // The root of the URL comes with the first lock.
            Err(Error::NoNode) => Ok(Vec::new()),
            Err(error) => Err(unavailable(error)),
        }
    }
}

impl Contents for Zookeeper {
    fn held(&self) -> BoxFuture<'_, Result<Held, LockError>> {
        Box::pin(async {
            let top = self.top().await?;
            let ours = top.iter().filter(|name| OURS.contains(&name.as_str())).count() as u64;
            let its_own = u64::from(top.iter().any(|name| name == ITS_OWN));
            Ok(Held { ours, others: Some(top.len() as u64 - ours - its_own) })
        })
    }

    fn clear(&self) -> BoxFuture<'_, Result<(), LockError>> {
        Box::pin(async {
            let ours = self.top().await?.into_iter().filter(|name| OURS.contains(&name.as_str()));
            // A node goes after all that is below it.
            let mut left: Vec<(String, bool)> = ours.map(|name| (format!("/{name}"), false)).collect();
            while let Some((path, emptied)) = left.pop() {
                if emptied {
                    match self.0.delete(&path, None).await {
                        // Somebody put a node there meanwhile, or the server removed this one.
                        Ok(()) | Err(Error::NoNode | Error::NotEmpty) => continue,
                        Err(error) => return Err(unavailable(error)),
                    }
                }
                let below = match self.0.list_children(&path).await {
                    Ok(below) => below,
                    Err(Error::NoNode) => continue,
                    Err(error) => return Err(unavailable(error)),
                };
                left.push((path.clone(), true));
                left.extend(below.into_iter().map(|name| (format!("{path}/{name}"), false)));
            }
            Ok(())
        })
    }
}
