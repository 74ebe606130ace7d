import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import java.net.URI;
import java.sql.Connection;
import java.sql.Statement;
import java.time.Duration;
import java.time.Instant;
import java.util.Optional;
import net.javacrumbs.shedlock.core.LockConfiguration;
import net.javacrumbs.shedlock.core.SimpleLock;
import net.javacrumbs.shedlock.provider.jdbc.JdbcLockProvider;

/** ShedLock on PostgreSQL as a contender of lockbench: a row a name, which it does not wait for. */
public final class ShedLock {
    private static final String TABLE = "lockbench_shedlock";

    /** What is held, and until when by the clock that no change of the time of day moves. */
    private record Held(SimpleLock lock, long untilNanos) { }

    private static HikariDataSource pool(URI endpoint) {
        String[] login = endpoint.getUserInfo().split(":", 2);
        HikariConfig config = new HikariConfig();
        config.setJdbcUrl("jdbc:postgresql://" + endpoint.getHost() + ":" + endpoint.getPort() + endpoint.getPath());
        config.setUsername(login[0]);
        config.setPassword(login[1]);
        return new HikariDataSource(config);
    }

    private static void table(HikariDataSource pool) throws Exception {
        try (Connection connection = pool.getConnection(); Statement statement = connection.createStatement()) {
            // Nodes begin together, and two that make one table meet.
            statement.execute("SELECT pg_advisory_lock(hashtext('" + TABLE + "'))");
            statement.execute("CREATE TABLE IF NOT EXISTS " + TABLE + " (name TEXT PRIMARY KEY, lock_until TIMESTAMP NOT NULL, "
                    + "locked_at TIMESTAMP NOT NULL, locked_by TEXT NOT NULL)");
            statement.execute("SELECT pg_advisory_unlock(hashtext('" + TABLE + "'))");
        }
    }

    public static void main(String[] args) throws Exception {
        Duration ttl = Duration.ofMillis(Long.parseLong(System.getenv("LOCKBENCH_TTL_MS")));
        HikariDataSource pool = pool(URI.create(System.getenv("LOCKBENCH_ENDPOINT")));
        table(pool);
        JdbcLockProvider provider = new JdbcLockProvider(pool, TABLE);
        Port port = new Port(new Port.Lock() {
            @Override
            public Port.Granted acquire(String key, long withinMs) {
                long until = System.nanoTime() + ttl.toNanos();
                Optional<SimpleLock> lock =
                        provider.lock(new LockConfiguration(Instant.now(), key, ttl, Duration.ZERO));
                long validMs = (until - System.nanoTime()) / 1_000_000;
                return lock.map(held -> new Port.Granted(new Held(held, until), null, validMs)).orElse(null);
            }

            @Override
            public boolean release(Object held) {
                Held own = (Held) held;
                own.lock.unlock();
                // It does not say whether there was anything to give back.
                return System.nanoTime() < own.untilNanos;
            }
        });
        port.serve("ShedLock 6.9.2", "lease");
        port.drained();
        pool.close();
        System.exit(0);
    }
}
