package io.sjd2.cli;

import java.io.PrintStream;
import java.time.Duration;
import java.util.Locale;
import me.tongfei.progressbar.ProgressBar;
import me.tongfei.progressbar.ProgressBarBuilder;
import me.tongfei.progressbar.ProgressBarConsumer;
import me.tongfei.progressbar.ProgressBarStyle;

/// Shows how far a task has come: a bar where somebody watches, a line now and then where a file does.
interface Progress extends AutoCloseable {
    /// Shows nothing.
    Progress SILENT = (done, total, note) -> {};

    /// @param done  of `total`
    /// @param note  anything short
    void update(long done, long total, String note);

    /// Takes the bar away.
    @Override
    default void close() {}

    /// A bar of `columns` characters.
    static Progress bar(PrintStream err, int columns, String task, long total, String unit) {
        ProgressBar bar = new ProgressBarBuilder()
                .setTaskName(task)
                .setInitialMax(total)
                .setStyle(ProgressBarStyle.COLORFUL_UNICODE_BLOCK)
                .setUnit(" " + unit, 1)
                .setUpdateIntervalMillis(100)
                .clearDisplayOnFinish()
                .setConsumer(new Line(err, columns))
                .build();
        return new Progress() {
            @Override
            public void update(long done, long all, String note) {
                bar.maxHint(all);
                bar.stepTo(done);
                bar.setExtraMessage(note);
            }

            @Override
            public void close() {
                bar.close();
            }
        };
    }

    /// A line every few seconds, the first after two.
    static Progress lines(PrintStream err, String task, String unit) {
        long interval = Duration.ofSeconds(2).toNanos();
        return new Progress() {
            private long next = System.nanoTime() + interval;
            private long steps = 1;

            @Override
            public void update(long done, long total, String note) {
                long now = System.nanoTime();
                if (now - next >= 0) {
                    err.println(String.format(
                            Locale.ROOT,
                            "sjd2: %s: %d of %d %s (%d %%)%s",
                            task,
                            done,
                            total,
                            unit,
                            total == 0 ? 0 : 100 * done / total,
                            note.isBlank() ? "" : ", " + note.strip()));
                    // A log of a night's training need not be as dense as that of a minute.
                    steps = Math.min(30, steps + 1);
                    next = now + steps * interval;
                }
            }
        };
    }

    /// Draws over the last line of a terminal.
    final class Line implements ProgressBarConsumer {
        private final PrintStream err;
        private final int columns;

        Line(PrintStream err, int columns) {
            this.err = err;
            this.columns = columns;
        }

        @Override
        public int getMaxRenderedLength() {
            return columns - 1;
        }

        @Override
        public void accept(String text) {
            err.print("\r" + text);
            err.flush();
        }

        @Override
        public void clear() {
            err.print("\r" + " ".repeat(columns - 1) + "\r");
            err.flush();
        }

        @Override
        public void close() {
            err.flush();
        }
    }
}
