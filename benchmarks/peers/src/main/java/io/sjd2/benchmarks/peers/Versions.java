package io.sjd2.benchmarks.peers;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.util.Properties;

/// Versions of the peers, as the build names them.
final class Versions {
    private static final String FILE = "versions.properties";
    private static final Properties ALL = new Properties();

    static {
        try (InputStream in = Versions.class.getResourceAsStream(FILE)) {
            if (in == null) {
                throw new IllegalStateException(FILE + " is missing beside " + Versions.class.getName());
            }
            ALL.load(in);
        } catch (IOException e) {
            throw new UncheckedIOException(FILE + " cannot be read", e);
        }
    }

    private Versions() {}

    /// Name and version, `jlama-0.8.4` say.
    static String of(String peer) {
        String version = ALL.getProperty(peer);
        if (version == null) {
            throw new IllegalArgumentException(FILE + " has no " + peer);
        }
        return peer.replace('.', '-') + "-" + version;
    }
}
