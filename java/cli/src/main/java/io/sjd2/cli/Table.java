package io.sjd2.cli;

import io.sjd2.Estimate;
import java.io.PrintStream;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.List;
import java.util.Locale;

/// Columns of text, the first to the left, the others to the right unless told otherwise.
final class Table {
    private final List<List<String>> rows = new ArrayList<>();
    private final BitSet left = new BitSet();

    Table(String... heads) {
        rows.add(List.of(heads));
        left.set(0);
    }

    /// Aligns a column to the left; counted from 0.
    Table leftAligned(int column) {
        left.set(column);
        return this;
    }

    Table row(String... cells) {
        rows.add(List.of(cells));
        return this;
    }

    void print(PrintStream out) {
        int columns = rows.getFirst().size();
        int[] widths = new int[columns];
        for (List<String> row : rows) {
            for (int c = 0; c < columns; c++) {
                widths[c] = Math.max(widths[c], row.get(c).length());
            }
        }
        for (List<String> row : rows) {
            StringBuilder line = new StringBuilder();
            for (int c = 0; c < columns; c++) {
                String padding = " ".repeat(widths[c] - row.get(c).length());
                line.append(c == 0 ? "" : "  ").append(left.get(c) ? row.get(c) + padding : padding + row.get(c));
            }
            out.println(line.toString().stripTrailing());
        }
    }

    /// `12.3 ± 0.4`; half the interval stands for both of its sides.
    static String cell(Estimate estimate, int digits) {
        return cell(estimate, digits, 1, "");
    }

    /// `97.5 ± 1.1 %`.
    static String percent(Estimate estimate) {
        return cell(estimate, 1, 100, " %");
    }

    private static String cell(Estimate estimate, int digits, double scale, String unit) {
        if (Double.isNaN(estimate.value())) {
            return "-";
        }
        String value = String.format(Locale.ROOT, "%." + digits + "f", scale * estimate.value());
        double half = (estimate.high() - estimate.low()) / 2;
        return Double.isNaN(half)
                ? value + unit
                : value + String.format(Locale.ROOT, " ± %." + digits + "f", scale * half) + unit;
    }
}
