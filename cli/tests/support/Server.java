// A TLS server that tells what clients sent to it: one JSON line on stdout for every handshake, whether it succeeded or
// not, and for every request. TLS and HTTP are the JDK's own, com.sun.net.httpserver.HttpsServer over a PKCS#12 key store.

import com.sun.net.httpserver.Headers;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpsConfigurator;
import com.sun.net.httpserver.HttpsExchange;
import com.sun.net.httpserver.HttpsParameters;
import com.sun.net.httpserver.HttpsServer;
import java.io.FileInputStream;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.URLDecoder;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.security.SecureRandom;
import java.security.cert.Certificate;
import java.security.cert.CertificateException;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;
import javax.net.ssl.KeyManager;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLContextSpi;
import javax.net.ssl.SSLEngine;
import javax.net.ssl.SSLEngineResult;
import javax.net.ssl.SSLException;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLPeerUnverifiedException;
import javax.net.ssl.SSLServerSocketFactory;
import javax.net.ssl.SSLSession;
import javax.net.ssl.SSLSessionContext;
import javax.net.ssl.SSLSocketFactory;
import javax.net.ssl.TrustManager;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509ExtendedTrustManager;

class Server {
    public static void main(String[] arguments) throws Exception {
        Map<String, String> options = new HashMap<>();
        for (int i = 0; i < arguments.length; i += 2) {
            options.put(arguments[i], arguments[i + 1]);
        }
        HttpsServer server = HttpsServer.create(new InetSocketAddress(options.get("--listen"), 0), 0);
        server.setHttpsConfigurator(new Asking(context(options), options.get("--tls"), options.get("--ask")));
        server.setExecutor(new Counted());
        server.createContext("/", Server::answer);
        server.start();
        say("listening", Map.of("port", server.getAddress().getPort()));
    }

    static SSLContext context(Map<String, String> options) throws GeneralSecurityException, IOException {
        char[] password = options.get("--password").toCharArray();
        KeyStore own = KeyStore.getInstance("PKCS12");
        try (FileInputStream file = new FileInputStream(options.get("--keystore"))) {
            own.load(file, password);
        }
        KeyManagerFactory keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        keys.init(own, password);
        boolean hints = options.get("--hints").equals("true");
        TrustManager judge = new Judge(options.get("--authorities"), hints, !options.get("--ask").equals("unchecked"));
        SSLContext context = new WitnessingContext();
        context.init(keys.getKeyManagers(), new TrustManager[] {judge}, null);
        return context;
    }

    static void answer(HttpExchange exchange) throws IOException {
        exchange.getRequestBody().readAllBytes();
        SSLSession session = ((HttpsExchange) exchange).getSSLSession();
        Map<String, Object> seen = described(session);
        seen.put("proto", exchange.getProtocol());
        seen.put("method", exchange.getRequestMethod());
        seen.put("host", exchange.getRequestHeaders().getFirst("Host"));
        seen.put("path", exchange.getRequestURI().toString());
        say("request", seen);
        Headers headers = exchange.getResponseHeaders();
        byte[] body = json(seen).getBytes(StandardCharsets.UTF_8);
        boolean leads = exchange.getRequestURI().getPath().equals("/redirect");
        if (leads) {
            String to = exchange.getRequestURI().getRawQuery().replaceFirst("^to=", "");
            headers.set("Location", URLDecoder.decode(to, StandardCharsets.UTF_8));
        }
        headers.set("Content-Type", "application/json");
        exchange.sendResponseHeaders(leads ? 302 : 200, body.length);
        exchange.getResponseBody().write(body);
        exchange.close();
    }

    static Map<String, Object> described(SSLSession session) {
        Map<String, Object> seen = new LinkedHashMap<>();
        seen.put("tls", session.getProtocol().replace("TLSv", ""));
        Certificate[] chain = new Certificate[0];
        try {
            chain = session.getPeerCertificates();
        } catch (SSLPeerUnverifiedException none) {
            // Nothing came, which is what the empty chain says
        }
        seen.put("chain", fingerprints(chain));
        seen.put("subject", chain.length == 0 ? "" : ((X509Certificate) chain[0]).getSubjectX500Principal().getName());
        return seen;
    }

