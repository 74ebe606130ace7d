import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.locks.InterProcessLock;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreMutex;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.ExponentialBackoffRetry;

/** Curator's InterProcessMutex, or its semaphore mutex, as a contender of lockbench: one session a node. */
public final class CuratorMutex {
    /** What is held, and in which session. */
    private record Held(InterProcessLock mutex, long session) { }

    private static long session(CuratorFramework client) throws Exception {
        return client.getZookeeperClient().getZooKeeper().getSessionId();
    }

    public static void main(String[] args) throws Exception {
        boolean semaphore = args.length > 0 && args[0].equals("semaphore");
        int ttlMs = Integer.parseInt(System.getenv("LOCKBENCH_TTL_MS"));
        String hosts = System.getenv("LOCKBENCH_ENDPOINT").replaceFirst("^zookeeper://", "");
        CuratorFramework client =
                CuratorFrameworkFactory.newClient(hosts, ttlMs, 5_000, new ExponentialBackoffRetry(100, 3));
        client.start();
        client.blockUntilConnected(15, TimeUnit.SECONDS);
        Port port = new Port(new Port.Lock() {
            @Override
            public Port.Granted acquire(String key, long withinMs) throws Exception {
                // Any text is a name: a slash would make one key another's folder.
                String path = "/lockbench/" + HexFormat.of().formatHex(key.getBytes(StandardCharsets.UTF_8));
                InterProcessLock mutex =
                        semaphore ? new InterProcessSemaphoreMutex(client, path) : new InterProcessMutex(client, path);
                long session = session(client);
                boolean taken = mutex.acquire(withinMs, TimeUnit.MILLISECONDS);
                return taken ? new Port.Granted(new Held(mutex, session)) : null;
            }

            @Override
            public boolean release(Object held) throws Exception {
                Held own = (Held) held;
                own.mutex.release();
                // It does not say that there was nothing to delete; after its session, there was not.
                return session(client) == own.session;
            }
        });
        client.getConnectionStateListenable().addListener((of, state) -> {
            if (state == ConnectionState.LOST) {
                port.lost("the session has expired");
            }
        });
        if (semaphore) {
            port.serve("Curator 5.9.0", "waits", "lease", "reports_loss");
        } else {
            port.serve("Curator 5.9.0", "waits", "lease", "fair", "reports_loss");
        }
        port.drained();
        client.close();
        System.exit(0);
    }
}
