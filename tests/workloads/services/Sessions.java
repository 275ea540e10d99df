import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.ThreadLocalRandom;

/**
 * Leak: a static map of sessions that nobody clears, below the garbage of every request.
 * PORT SESSION_BYTES GARBAGE_BYTES
 */
public final class Sessions {
    private static final int PIECE = 4096;
    private static final Map<Integer, byte[]> SESSIONS = new HashMap<>();
    private static final byte[][] SCRATCH = new byte[64][];

    public static void main(String[] args) throws IOException {
        int session = Integer.parseInt(args[1]);
        int garbage = Integer.parseInt(args[2]);
        byte[] ok = {'o', 'k'};
        HttpServer server = HttpServer.create(
            new InetSocketAddress(InetAddress.getLoopbackAddress(), Integer.parseInt(args[0])), 0);
        server.createContext("/", exchange -> {
            SESSIONS.put(SESSIONS.size(), new byte[session / 2 + ThreadLocalRandom.current().nextInt(session)]);
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
