package io.sjd2;

import java.util.LinkedHashMap;
import java.util.Map;

/// Where the rest of a conversion went: with it, the three parts add up to 1.
///
/// Conversion is what a pass costs the baseline over what a pass costs this decoder, everything counted. What a pass
/// costs more than the baseline's, as a share of what it costs, is thus what is missing.
///
/// @param passGrowth    the model takes longer over a window than over one position
/// @param verification  drafts to inputs, targets, tests and redraws take longer than drawing one token
/// @param host          everything else of a picture, prompt and pixels included: the fewer the passes, the more of it
///     falls on each
public record ConversionLoss(double passGrowth, double verification, double host) {
    /// What a decoder's pictures took, in any unit of time.
    ///
    /// @param passes   forward passes
    /// @param forward  time of the model
    /// @param verify   time of drafts, targets and verification
    /// @param total    time from prompt to pixels
    public record Cost(double passes, double forward, double verify, double total) {
        double forwardPerPass() {
            return forward / passes;
        }

        double verifyPerPass() {
            return verify / passes;
        }

        double totalPerPass() {
            return total / passes;
        }

        double restPerPass() {
            return (total - forward - verify) / passes;
        }
    }

    /// The parts by which `own` falls short of `baseline`; negative where it is better.
    public static ConversionLoss between(Cost baseline, Cost own) {
        double pass = own.totalPerPass();
        return new ConversionLoss(
                (own.forwardPerPass() - baseline.forwardPerPass()) / pass,
                (own.verifyPerPass() - baseline.verifyPerPass()) / pass,
                (own.restPerPass() - baseline.restPerPass()) / pass);
    }

    Map<String, Object> toJson() {
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("pass_growth", passGrowth);
        json.put("verification", verification);
        json.put("host", host);
        return json;
    }
}