    static List<String> fingerprints(Certificate[] chain) {
        List<String> all = new ArrayList<>();
        try {
            for (Certificate certificate : chain) {
                StringBuilder hex = new StringBuilder();
                for (byte each : MessageDigest.getInstance("SHA-256").digest(certificate.getEncoded())) {
                    hex.append(String.format("%02x", each));
                }
                all.add(hex.toString());
            }
        } catch (GeneralSecurityException error) {
            throw new IllegalStateException(error);
        }
        return all;
    }

    static synchronized void say(String event, Map<String, ?> more) {
        Map<String, Object> all = new LinkedHashMap<>();
        all.put("event", event);
        all.putAll(more);
        System.out.println(json(all));
    }

    static String json(Object value) {
        List<String> parts = new ArrayList<>();
        if (value instanceof Map) {
            ((Map<?, ?>) value).forEach((key, each) -> parts.add(json(key) + ":" + json(each)));
            return "{" + String.join(",", parts) + "}";
        }
        if (value instanceof List) {
            ((List<?>) value).forEach(each -> parts.add(json(each)));
            return "[" + String.join(",", parts) + "]";
        }
        return value instanceof String ? quoted((String) value) : String.valueOf(value);
    }

    static String quoted(String text) {
        StringBuilder all = new StringBuilder("\"");
        for (char each : text.toCharArray()) {
            if (each == '\n') {
                all.append("\\n");
            } else if (each < ' ' || each == '"' || each == '\\') {
                all.append(String.format("\\u%04x", (int) each));
            } else {
                all.append(each);
            }
        }
        return all.append('"').toString();
    }
}

/** What the server does about client certificates, and the one TLS version it speaks; none: both. */
class Asking extends HttpsConfigurator {
    private final String tls;
    private final String ask;

    Asking(SSLContext context, String tls, String ask) {
        super(context);
        this.tls = tls;
        this.ask = ask;
    }

    @Override
    public void configure(HttpsParameters connection) {
        SSLParameters parameters = getSSLContext().getDefaultSSLParameters();
        parameters.setProtocols(tls.isEmpty() ? new String[] {"TLSv1.2", "TLSv1.3"} : new String[] {"TLSv" + tls});
        // Each takes back the other
        if (ask.equals("require")) {
            parameters.setNeedClientAuth(true);
        } else {
            parameters.setWantClientAuth(!ask.equals("never"));
        }
        connection.setSSLParameters(parameters);
    }
}

/** Judges clients as the JDK does by itself, once it was written down what came: a refused certificate was sent too. */
class Judge extends X509ExtendedTrustManager {
    private final X509ExtendedTrustManager jdk;
    private final boolean hints;
    private final boolean checks;

    Judge(String authorities, boolean hints, boolean checks) throws GeneralSecurityException, IOException {
        KeyStore trusted = KeyStore.getInstance("PKCS12");
        trusted.load(null, null);
        if (authorities != null) {
            try (FileInputStream file = new FileInputStream(authorities)) {
                for (Certificate each : CertificateFactory.getInstance("X.509").generateCertificates(file)) {
                    trusted.setCertificateEntry("authority-" + trusted.size(), each);
                }
            }
        }
        TrustManagerFactory factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        factory.init(trusted);
        this.jdk = (X509ExtendedTrustManager) factory.getTrustManagers()[0];
        this.hints = hints;
        this.checks = checks;
    }

    @Override
    public X509Certificate[] getAcceptedIssuers() {
        return hints ? jdk.getAcceptedIssuers() : new X509Certificate[0];
    }

    @Override
    public void checkClientTrusted(X509Certificate[] chain, String type, SSLEngine engine) throws CertificateException {
        Witness.present().came(chain);
        if (checks) {
            jdk.checkClientTrusted(chain, type, engine);
        }
    }

    @Override
    public void checkClientTrusted(X509Certificate[] chain, String type, Socket socket) {
        throw new UnsupportedOperationException();
    }

    @Override
    public void checkClientTrusted(X509Certificate[] chain, String type) {
        throw new UnsupportedOperationException();
    }

    @Override
    public void checkServerTrusted(X509Certificate[] chain, String type, SSLEngine engine) {
        throw new UnsupportedOperationException();
    }

