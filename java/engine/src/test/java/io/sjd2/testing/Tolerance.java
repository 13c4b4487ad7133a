package io.sjd2.testing;

import io.sjd2.tensor.BFloat16;
import io.sjd2.tensor.DType;
import java.util.Locale;

/// The rule that kernels are judged by, `err(kernel) <= 2 * err(naive) + 1 ulp`: errors against f64, `naive` the
/// obvious loop in f32 whose result is rounded to the output's dtype.
///
/// Errors are pooled over everything that is added, in units of the last place: of each value where an operation is
/// {@link Scale#RELATIVE}, of the largest value where sums may cancel ({@link Scale#ABSOLUTE}). The naive error
/// counts as half a unit at least: that much is lost by writing any result down.
public final class Tolerance {
    /// What a unit in the last place is taken of.
    public enum Scale {
        RELATIVE,
        ABSOLUTE
    }

    private static final double SMALLEST_NAIVE_ERROR = 0.5;

    private final DType dtype;
    private final Scale scale;
    private double largest;
    private double kernelWorst;
    private double naiveWorst;
    private String worstPlace = "nowhere";

    public Tolerance(DType dtype, Scale scale) {
        this.dtype = dtype;
        this.scale = scale;
    }

    /// Adds one tensor or one row of results.
    ///
    /// @param place   for messages
    /// @param exact   f64 results
    /// @param naive   f32 results, not yet rounded to the dtype
    /// @param actual  what the kernel wrote
    public void add(String place, double[] exact, double[] naive, double[] actual) {
        for (int i = 0; i < exact.length; i++) {
            double unit = scale == Scale.RELATIVE ? ulp(dtype, exact[i]) : 1;
            largest = Math.max(largest, Math.abs(exact[i]));
            naiveWorst = Math.max(naiveWorst, Math.abs(round(dtype, naive[i]) - exact[i]) / unit);
            double error = Math.abs(actual[i] - exact[i]) / unit;
            if (!(error <= kernelWorst)) {
                kernelWorst = Double.isNaN(error) ? Double.POSITIVE_INFINITY : error;
                worstPlace = String.format(
                        Locale.ROOT,
                        "%s element %d: got %.9g, exactly %.9g, naive %.9g",
                        place,
                        i,
                        actual[i],
                        exact[i],
                        naive[i]);
            }
        }
    }

    /// The kernel's worst error so far, in units in the last place.
    public double kernelUlps() {
        return scale == Scale.RELATIVE ? kernelWorst : kernelWorst / ulp(dtype, largest);
    }

    /// What is allowed, in units in the last place.
    public double allowedUlps() {
        double naive = scale == Scale.RELATIVE ? naiveWorst : naiveWorst / ulp(dtype, largest);
        return 2 * Math.max(naive, SMALLEST_NAIVE_ERROR) + 1;
    }

    /// @param what  the case, with its seed
    /// @throws AssertionError if the kernel's error is larger than allowed
    public void assertMet(Object what) {
        if (!(kernelUlps() <= allowedUlps())) {
            throw new AssertionError(String.format(
                    Locale.ROOT,
                    "%s: error of %.2f ulp of %s, allowed are %.2f; worst at %s",
                    what,
                    kernelUlps(),
                    dtype.label(),
                    allowedUlps(),
                    worstPlace));
        }
    }

    /// The distance of neighbouring numbers of a dtype at `magnitude`; at least the smallest normal number, since
    /// what is below it may be flushed to zero.
    public static double ulp(DType dtype, double magnitude) {
        double unit = Math.ulp((float) Math.abs(magnitude));
        return switch (dtype) {
            case F32 -> Math.max(unit, Float.MIN_NORMAL);
            case BF16 -> Math.max(unit * 65536.0, Float.MIN_NORMAL);
            default -> throw new IllegalArgumentException("no tolerance for " + dtype.label());
        };
    }

    /// `x` as a tensor of `dtype` holds it.
    public static double round(DType dtype, double x) {
        return switch (dtype) {
            case F32 -> (float) x;
            case BF16 -> BFloat16.toFloat(BFloat16.fromFloat((float) x));
            default -> throw new IllegalArgumentException("no tolerance for " + dtype.label());
        };
    }
}
