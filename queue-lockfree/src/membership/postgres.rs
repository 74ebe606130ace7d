//! Membership through a heartbeat table in PostgreSQL, on the database's clock alone.
//!
//! Each round a member writes its heartbeat, deletes the rows of those that it suspected the round before and that have
//! not moved since, and reads the view. Whoever inserts or deletes a row raises the epoch in the same transaction; epoch
//! and members are read in one statement.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Executor as _, Row as _};
use tokio::runtime::Handle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Membership;
use crate::ring::{HashKind, Member, NodeId, Ring};

/// Of the original, at factor 1.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Heartbeats without a sign of life after which a member is suspected, and after which one that cannot reach the
/// database stops itself: (5 failures + 1), as in the original.
const SUSPECT_AFTER: u32 = 6;

const SET_UP: &str = "
    SELECT pg_advisory_xact_lock(7311843900);
    CREATE TABLE IF NOT EXISTS lockbench_ring_epoch (
        singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
        epoch bigint NOT NULL
    );
    INSERT INTO lockbench_ring_epoch (epoch) VALUES (0) ON CONFLICT DO NOTHING;
    CREATE TABLE IF NOT EXISTS lockbench_ring_member (
        id integer PRIMARY KEY,
        name text NOT NULL UNIQUE,
        address text NOT NULL,
        joined_epoch bigint NOT NULL,
        heartbeat timestamptz NOT NULL DEFAULT clock_timestamp()
    )";
/// Takes the row lock that puts all changes of membership in order.
const LOCK_EPOCH: &str = "SELECT epoch FROM lockbench_ring_epoch FOR UPDATE";
const RAISE_EPOCH: &str = "UPDATE lockbench_ring_epoch SET epoch = epoch + $1 RETURNING epoch";
const FORGET_FORMER: &str = "DELETE FROM lockbench_ring_member WHERE id = $1 OR name = $2";
const INSERT: &str =
    "INSERT INTO lockbench_ring_member (id, name, address, joined_epoch) VALUES ($1, $2, $3, $4)";
const BEAT: &str =
    "UPDATE lockbench_ring_member SET heartbeat = clock_timestamp() WHERE id = $1 AND joined_epoch = $2";
const DELETE_SUSPECT: &str =
    "DELETE FROM lockbench_ring_member WHERE id = $1 AND joined_epoch = $2 AND heartbeat::text = $3";
const DELETE_SELF: &str = "DELETE FROM lockbench_ring_member WHERE id = $1 AND joined_epoch = $2";
/// A heartbeat in the future is as suspect as one in the past.
const VIEW: &str = "
    SELECT epoch, id, name, address, joined_epoch, heartbeat::text AS heartbeat,
        abs(extract(epoch FROM clock_timestamp() - heartbeat))::float8 > $1 AS suspect
    FROM lockbench_ring_epoch LEFT JOIN lockbench_ring_member ON true ORDER BY id";

/// How a node takes part in the ring.
#[derive(Clone)]
pub struct PgMemberOptions {
    /// The database: `postgres://USER[:PASSWORD]@HOST:PORT/DATABASE`. All members use the same.
    pub url: String,
    /// The node, with the address that its listener got.
    pub member: Member,
    /// Where the views go: the membership that the node was started with.
    pub membership: Membership,
    /// The same at all members.
    pub hash: HashKind,
    /// Scales every interval. At 1 they are those of the original: a heartbeat each 5 s, suspected after 30 s, evicted
    /// one round later.
    pub factor: f64,
}

impl fmt::Debug for PgMemberOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the URL, which may hold a password.
        f.debug_struct("PgMemberOptions")
            .field("member", &self.member)
            .field("factor", &self.factor)
            .finish_non_exhaustive()
    }
}