    @Override
    public void checkServerTrusted(X509Certificate[] chain, String type, Socket socket) {
        throw new UnsupportedOperationException();
    }

    @Override
    public void checkServerTrusted(X509Certificate[] chain, String type) {
        throw new UnsupportedOperationException();
    }
}

/** Runs what the server has to do, and knows whether it is done: a connection that idles has no task. */
class Counted implements java.util.concurrent.Executor {
    private static final long LIMIT = 3_000;
    private final ExecutorService threads = Executors.newCachedThreadPool();
    private final AtomicInteger unfinished = new AtomicInteger();

    @Override
    public void execute(Runnable task) {
        unfinished.incrementAndGet();
        threads.execute(() -> run(task));
    }

    private void run(Runnable task) {
        Witness.leave();
        try {
            task.run();
        } finally {
            Witness witness = Witness.present();
            if (witness != null) {
                witness.ended();
            }
            unfinished.decrementAndGet();
            if (witness != null && witness.mark() != null) {
                barrier(witness.mark());
            }
        }
    }

    private void barrier(String mark) {
        for (long began = System.currentTimeMillis(); unfinished.get() != 0; Thread.onSpinWait()) {
            if (System.currentTimeMillis() - began > LIMIT) {
                break;
            }
        }
        Server.say("barrier", Map.of("mark", mark));
    }
}

/** The engine of one connection, and what came over it; made on the thread that runs the handshake to its end. */
class Witness extends Delegating {
    private static final ThreadLocal<Witness> PRESENT = new ThreadLocal<>();
    private final long began = System.currentTimeMillis();
    private X509Certificate[] chain = new X509Certificate[0];
    private boolean first = true;
    private boolean told;
    private String mark;

    Witness(SSLEngine engine) {
        super(engine);
        PRESENT.set(this);
    }

    /** The one whose handshake this thread runs; none when the thread goes on with an older connection. */
    static Witness present() {
        return PRESENT.get();
    }

    static void leave() {
        PRESENT.remove();
    }

    String mark() {
        return mark;
    }

    void came(X509Certificate[] chain) {
        this.chain = chain;
    }

    void ended() {
        tell("the client hung up");
    }

    private void tell(String error) {
        if (told || mark != null) {
            return;
        }
        told = true;
        boolean complete = error.isEmpty();
        Map<String, Object> seen = new LinkedHashMap<>();
        seen.put("complete", complete);
        seen.put("error", error);
        if (complete) {
            seen.put("resumed", getSession().getCreationTime() < began);
            seen.putAll(Server.described(getSession()));
        } else {
            seen.put("resumed", false);
            seen.put("chain", Server.fingerprints(chain));
        }
        Server.say("handshake", seen);
    }

    /** A connection that starts with 'B' is no TLS: the test asks for everything before it to be written down. */
    private void greet(ByteBuffer source) throws SSLException {
        if (first && source.hasRemaining()) {
            first = false;
            if (source.get(source.position()) == 'B') {
                mark = StandardCharsets.UTF_8.decode(source.duplicate()).toString().substring(1);
                throw new SSLException("barrier");
            }
        }
    }

    private SSLEngineResult heard(SSLEngineResult result) {
        if (result.getHandshakeStatus() == SSLEngineResult.HandshakeStatus.FINISHED) {
            tell("");
        }
        return result;
    }

    private SSLException heard(SSLException error) {
        tell(error.getMessage());
        return error;
    }

    @Override
    public SSLEngineResult wrap(ByteBuffer[] from, int offset, int length, ByteBuffer to) throws SSLException {
        try {
            return heard(super.wrap(from, offset, length, to));
        } catch (SSLException error) {
            throw heard(error);
        }
    }

    @Override
    public SSLEngineResult unwrap(ByteBuffer from, ByteBuffer[] to, int offset, int length) throws SSLException {
        greet(from);
        try {
            return heard(super.unwrap(from, to, offset, length));
        } catch (SSLException error) {
            throw heard(error);
        }
    }
}

/** A context whose engines are witnesses. */
class WitnessingContext extends SSLContext {
    WitnessingContext() throws GeneralSecurityException {
        this(SSLContext.getInstance("TLS"));
    }

