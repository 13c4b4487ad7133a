package io.sjd2;

/// Which window `auto` takes, and why: the pass times measured here and the tokens per pass expected of the decoder.
///
/// @param window            the choice
/// @param predictedSpeedup  over autoregression at one row per pass, at the expected acceptance
/// @param windows           sizes considered
/// @param msPerPass         measured time of a pass at each size, in milliseconds
/// @param tokensPerPass     expected at each size
public record WindowPlan(
        int window, double predictedSpeedup, double[] windows, double[] msPerPass, double[] tokensPerPass) {}
