import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.ThreadLocalRandom;

/**
 * A heap that fills to its plateau: an LRU cache and the garbage of every request.
 * PORT ENTRIES ENTRY_BYTES GARBAGE_BYTES
 */
public final class Cache {
    private static final int PIECE = 4096;
    private static final byte[][] SCRATCH = new byte[64][];

    public static void main(String[] args) throws IOException {
        int most = Integer.parseInt(args[1]);
        int size = Integer.parseInt(args[2]);
        int garbage = Integer.parseInt(args[3]);
        Map<String, byte[]> cache = new LinkedHashMap<>(16, 0.75f, true) {
            @Override
            protected boolean removeEldestEntry(Map.Entry<String, byte[]> eldest) {
                return size() > most;
            }
        };
        byte[] ok = {'o', 'k'};
        HttpServer server = HttpServer.create(
            new InetSocketAddress(InetAddress.getLoopbackAddress(), Integer.parseInt(args[0])), 0);
        server.createContext("/", exchange -> {
            cache.computeIfAbsent(exchange.getRequestURI().getPath(),
                path -> new byte[size / 2 + ThreadLocalRandom.current().nextInt(size)]);
            for (int made = 0; made < garbage; made += PIECE) {
                SCRATCH[made / PIECE % SCRATCH.length] = new byte[PIECE];
            }
            exchange.sendResponseHeaders(200, ok.length);
            exchange.getResponseBody().write(ok);
            exchange.close();
        });
        server.start();
    }
}
