import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/**
 * The port of lockbench, version 1, around a library: a thread for each request, from its line to the end of its release, since locks in Java
 * belong to threads.
 */
final class Port {
    /** What is given back later, with its fencing token, and how much longer it is certain to be held, where it is not renewed. */
    record Granted(Object held, Long token, Long validMs) {
        Granted(Object held) {
            this(held, null, null);
        }
    }

    /** A library. What either method throws leaves the outcome unknown. */
    interface Lock {
        /** Takes the key; null when the time is over and nothing can follow. 0: without waiting. */
        Granted acquire(String key, long withinMs) throws Exception;

        /** Gives back, in the same thread; whether it was held until then. */
        boolean release(Object held) throws Exception;
    }

    private static final ObjectMapper JSON = new ObjectMapper();

    // What a library prints must not stand between the lines.
    private final OutputStream out = new FileOutputStream(FileDescriptor.out);
    private final Lock lock;
    private final Map<Long, CountDownLatch> releases = new ConcurrentHashMap<>();

    Port(Lock lock) {
        System.setOut(System.err);
        this.lock = lock;
    }

    ObjectNode message(String type) {
        return JSON.createObjectNode().put("type", type);
    }

    synchronized void say(ObjectNode message) {
        try {
            out.write((message + "\n").getBytes(StandardCharsets.UTF_8));
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
    }

    void lost(String why) {
        say(message("lost").put("why", why));
    }

    private void unknown(long id, Exception error) {
        error.printStackTrace();
        say(message("unknown").put("id", id).put("why", String.valueOf(error)));
    }

    private void hold(long id, String key, long withinMs, CountDownLatch released) {
        Granted granted = null;
        try {
            granted = lock.acquire(key, withinMs);
            if (granted == null) {
                releases.remove(id);
                say(message("timed-out").put("id", id));
                return;
            }
            ObjectNode message = message("granted").put("id", id);
            if (granted.token() != null) {
                message.put("token", granted.token());
            }
            if (granted.validMs() != null) {
                message.put("valid_ms", Math.max(0, granted.validMs()));
            }
            say(message);
        } catch (Exception error) {
            unknown(id, error);
        }
        try {
            released.await();
            // After unknown there is nothing to give back by: what may stand ends with its lease.
            boolean was = granted != null && lock.release(granted.held());
            say(message(was ? "released" : "already-lost").put("id", id));
        } catch (Exception error) {
            unknown(id, error);
        }
        releases.remove(id);
    }

    void serve(String library, String... promises) throws IOException {
        ObjectNode hello = message("hello").put("version", 1).put("library", library);
        ObjectNode capabilities = hello.putObject("capabilities");
        for (String promise : promises) {
            capabilities.put(promise, true);
        }
        say(hello);
        ExecutorService threads = Executors.newCachedThreadPool();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            JsonNode told = JSON.readTree(line);
            long id = told.path("id").asLong();
            switch (told.path("type").asText()) {
                case "acquire" -> {
                    CountDownLatch released = new CountDownLatch(1);
                    releases.put(id, released);
                    String key = told.path("keys").path(0).asText();
                    long withinMs = told.path("within_ms").asLong();
                    threads.submit(() -> hold(id, key, withinMs, released));
                }
                case "release" -> {
                    CountDownLatch released = releases.get(id);
                    if (released == null) {
                        say(message("already-lost").put("id", id));
                    } else {
                        released.countDown();
                    }
                }
                case "close" -> {
                    releases.values().forEach(CountDownLatch::countDown);
                    return;
                }
                default -> { }
            }
        }
    }

    /** Waits, for a second at most, until everything is given back. */
    void drained() throws InterruptedException {
        for (int waited = 0; waited < 100 && !releases.isEmpty(); waited++) {
            Thread.sleep(10);
        }
    }
}
