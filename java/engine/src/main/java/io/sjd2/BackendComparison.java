package io.sjd2;

import io.sjd2.decode.DecoderSpec;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/// Whether two backends draw the same pictures, and where they part if they do not.
///
/// Random numbers are the same bits on every backend, so that only rounding can part them: a position's token is the
/// code with the largest sum of logit and noise, and two codes may be nearly equal there. How far the backends' logits
/// are apart at such a position is what tells rounding from a mistake.
///
/// @param pictures  compared
/// @param partings  one for each picture with a token that differs, about the first such token
public record BackendComparison(int pictures, List<Parting> partings) {

    /// Where a picture parts. Both backends have drawn the same codes before it.
    ///
    /// @param picture     its number in the request
    /// @param position    index of the code, row by row
    /// @param row         of the grid
    /// @param column      of the grid
    /// @param first       code on the first backend
    /// @param second      code on the second
    /// @param firstLead   by how much `first` leads `second` on the first backend, in guided logits over temperature
    ///                    plus noise; at least 0 unless a filter decided
    /// @param secondLead  the same on the second backend; at most 0 unless a filter decided
    public record Parting(
            int picture,
            int position,
            int row,
            int column,
            int first,
            int second,
            double firstLead,
            double secondLead) {
        /// How far the backends are apart about the two codes: noise is common to both.
        public double logitGap() {
            return Math.abs(firstLead - secondLead);
        }

        /// Whether each backend prefers its own code. Only a top-k or top-p that one of the codes fails on one of the
        /// backends could upset that.
        public boolean explainedByLogits() {
            return firstLead >= 0 && secondLead <= 0;
        }
    }

    /// Whether every token of every picture is the same.
    public boolean same() {
        return partings.isEmpty();
    }

    /// Makes the pictures of a request on both engines.
    ///
    /// @param first     one of two engines over the same model
    /// @param request   with decoder `exact`, `sjd2-exact` or `ar`: those whose tokens depend on logits and noise alone
    /// @param listener  told of the progress of both, one after the other
    /// @throws IllegalArgumentException  if the decoder is another one, or as {@link Engine#generate} does
    /// @throws java.util.concurrent.CancellationException if the listener cancels
    public static BackendComparison run(
            Engine first, Engine second, GenerationRequest request, GenerationListener listener) {
        String name = request.decoder();
        DecoderSpec decoder = DecoderSpec.parse(name != null ? name : "exact");
        if (!decoder.exact() || request.sampler() != null && !request.sampler().equals("gumbel")) {
            throw new IllegalArgumentException("decoder " + decoder
                    + (request.sampler() == null ? "" : " with sampler " + request.sampler())
                    + " cannot be compared token by token, expected exact, sjd2-exact, or ar with sampler gumbel");
        }
        GenerationRequest settled = request.withDecoder(decoder.toString());
        List<GeneratedImage> ours = first.generate(settled, listener);
        List<GeneratedImage> theirs = second.generate(settled, listener);
        List<Parting> partings = new ArrayList<>();
        for (int picture = 0; picture < ours.size(); picture++) {
            int[] a = flat(ours.get(picture));
            int[] b = flat(theirs.get(picture));
            int at = Arrays.mismatch(a, b);
            if (at >= 0) {
                int width = ours.get(picture).codes()[0].length;
                partings.add(new Parting(
                        picture,
                        at,
                        at / width,
                        at % width,
                        a[at],
                        b[at],
                        first.lead(settled, picture, a, at, b[at]),
                        second.lead(settled, picture, a, at, b[at])));
            }
        }
        return new BackendComparison(ours.size(), List.copyOf(partings));
    }

    private static int[] flat(GeneratedImage image) {
        return Arrays.stream(image.codes()).flatMapToInt(Arrays::stream).toArray();
    }
}
