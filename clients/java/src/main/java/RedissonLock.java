import java.util.concurrent.TimeUnit;
import org.redisson.Redisson;
import org.redisson.api.RFencedLock;
import org.redisson.api.RLock;
import org.redisson.api.RedissonClient;
import org.redisson.config.Config;

/** Redisson's RLock, its fair or its fenced one, as a contender of lockbench: its watchdog renews, no lease time is given. */
public final class RedissonLock {
    private static Port.Granted fenced(RFencedLock lock, long withinMs) throws InterruptedException {
        // Without a time to wait, the method of that name waits all the same, until the lock is free (4.7.0).
        Long token = lock.tryLockAndGetToken(withinMs, TimeUnit.MILLISECONDS);
        return token == null ? null : new Port.Granted(lock, token, null);
    }

    private static Port.Granted plain(RLock lock, long withinMs) throws InterruptedException {
        boolean taken = withinMs > 0 ? lock.tryLock(withinMs, TimeUnit.MILLISECONDS) : lock.tryLock();
        return taken ? new Port.Granted(lock) : null;
    }

    public static void main(String[] args) throws Exception {
        String which = args.length > 0 ? args[0] : "plain";
        Config config = new Config();
        config.setLockWatchdogTimeout(Long.parseLong(System.getenv("LOCKBENCH_TTL_MS")));
        config.useSingleServer().setAddress(System.getenv("LOCKBENCH_ENDPOINT"));
        RedissonClient client = Redisson.create(config);
        Port port = new Port(new Port.Lock() {
            @Override
            public Port.Granted acquire(String key, long withinMs) throws InterruptedException {
                return switch (which) {
                    case "fair" -> plain(client.getFairLock(key), withinMs);
                    case "fenced" -> fenced(client.getFencedLock(key), withinMs);
                    default -> plain(client.getLock(key), withinMs);
                };
            }

            @Override
            public boolean release(Object held) {
                try {
                    ((RLock) held).unlock();
                    return true;
                } catch (IllegalMonitorStateException error) {
                    return false;
                }
            }
        });
        switch (which) {
            case "fair" -> port.serve("Redisson 4.7.0", "waits", "lease", "fair");
            case "fenced" -> port.serve("Redisson 4.7.0", "waits", "lease", "token");
            default -> port.serve("Redisson 4.7.0", "waits", "lease");
        }
        port.drained();
        client.shutdown();
        System.exit(0);
    }
}
