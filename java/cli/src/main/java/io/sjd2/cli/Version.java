package io.sjd2.cli;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.Properties;
import picocli.CommandLine.IVersionProvider;

/// Version and commit, as the build recorded them.
final class Version implements IVersionProvider {
    @Override
    public String[] getVersion() {
        return new String[] {
            "sjd2 " + number() + " (commit " + commit() + ")",
            "Java " + Runtime.version() + " on " + System.getProperty("os.arch")
        };
    }

    private static String number() {
        Properties properties = new Properties();
        try (InputStream in = Version.class.getResourceAsStream("version.properties")) {
            if (in != null) {
                properties.load(in);
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        return properties.getProperty("version", "unknown");
    }

    /// Compiled without Maven, in an editor for instance, there is no such file.
    private static String commit() {
        try (InputStream in = Version.class.getResourceAsStream("commit.txt")) {
            return in == null ? "unknown" : new String(in.readAllBytes(), StandardCharsets.UTF_8).strip();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