/// Why the database could not be used.
#[derive(Debug, thiserror::Error)]
pub enum PgMembershipError {
    /// It refused, or the connection broke.
    #[error("the membership database: {0}")]
    Database(#[from] sqlx::Error),
    /// It did not answer within the time after which a member is suspected.
    #[error("the membership database does not answer")]
    Silent,
    /// A row that no member of this version can have written.
    #[error("the membership table has a row that is no member: {0}")]
    Row(String),
}

/// A node's membership of the ring, kept up by heartbeats until it leaves, is evicted, or this is dropped.
///
/// Dropped, it falls silent as a node that dies does: the others evict it in time. [`PgMember::leave`] tells them at once.
#[must_use = "a dropped member falls silent and is evicted"]
pub struct PgMember {
    options: PgMemberOptions,
    joined_epoch: i64,
    /// Ends the heartbeats.
    silent: CancellationToken,
    stopped: CancellationToken,
    beats: TaskTracker,
}

impl PgMember {
    /// Enters the node in the table, instead of its former self if it was there, and installs the first view. Needs a
    /// tokio runtime, for the heartbeats.
    ///
    /// # Errors
    ///
    /// [`PgMembershipError`].
    pub async fn join(options: PgMemberOptions) -> Result<Self, PgMembershipError> {
        let patience = options.interval() * SUSPECT_AFTER;
        let joining = async {
            let mut database = connect(&options.url).await?;
            let joined_epoch = enter(&mut database, &options.member).await?;
            let mut pulse = Pulse { options: options.clone(), joined_epoch, suspects: Vec::new() };
            pulse.look(&mut database).await?;
            Ok((database, pulse))
        };
        // At a small factor this is short, and connecting takes what it takes.
        let joined = timeout(patience.max(HEARTBEAT), joining).await;
        let (database, pulse) = joined.unwrap_or(Err(PgMembershipError::Silent))?;
        let (silent, stopped, beats) =
            (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
        let (joined_epoch, until) = (pulse.joined_epoch, silent.clone());
        let stops = stopped.clone();
        let beating = async move {
            if until.run_until_cancelled(pulse.beat(database)).await.is_some() {
                stops.cancel();
            }
        };
        beats.spawn_on(beating, &Handle::current());
        Ok(Self { options, joined_epoch, silent, stopped, beats })
    }

    /// Cancelled when the node must stop: others have evicted it, or it could not reach the database for as long as
    /// they wait before they do.
    pub fn stopped(&self) -> &CancellationToken {
        &self.stopped
    }

    /// Takes the node out of the table and ends the heartbeats.
    ///
    /// # Errors
    ///
    /// [`PgMembershipError`]; the others then evict the node as if it had died.
    pub async fn leave(self) -> Result<(), PgMembershipError> {
        self.silent.cancel();
        self.beats.close();
        self.beats.wait().await;
        let leaving = async {
            let mut database = connect(&self.options.url).await?;
            let mut change = database.begin().await?;
            change.execute(LOCK_EPOCH).await?;
            let id = i32::from(self.options.member.id.0);
            let gone =
                sqlx::query(DELETE_SELF).bind(id).bind(self.joined_epoch).execute(&mut *change).await?;
            sqlx::query(RAISE_EPOCH).bind(gone.rows_affected() as i64).execute(&mut *change).await?;
            change.commit().await?;
            Ok(())
        };
        let patience = self.options.interval() * SUSPECT_AFTER;
        timeout(patience.max(HEARTBEAT), leaving).await.unwrap_or(Err(PgMembershipError::Silent))
    }
}

impl Drop for PgMember {
    fn drop(&mut self) {
        self.silent.cancel();
    }
}

impl fmt::Debug for PgMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgMember").field("options", &self.options).finish_non_exhaustive()
    }
}

impl PgMemberOptions {
    fn interval(&self) -> Duration {
        HEARTBEAT.mul_f64(self.factor)
    }
}

/// What a member does in each round.
struct Pulse {
    options: PgMemberOptions,
    joined_epoch: i64,
    /// Of the round before: id, when it joined, its heartbeat then.
    suspects: Vec<(i32, i64, String)>,
}

impl Pulse {
    /// Rounds until the node has to stop.
    async fn beat(mut self, database: PgConnection) {
        let every = self.options.interval();
        let id = self.options.member.id;
        let mut rounds = interval(every);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut database = Some(database);
        let mut alive_since = Instant::now();
        loop {
            rounds.tick().await;
            let begun = Instant::now();
            match timeout(every * SUSPECT_AFTER / 2, self.round(&mut database)).await {
                Ok(Ok(true)) => alive_since = begun,
                Ok(Ok(false)) => {
                    tracing::warn!(node = %id, "this node was evicted by others");
                    return;
                }
                failed => {
                    // A statement that was cut off leaves the connection in the middle of an answer.
                    database = None;
                    tracing::warn!(node = %id, ?failed, "a heartbeat failed");
                }
            }
            if alive_since.elapsed() >= every * SUSPECT_AFTER {
                tracing::warn!(node = %id, "this node cannot reach the membership database, and stops");
                return;
            }
        }
    }

