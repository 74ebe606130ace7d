//! Whether a pooler stands between client and server that lends one session of the server's to several clients in turn: a
//! lock of a session is anybody's there, and the wrong process would be ended for a caller that left.

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio::time::timeout;

use super::primary::takes_writes;
use crate::backends::common::CONNECT_TIMEOUT;
use crate::session::{LockError, unavailable};

const LENT: LockError = LockError::Unsupported(
    "locks of a session behind a pooler that lends sessions (pool_mode transaction or statement): connect to PostgreSQL \
     itself or through pool_mode session",
);

const REFUSED: LockError = LockError::Unsupported(
    "a pooler that refuses the settings of a session: connect to PostgreSQL itself, or let it ignore them \
     (ignore_startup_parameters = extra_float_digits, options)",
);

/// Two connections are opened with these settings, to a server that takes writes, and one is in a transaction while the other asks. Two sessions of the
/// server's are two processes, and each stays the one it was; a pooler gives a query the session that it got back last, which
/// is the other one's, or another one when that is taken.
///
/// # Errors
/// [`LockError::Unsupported`] where sessions are lent, [`LockError::Unavailable`] without an answer, and of a standby.
pub(super) async fn lends_no_session(settings: &PgConnectOptions) -> Result<(), LockError> {
    let asked = async {
        let (mut one, mut other) = (settings.connect().await?, settings.connect().await?);
        let writes = takes_writes(&mut one).await;
        let first = process(&mut one).await?;
        sqlx::raw_sql("BEGIN").execute(&mut other).await?;
        let between = process(&mut other).await?;
        let last = process(&mut one).await?;
        // Of the two it is known what was asked, so it does no harm if they end without a goodbye.
        one.close().await.and(other.close().await).ok();
        Ok::<_, sqlx::Error>(writes.map(|()| first == last && between != first))
    };
    match timeout(CONNECT_TIMEOUT, asked).await {
        Ok(Ok(Ok(true))) => Ok(()),
        Ok(Ok(Ok(false))) => Err(LENT),
        Ok(Ok(Err(standby))) => Err(standby),
        Ok(Err(error)) => Err(refused(error)),
        Err(_) => Err(LockError::Unavailable("no answer from postgres".to_owned())),
    }
}

/// The server's process that answers. As a simple query, since a prepared one is of the session that prepared it.
async fn process(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    use sqlx::Row as _;
    sqlx::raw_sql("SELECT pg_backend_pid()").fetch_one(connection).await?.try_get(0)
}

/// The server itself knows all settings of ours, or names the one that it does not.
fn refused(error: sqlx::Error) -> LockError {
    match &error {
        sqlx::Error::Database(said) if said.message().contains("unsupported startup parameter") => REFUSED,
        _ => unavailable(error),
    }
}
