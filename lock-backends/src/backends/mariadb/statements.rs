//! The statements, in SQL. Names and owners are bytes. The database's clock is `SYSDATE`, that of the moment: `NOW` is when
//! the statement began, which may have waited for a row since.

/// No server closes an idle connection of ours, and what does not fit is refused and not cut.
pub(super) const SESSION: &str = "SET SESSION wait_timeout = 31536000, time_zone = '+00:00', \
    sql_mode = 'STRICT_ALL_TABLES'; SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";

/// A row for each name that was ever leased.
pub(super) const SET_UP: &str = "CREATE TABLE IF NOT EXISTS lockbench_lease (\
    name varbinary(3072) NOT NULL PRIMARY KEY, owner varbinary(1024) NOT NULL, description mediumblob NOT NULL, \
    token bigint unsigned NOT NULL, drawn_for varbinary(1024) NOT NULL, expires datetime(6) NOT NULL) \
    ENGINE = InnoDB";

/// The number of this connection and where it comes from: a server that was started again counts anew.
pub(super) const BACKEND: &str =
    "SELECT id, CAST(host AS CHAR) FROM information_schema.processlist WHERE id = CONNECTION_ID()";

/// Name, seconds. 1 if it was granted, 0 after that time.
pub(super) const LOCK: &str = "SELECT GET_LOCK(?, ?)";

/// Name. 1 if this connection held it until now; 0 or NULL if not.
pub(super) const UNLOCK: &str = "SELECT RELEASE_LOCK(?)";

/// Connection. Where the one of that number comes from; no row when there is none.
pub(super) const FROM: &str = "SELECT CAST(host AS CHAR) FROM information_schema.processlist WHERE id = ?";

/// Name, owner, description, owner, ttl in µs. Takes the row if its lease is over, or renews it for the same owner; answers
/// owner and token as they are then. The row's lock orders contenders.
///
/// Assignments are made in order, and each sees those before it. Whether the lease is over is asked once, in the first: all
/// others follow from who the owner is now. A token is drawn for each new owner, and rises: rows are never deleted.
pub(super) const TAKE: &str = "\
    INSERT INTO lockbench_lease (name, owner, description, token, drawn_for, expires) \
    VALUES (?, ?, ?, 1, ?, SYSDATE(6) + INTERVAL ? MICROSECOND) \
    ON DUPLICATE KEY UPDATE \
        owner = IF(expires <= SYSDATE(6), VALUES(owner), owner), \
        token = IF(owner <> drawn_for, token + 1, token), \
        drawn_for = owner, \
        description = IF(owner = VALUES(owner), VALUES(description), description), \
        expires = IF(owner = VALUES(owner), VALUES(expires), expires) \
    RETURNING owner, token";

/// Name. The µs until the lease ends.
pub(super) const LEFT: &str = "SELECT TIMESTAMPDIFF(MICROSECOND, SYSDATE(6), expires) FROM lockbench_lease \
    WHERE name = ? AND expires > SYSDATE(6)";

/// Name, owner. A row if the owner still had it.
pub(super) const RELEASE: &str = "UPDATE lockbench_lease SET owner = '', expires = '1970-01-01' \
    WHERE name = ? AND owner = ? AND expires > SYSDATE(6)";

/// Name.
pub(super) const LEASE_HOLDER: &str =
    "SELECT description FROM lockbench_lease WHERE name = ? AND expires > SYSDATE(6)";

/// The ttl in µs, then the names of so many grants, then name and owner of each. As many rows as still had it.
pub(super) fn renew(grants: usize) -> String {
    let held = held(grants);
    format!("UPDATE lockbench_lease SET expires = SYSDATE(6) + INTERVAL ? MICROSECOND WHERE {held}")
}

/// The names of so many grants, then name and owner of each. Name and owner of those that still have it.
pub(super) fn which(grants: usize) -> String {
    let held = held(grants);
    format!("SELECT name, owner FROM lockbench_lease WHERE {held}")
}

/// The names by themselves are what the server looks up in the primary key.
fn held(grants: usize) -> String {
    let (names, pairs) = (vec!["?"; grants].join(", "), vec!["(?, ?)"; grants].join(", "));
    format!("name IN ({names}) AND (name, owner) IN ({pairs}) AND expires > SYSDATE(6)")
}
