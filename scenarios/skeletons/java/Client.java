import java.io.BufferedInputStream;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** A lock on Redis that speaks the port of lockbench, version 1. */
public final class Client {
    private static final long TTL_MS = Long.parseLong(System.getenv("LOCKBENCH_TTL_MS"));
    private static final URI ENDPOINT = URI.create(System.getenv("LOCKBENCH_ENDPOINT"));
    private static final long POLL_MS = 20;
    private static final String DELETE_OWN =
            "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0";
    private static final PrintStream OUT = new PrintStream(System.out, false, StandardCharsets.UTF_8);

    /** What is held, or may be, by the id of its request: key and owner. */
    private static final Map<Long, String[]> HELD = new ConcurrentHashMap<>();

    /** One connection, one request at a time. Put your library in its place. */
    private static final class Redis {
        private Socket link;
        private InputStream from;
        long requests;

        synchronized String ask(String... words) throws IOException {
            try {
                if (link == null) {
                    link = new Socket();
                    link.connect(new InetSocketAddress(ENDPOINT.getHost(), ENDPOINT.getPort()), 2_000);
                    link.setSoTimeout(2_000);
                    link.setTcpNoDelay(true);
                    from = new BufferedInputStream(link.getInputStream());
                    login();
                }
                requests++;
                return send(List.of(words));
            } catch (IOException error) {
                if (link != null) {
                    link.close();
                }
                link = null;
                throw error;
            }
        }

        private void login() throws IOException {
            String user = ENDPOINT.getUserInfo();
            if (user == null || !user.contains(":")) {
                return;
            }
            String[] parts = user.split(":", 2);
            send(parts[0].isEmpty() ? List.of("AUTH", parts[1]) : List.of("AUTH", parts[0], parts[1]));
        }

        private String send(List<String> words) throws IOException {
            StringBuilder text = new StringBuilder("*" + words.size() + "\r\n");
            for (String word : words) {
                text.append('$').append(word.getBytes(StandardCharsets.UTF_8).length).append("\r\n");
                text.append(word).append("\r\n");
            }
            link.getOutputStream().write(text.toString().getBytes(StandardCharsets.UTF_8));
            String line = line();
            char kind = line.charAt(0);
            String rest = line.substring(1);
            if (kind == '-') {
                throw new IOException(rest);
            }
            if (kind != '$' || rest.equals("-1")) {
                return rest;
            }
            byte[] value = from.readNBytes(Integer.parseInt(rest) + 2);
            return new String(value, 0, value.length - 2, StandardCharsets.UTF_8);
        }

        private String line() throws IOException {
            StringBuilder line = new StringBuilder();
            for (int next = from.read(); next != '\n'; next = from.read()) {
                if (next < 0) {
                    throw new IOException("Redis has closed the connection");
                }
                line.append((char) next);
            }
            return line.substring(0, line.length() - 1);
        }
    }

    private static final Redis REDIS = new Redis();

    private static synchronized void say(String message) {
        OUT.print(message + "\n");
        OUT.flush();
    }

    private static void answer(String type, long id, String more) {
        say("{\"type\":\"" + type + "\",\"id\":" + id + more + "}");
    }

    private static String why(Exception error) {
        String text = String.valueOf(error.getMessage()).replaceAll("[\\\\\"\\p{Cntrl}]", " ");
        return ",\"why\":\"" + text + "\"";
    }

    private static void take(long id, String key, long withinMs) {
        long deadline = System.nanoTime() + withinMs * 1_000_000;
        String owner = UUID.randomUUID().toString();
        HELD.put(id, new String[] {key, owner});
        try {
            while (true) {
                long asked = System.nanoTime();
                if (REDIS.ask("SET", key, owner, "NX", "PX", Long.toString(TTL_MS)).equals("OK")) {
                    // Counted from before it was asked for.
                    long validMs = TTL_MS - TTL_MS / 100 - (System.nanoTime() - asked) / 1_000_000;
                    answer("granted", id, ",\"valid_ms\":" + Math.max(0, validMs));
                    return;
                }
                long leftMs = (deadline - System.nanoTime()) / 1_000_000;
                if (leftMs <= 0) {
                    HELD.remove(id);
                    answer("timed-out", id, "");
                    return;
                }
                Thread.sleep(Math.min(POLL_MS, leftMs));
            }
        } catch (IOException | InterruptedException error) {
            // It may have been taken all the same: `release` will be asked for.
            answer("unknown", id, why(error));
        }
    }

    private static void giveBack(long id) {
        try {
            String[] hold = HELD.getOrDefault(id, new String[] {"", ""});
            boolean released = REDIS.ask("EVAL", DELETE_OWN, "1", hold[0], hold[1]).equals("1");
            HELD.remove(id);
            answer(released ? "released" : "already-lost", id, "");
        } catch (IOException error) {
            answer("unknown", id, why(error));
        }
    }

    // Java brings no JSON: these are enough for what lockbench says. A library does it better.

    private static final Pattern STRING = Pattern.compile("\"((?:[^\"\\\\]|\\\\.)*)\"");

    private static long number(String line, String name) {
        Matcher found = Pattern.compile("\"" + name + "\":(\\d+)").matcher(line);
        return found.find() ? Long.parseUnsignedLong(found.group(1)) : 0;
    }

    private static String text(String json) {
        StringBuilder text = new StringBuilder();
        for (int at = 0; at < json.length(); at++) {
            char c = json.charAt(at);
            if (c != '\\') {
                text.append(c);
                continue;
            }
            c = json.charAt(++at);
            if (c == 'u') {
                text.append((char) Integer.parseInt(json.substring(at + 1, at + 5), 16));
                at += 4;
            } else {
                text.append(switch (c) {
                    case 'n' -> '\n';
                    case 't' -> '\t';
                    case 'r' -> '\r';
                    case 'b' -> '\b';
                    case 'f' -> '\f';
                    default -> c;
                });
            }
        }
        return text.toString();
    }

    private static List<String> keys(String line) {
        int start = line.indexOf("\"keys\":[") + "\"keys\":[".length();
        Matcher found = STRING.matcher(line).region(start, line.length());
        List<String> keys = new ArrayList<>();
        for (int end = start; found.find() && found.start() <= end + 1; end = found.end()) {
            keys.add(text(found.group(1)));
            if (found.end() < line.length() && line.charAt(found.end()) == ']') {
                break;
            }
        }
        return keys;
    }

    public static void main(String[] args) throws IOException {
        REDIS.ask("PING");
        say("{\"type\":\"hello\",\"version\":1,\"capabilities\":{\"waits\":true,\"lease\":true,\"counts\":true},"
                + "\"library\":\"SET NX PX in Java\"}");
        ExecutorService background = Executors.newCachedThreadPool();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String told = line;
            long id = number(told, "id");
            if (told.contains("\"type\":\"acquire\"")) {
                background.submit(() -> take(id, keys(told).get(0), number(told, "within_ms")));
            } else if (told.contains("\"type\":\"release\"")) {
                background.submit(() -> giveBack(id));
            } else if (told.contains("\"type\":\"counts\"")) {
                say("{\"type\":\"counts\",\"requests\":" + REDIS.requests + ",\"connections\":1}");
            } else if (told.contains("\"type\":\"close\"")) {
                break;
            }
        }
        for (String[] hold : HELD.values()) {
            REDIS.ask("EVAL", DELETE_OWN, "1", hold[0], hold[1]);
        }
        System.exit(0);
    }
}