    private WitnessingContext(SSLContext jdk) {
        super(new Engines(jdk), jdk.getProvider(), jdk.getProtocol());
    }

    private static class Engines extends SSLContextSpi {
        private final SSLContext jdk;

        Engines(SSLContext jdk) {
            this.jdk = jdk;
        }

        @Override
        protected void engineInit(KeyManager[] keys, TrustManager[] trust, SecureRandom random)
                throws java.security.KeyManagementException {
            jdk.init(keys, trust, random);
        }

        @Override
        protected SSLEngine engineCreateSSLEngine() {
            return new Witness(jdk.createSSLEngine());
        }

        @Override
        protected SSLEngine engineCreateSSLEngine(String host, int port) {
            return new Witness(jdk.createSSLEngine(host, port));
        }

        @Override protected SSLSocketFactory engineGetSocketFactory() { return jdk.getSocketFactory(); }
        @Override protected SSLServerSocketFactory engineGetServerSocketFactory() { return jdk.getServerSocketFactory(); }
        @Override protected SSLSessionContext engineGetServerSessionContext() { return jdk.getServerSessionContext(); }
        @Override protected SSLSessionContext engineGetClientSessionContext() { return jdk.getClientSessionContext(); }
        @Override protected SSLParameters engineGetDefaultSSLParameters() { return jdk.getDefaultSSLParameters(); }
        @Override protected SSLParameters engineGetSupportedSSLParameters() { return jdk.getSupportedSSLParameters(); }
    }
}

/** An engine that does what another does. */
class Delegating extends SSLEngine {
    private final SSLEngine to;

    Delegating(SSLEngine to) {
        this.to = to;
    }

    @Override
    public SSLEngineResult wrap(ByteBuffer[] from, int offset, int length, ByteBuffer into) throws SSLException {
        return to.wrap(from, offset, length, into);
    }

    @Override
    public SSLEngineResult unwrap(ByteBuffer from, ByteBuffer[] into, int offset, int length) throws SSLException {
        return to.unwrap(from, into, offset, length);
    }

    @Override public Runnable getDelegatedTask() { return to.getDelegatedTask(); }
    @Override public void closeInbound() throws SSLException { to.closeInbound(); }
    @Override public boolean isInboundDone() { return to.isInboundDone(); }
    @Override public void closeOutbound() { to.closeOutbound(); }
    @Override public boolean isOutboundDone() { return to.isOutboundDone(); }
    @Override public String[] getSupportedCipherSuites() { return to.getSupportedCipherSuites(); }
    @Override public String[] getEnabledCipherSuites() { return to.getEnabledCipherSuites(); }
    @Override public void setEnabledCipherSuites(String[] suites) { to.setEnabledCipherSuites(suites); }
    @Override public String[] getSupportedProtocols() { return to.getSupportedProtocols(); }
    @Override public String[] getEnabledProtocols() { return to.getEnabledProtocols(); }
    @Override public void setEnabledProtocols(String[] protocols) { to.setEnabledProtocols(protocols); }
    @Override public SSLSession getSession() { return to.getSession(); }
    @Override public SSLSession getHandshakeSession() { return to.getHandshakeSession(); }
    @Override public void beginHandshake() throws SSLException { to.beginHandshake(); }
    @Override public SSLEngineResult.HandshakeStatus getHandshakeStatus() { return to.getHandshakeStatus(); }
    @Override public void setUseClientMode(boolean client) { to.setUseClientMode(client); }
    @Override public boolean getUseClientMode() { return to.getUseClientMode(); }
    @Override public void setNeedClientAuth(boolean need) { to.setNeedClientAuth(need); }
    @Override public boolean getNeedClientAuth() { return to.getNeedClientAuth(); }
    @Override public void setWantClientAuth(boolean want) { to.setWantClientAuth(want); }
    @Override public boolean getWantClientAuth() { return to.getWantClientAuth(); }
    @Override public void setEnableSessionCreation(boolean may) { to.setEnableSessionCreation(may); }
    @Override public boolean getEnableSessionCreation() { return to.getEnableSessionCreation(); }
    @Override public SSLParameters getSSLParameters() { return to.getSSLParameters(); }
    @Override public void setSSLParameters(SSLParameters parameters) { to.setSSLParameters(parameters); }
}
