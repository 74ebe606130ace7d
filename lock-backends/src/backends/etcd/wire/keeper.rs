//! The stream on which a session's lease is renewed.

use std::time::Duration;

use etcd_client::{Client, Error, LeaseKeepAliveStream, LeaseKeeper};
use tokio::sync::Mutex;

use crate::backends::etcd::requests::Lease;

/// Empty while a renewal is under way and after one that failed: a late answer to an earlier renewal must not be taken for
/// the answer to a later one.
#[derive(Default)]
pub(super) struct Keeper(Mutex<Option<Streams>>);

/// The streams to renew a lease on, and the place of the member at their other end.
struct Streams {
    place: usize,
    lease: i64,
    sender: LeaseKeeper,
    answers: LeaseKeepAliveStream,
}

impl Keeper {
    /// One keep-alive; brings the lease's ttl, `None` when it is gone. Dropping it closes the streams.
    pub(super) async fn keep_alive(
        &self,
        place: usize,
        client: &Client,
        lease: Lease,
    ) -> Result<Option<Duration>, Error> {
        let mut keeper = self.0.lock().await;
        let ttl_s = match keeper.take().filter(|streams| (streams.place, streams.lease) == (place, lease.id))
        {
            Some(mut streams) => {
                streams.sender.keep_alive().await?;
                let answer = streams.answers.message().await?;
                let ended = || Error::LeaseKeepAliveError("stream ended".to_owned());
                let ttl_s = answer.ok_or_else(ended)?.ttl();
                *keeper = Some(streams);
                ttl_s
            }
            // Opening the streams renews too. Whether its error means that the lease is gone has to be asked.
            None => {
                let mut leases = client.lease_client();
                match leases.keep_alive(lease.id).await {
                    Ok((sender, answers)) => {
                        *keeper = Some(Streams { place, lease: lease.id, sender, answers });
                        return Ok(Some(lease.ttl));
                    }
                    Err(error) => match leases.time_to_live(lease.id, None).await?.ttl() {
                        ..=0 => 0,
                        _ => return Err(error),
                    },
                }
            }
        };
        Ok((ttl_s > 0).then(|| Duration::from_secs(ttl_s.unsigned_abs())))
    }
}
