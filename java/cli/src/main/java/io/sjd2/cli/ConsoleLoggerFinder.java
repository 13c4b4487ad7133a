package io.sjd2.cli;

import java.text.MessageFormat;
import java.util.Locale;
import java.util.ResourceBundle;
import org.jspecify.annotations.Nullable;

/// Brings what the engine logs to standard error in the form of everything else there, without loading `java.logging`.
///
/// The system property `sjd2.log` names the lowest level shown: `debug`, `info` (the default), `warning`, `error`,
/// `off`.
public final class ConsoleLoggerFinder extends System.LoggerFinder {
    private static volatile System.Logger.Level lowest = level(System.getProperty("sjd2.log", "info"));

    /// Shows nothing below `level` from now on.
    static void lowest(System.Logger.Level level) {
        lowest = level;
    }

    private static System.Logger.Level level(String name) {
        try {
            return System.Logger.Level.valueOf(name.toUpperCase(Locale.ROOT));
        } catch (IllegalArgumentException e) {
            System.err.println("sjd2: warning: sjd2.log is " + name + ": expected debug, info, warning, error or off");
            return System.Logger.Level.INFO;
        }
    }

    @Override
    public System.Logger getLogger(String name, Module module) {
        return new Lines(name);
    }

    private record Lines(String name) implements System.Logger {
        @Override
        public String getName() {
            return name;
        }

        @Override
        public boolean isLoggable(Level level) {
            // The runtime's own loggers are of no interest to somebody who wants a picture.
            return level != Level.OFF && level.compareTo(lowest) >= 0 && name.startsWith("io.sjd2");
        }

        @Override
        public void log(Level level, @Nullable ResourceBundle bundle, String message, @Nullable Throwable thrown) {
            if (isLoggable(level)) {
                String prefix = level == Level.WARNING || level == Level.ERROR ? "warning: " : "";
                System.err.println("sjd2: " + prefix + Errors.oneLine(message));
                if (thrown != null) {
                    System.err.println("sjd2: " + prefix + Errors.oneLine(thrown.toString()));
                }
            }
        }

        @Override
        public void log(
                Level level, @Nullable ResourceBundle bundle, String format, @Nullable Object @Nullable ... arguments) {
            boolean plain = arguments == null || arguments.length == 0;
            log(level, bundle, plain ? format : MessageFormat.format(format, arguments), (Throwable) null);
        }
    }
}
