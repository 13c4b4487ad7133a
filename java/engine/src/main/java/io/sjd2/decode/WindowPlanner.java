package io.sjd2.decode;

import java.util.Arrays;

/// Chooses the window of a decode: the one with the most expected positions per millisecond.
///
/// Pure: the same curves give the same window, on which a seed's picture depends. Candidates are few and a wider window
/// must win by a margin, so that the noise of two measurements of one machine seldom leads to two windows.
public final class WindowPlanner {
    private static final int[] CANDIDATES = {1, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128};

    /// By how much a wider window must beat the best narrower one.
    private static final double MARGIN = 1.02;

    private WindowPlanner() {}

    /// What was chosen and what it is expected to give.
    ///
    /// @param window         rows per pass
    /// @param tokensPerPass  expected positions per pass
    /// @param millisPerPass  expected time of a pass
    public record Plan(int window, double tokensPerPass, double millisPerPass) {
        /// Expected positions per millisecond.
        public double tokensPerMilli() {
            return tokensPerPass / millisPerPass;
        }
    }

    /// @param curve       measured cost of a pass
    /// @param acceptance  expected positions per pass
    /// @param maxWindow   the widest window allowed, such as the picture's length; at least 1
    /// @throws IllegalArgumentException if `maxWindow` is below 1
    public static Plan plan(PassCurve curve, AcceptanceModel acceptance, int maxWindow) {
        if (maxWindow < 1) {
            throw new IllegalArgumentException("the widest window allowed is " + maxWindow + ", expected at least 1");
        }
        int[] measured = curve.windows();
        int widest = Math.min(maxWindow, measured[measured.length - 1]);
        Plan best = at(1, curve, acceptance);
        for (int window : CANDIDATES) {
            if (window > 1 && window <= widest) {
                Plan plan = at(window, curve, acceptance);
                best = plan.tokensPerMilli() > MARGIN * best.tokensPerMilli() ? plan : best;
            }
        }
        return best;
    }

    private static Plan at(int window, PassCurve curve, AcceptanceModel acceptance) {
        return new Plan(window, acceptance.tokensPerPass(window), curve.millis(window));
    }

    /// The windows worth measuring for pictures of `length` positions.
    public static int[] windowsToMeasure(int length) {
        return Arrays.stream(CANDIDATES).filter(w -> w <= length && w <= 96).toArray();
    }
}
