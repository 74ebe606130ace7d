//! Whether the server takes writes: a standby has the same tables, but locks of its own, which exclude nobody at the primary.

use sqlx::{PgConnection, Row as _};
use tokio::time::timeout;

use crate::backends::common::CONNECT_TIMEOUT;
use crate::session::{LockError, unavailable};

/// # Errors
/// [`LockError::Unavailable`] from a standby, with what to do, and without an answer.
pub(super) async fn takes_writes(connection: &mut PgConnection) -> Result<(), LockError> {
    // As a simple query, since a prepared one is of the session that prepared it, which a pooler may lend.
    let asking = sqlx::raw_sql("SELECT pg_is_in_recovery()").fetch_one(connection);
    let silent = |_| LockError::Unavailable("no answer from postgres".to_owned());
    let asked = timeout(CONNECT_TIMEOUT, asking).await.map_err(silent)?;
    let is_standby: bool = asked.and_then(|row| row.try_get(0)).map_err(unavailable)?;
    if is_standby {
        let why = "this is a standby, which takes no writes, and whose locks exclude nobody at its primary: give the primary";
        return Err(LockError::Unavailable(why.to_owned()));
    }
    Ok(())
}
