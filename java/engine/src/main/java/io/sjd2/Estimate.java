package io.sjd2;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/// A number measured on a sample, with its 95 % confidence interval.
///
/// An interval needs at least two independent samples; with fewer, `low` and `high` are NaN. Samples are pictures: the
/// tokens or the objects of one picture are not independent of each other and never count one by one.
///
/// @param value   the estimate; NaN if nothing was measured
/// @param low     lower end of the interval
/// @param high    upper end of the interval
/// @param samples pictures it rests on
public record Estimate(double value, double low, double high, int samples) {
    private static final double NORMAL_975 = 1.959963984540054;

    /// Nothing was measured.
    public static final Estimate NONE = new Estimate(Double.NaN, Double.NaN, Double.NaN, 0);

    /// The mean of `values`, by Student's t.
    public static Estimate mean(double[] values) {
        int n = values.length;
        if (n == 0) {
            return NONE;
        }
        double mean = average(values);
        double half = n < 2 ? Double.NaN : student975(n - 1) * deviation(values, mean) / Math.sqrt(n);
        return new Estimate(mean, mean - half, mean + half, n);
    }

    /// `sum(numerator) / sum(denominator)`; see {@link #product}.
    public static Estimate ratio(double[] numerator, double[] denominator) {
        return product(new double[][] {numerator}, new double[][] {denominator});
    }

    /// The product of the sums of `numerators` over the product of the sums of `denominators`, each array one value per
    /// picture, in the same order. The interval comes from the delta method on the logarithm, so that quantities of one
    /// picture may depend on each other.
    ///
    /// @throws IllegalArgumentException if the arrays differ in length
    public static Estimate product(double[][] numerators, double[][] denominators) {
        int n = numerators[0].length;
        double[] influence = new double[n];
        double value = 1;
        for (int side = 0; side < 2; side++) {
            for (double[] values : side == 0 ? numerators : denominators) {
                if (values.length != n) {
                    throw new IllegalArgumentException("arrays of " + n + " and " + values.length + " pictures");
                }
                double mean = average(values);
                value = side == 0 ? value * mean : value / mean;
                for (int i = 0; i < n; i++) {
                    double share = values[i] / mean - 1;
                    influence[i] += side == 0 ? share : -share;
                }
            }
        }
        if (n == 0 || !Double.isFinite(value)) {
            return NONE;
        }
        if (n < 2 || value <= 0) {
            return new Estimate(value, Double.NaN, Double.NaN, n);
        }
        double half = student975(n - 1) * deviation(influence, average(influence)) / Math.sqrt(n);
        return new Estimate(value, value * Math.exp(-half), value * Math.exp(half), n);
    }

    /// The share of things that are right, where picture `i` shows `of[i]` things of which `right[i]` are right.
    ///
    /// Wilson's interval, which stays honest near 100 %, over as many independent things as the spread between pictures
    /// leaves: objects of one picture tend to be right together.
    public static Estimate share(double[] right, double[] of) {
        int n = right.length;
        double total = n == 0 ? 0 : average(of) * n;
        if (total == 0) {
            return NONE;
        }
        double p = average(right) * n / total;
        if (n < 2) {
            return new Estimate(p, Double.NaN, Double.NaN, n);
        }
        double clustered = 0;
        for (int i = 0; i < n; i++) {
            double residual = right[i] - p * of[i];
            clustered += residual * residual;
        }
        clustered *= n / ((n - 1) * total * total);
        double independent = p * (1 - p) / total;
        double effective = independent > 0 ? total / Math.max(1, clustered / independent) : total;
        double z2 = NORMAL_975 * NORMAL_975 / effective;
        double middle = (p + z2 / 2) / (1 + z2);
        double half = Math.sqrt(z2 * p * (1 - p) + z2 * z2 / 4) / (1 + z2);
        return new Estimate(p, Math.max(0, middle - half), Math.min(1, middle + half), n);
    }

    /// Whether `other` lies inside the interval.
    public boolean covers(double other) {
        return low <= other && other <= high;
    }

    /// Puts the value under `name` and `[low, high]` under `name_ci`; null stands for what is not known.
    void putInto(Map<String, Object> json, String name) {
        json.put(name, Double.isNaN(value) ? null : value);
        json.put(name + "_ci", Double.isNaN(low) ? null : List.of(low, high));
    }

    /// As JSON: `{"value": .., "value_ci": [low, high]}`.
    public Map<String, Object> toJson() {
        Map<String, Object> json = new LinkedHashMap<>();
        putInto(json, "value");
        return json;
    }

    private static double average(double[] values) {
        double sum = 0;
        for (double value : values) {
            sum += value;
        }
        return sum / values.length;
    }

    private static double deviation(double[] values, double mean) {
        double sum = 0;
        for (double value : values) {
            sum += (value - mean) * (value - mean);
        }
        return Math.sqrt(sum / (values.length - 1));
    }

    /// The 97.5 % point of Student's t: exact for one and two degrees of freedom, else Fisher's expansion about the
    /// normal, which is within 1 % from three on.
    static double student975(int degrees) {
        if (degrees == 1) {
            return 12.706204736432095;
        }
        if (degrees == 2) {
            return 4.302652729911275;
        }
        double z = NORMAL_975;
        double z3 = z * z * z;
        double z5 = z3 * z * z;
        double z7 = z5 * z * z;
        double n = degrees;
        return z
                + (z3 + z) / (4 * n)
                + (5 * z5 + 16 * z3 + 3 * z) / (96 * n * n)
                + (3 * z7 + 19 * z5 + 17 * z3 - 15 * z) / (384 * n * n * n);
    }
}