    /// One round; false if this node's row is gone.
    async fn round(&mut self, database: &mut Option<PgConnection>) -> Result<bool, PgMembershipError> {
        let database = match database {
            Some(database) => database,
            None => database.insert(connect(&self.options.url).await?),
        };
        let id = i32::from(self.options.member.id.0);
        let beaten = sqlx::query(BEAT).bind(id).bind(self.joined_epoch).execute(&mut *database).await?;
        let is_member = beaten.rows_affected() == 1;
        if is_member {
            for (id, joined_epoch, heartbeat) in std::mem::take(&mut self.suspects) {
                let mut change = database.begin().await?;
                change.execute(LOCK_EPOCH).await?;
                let query = sqlx::query(DELETE_SUSPECT).bind(id).bind(joined_epoch).bind(heartbeat);
                let evicted = query.execute(&mut *change).await?.rows_affected();
                sqlx::query(RAISE_EPOCH).bind(evicted as i64).execute(&mut *change).await?;
                change.commit().await?;
                if evicted > 0 {
                    tracing::warn!(node = id, by = %self.options.member.id, "a silent node was evicted");
                }
            }
        }
        // Also when it is out: its tasks are then told that their keys are lost.
        self.look(database).await?;
        Ok(is_member)
    }

    /// Reads the view, installs it, and notes who is suspect.
    async fn look(&mut self, database: &mut PgConnection) -> Result<(), PgMembershipError> {
        let suspect_after_s = (self.options.interval() * SUSPECT_AFTER).as_secs_f64();
        let rows = sqlx::query(VIEW).bind(suspect_after_s).fetch_all(database).await?;
        let (mut epoch, mut members) = (0, Vec::new());
        self.suspects.clear();
        for row in rows {
            epoch = row.try_get::<i64, _>("epoch")?;
            let Some(id) = row.try_get::<Option<i32>, _>("id")? else { continue };
            let (name, address) = (row.try_get::<String, _>("name")?, row.try_get::<String, _>("address")?);
            let number = u16::try_from(id).map_err(|_| PgMembershipError::Row(format!("id {id}")))?;
            let address = SocketAddr::from_str(&address)
                .map_err(|_| PgMembershipError::Row(format!("address {address}")))?;
            if row.try_get("suspect")? && number != self.options.member.id.0 {
                self.suspects.push((id, row.try_get("joined_epoch")?, row.try_get("heartbeat")?));
            }
            members.push(Member { id: NodeId(number), name, address });
        }
        let epoch = u64::try_from(epoch).map_err(|_| PgMembershipError::Row(format!("epoch {epoch}")))?;
        let PgMemberOptions { member, membership, .. } = &self.options;
        membership.set_evicted(members.iter().all(|other| other.id != member.id));
        if epoch > membership.view().epoch() {
            membership.install(Ring::new(epoch, self.options.hash, members));
        }
        Ok(())
    }
}

async fn connect(url: &str) -> Result<PgConnection, sqlx::Error> {
    PgConnection::connect_with(&PgConnectOptions::from_str(url)?).await
}

/// Makes the tables if need be and inserts the node; returns its epoch.
async fn enter(database: &mut PgConnection, member: &Member) -> Result<i64, sqlx::Error> {
    sqlx::raw_sql(SET_UP).execute(&mut *database).await?;
    let id = i32::from(member.id.0);
    let mut change = database.begin().await?;
    change.execute(LOCK_EPOCH).await?;
    let former = sqlx::query(FORGET_FORMER).bind(id).bind(&member.name).execute(&mut *change).await?;
    // Its former self left and it joined: two changes, so that nobody takes them for none.
    let changes = former.rows_affected() as i64 + 1;
    let epoch: i64 =
        sqlx::query(RAISE_EPOCH).bind(changes).fetch_one(&mut *change).await?.try_get("epoch")?;
    let insert = sqlx::query(INSERT).bind(id).bind(&member.name).bind(member.address.to_string()).bind(epoch);
    insert.execute(&mut *change).await?;
    change.commit().await?;
    Ok(epoch)
}
