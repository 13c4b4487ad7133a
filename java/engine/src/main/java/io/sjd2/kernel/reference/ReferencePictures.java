package io.sjd2.kernel.reference;

import io.sjd2.kernel.Convolution;
import io.sjd2.tensor.BFloat16;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/// The operations of image tokenisers as their contracts read, in f64; arguments have been checked.
final class ReferencePictures {
    private ReferencePictures() {}

    static void conv(
            Tensor out,
            @Nullable Tensor moments,
            Tensor x,
            @Nullable Tensor norm,
            @Nullable Tensor map,
            Tensor w,
            @Nullable Tensor bias,
            Convolution c) {
        int channels = (int) x.dim(4);
        int outChannels = (int) out.dim(4);
        int taps = c.taps();
        double[] v = input(x, norm, map, w.dtype(), c.swish());
        // [n_in, taps] per output
        double[][] weights = new double[outChannels][channels * taps];
        for (int o = 0; o < outChannels; o++) {
            for (int k = 0; k < channels * taps; k++) {
                weights[o][k] = w.getFloat((long) o * channels * taps + k);
            }
        }
        double[] patch = new double[channels * taps];
        for (int n = 0; n < out.dim(0); n++) {
            for (int t = 0; t < out.dim(1); t++) {
                for (int y = 0; y < out.dim(2); y++) {
                    for (int column = 0; column < out.dim(3); column++) {
                        patch(patch, v, x, c, n, t, y, column);
                        long at = (((n * out.dim(1) + t) * out.dim(2) + y) * out.dim(3) + column) * outChannels;
                        for (int o = 0; o < outChannels; o++) {
                            double sum = c.accumulate() ? out.getFloat(at + o) : 0;
                            sum += bias == null ? 0 : bias.getFloat(o);
                            double[] row = weights[o];
                            for (int k = 0; k < patch.length; k++) {
                                sum += row[k] * patch[k];
                            }
                            out.setFloat(at + o, (float) sum);
                        }
                    }
                }
            }
        }
        if (moments != null) {
            moments(moments, out);
        }
    }

    /// What the convolution sees: `x` normalised, modulated, activated and rounded to the dtype of the weights.
    private static double[] input(
            Tensor x, @Nullable Tensor norm, @Nullable Tensor map, DType dtype, boolean activated) {
        int channels = (int) x.dim(4);
        long height = x.dim(2);
        long width = x.dim(3);
        long perPicture = x.dim(1) * height * width;
        double[] v = new double[Math.toIntExact(x.elements())];
        for (int i = 0; i < v.length; i++) {
            int channel = i % channels;
            long pixel = i / channels;
            long n = pixel / perPicture;
            double value = x.getFloat(i);
            if (norm != null) {
                long at = n * 3 * channels + channel;
                value = (value - norm.getFloat(at)) * norm.getFloat(at + channels) + norm.getFloat(at + 2 * channels);
            }
            if (map != null) {
                long row = pixel / width % height * map.dim(1) / height;
                long column = pixel % width * map.dim(2) / width;
                long at = ((n * map.dim(1) + row) * map.dim(2) + column) * 2 * channels + channel;
                value = value * map.getFloat(at) + map.getFloat(at + channels);
            }
            if (activated) {
                value = value / (1 + Math.exp(-value));
            }
            v[i] = dtype == DType.BF16 ? BFloat16.toFloat(BFloat16.fromFloat((float) value)) : value;
        }
        return v;
    }

    private static void patch(
            double[] patch, double[] v, Tensor x, Convolution c, int n, int outFrame, int outRow, int outColumn) {
        int channels = (int) x.dim(4);
        int taps = c.taps();
        for (int tap = 0; tap < taps; tap++) {
            int i = tap / (c.kernelHeight() * c.kernelWidth());
            int j = tap / c.kernelWidth() % c.kernelHeight();
            int k = tap % c.kernelWidth();
            long frame = source(outFrame * c.strideFrames() + i - c.padFrames(), c.enlargeFrames(), x.dim(1));
            long row = source(outRow * c.strideHeight() + j - c.padHeight(), c.enlargeSpace(), x.dim(2));
            long column = source(outColumn * c.strideWidth() + k - c.padWidth(), c.enlargeSpace(), x.dim(3));
            boolean inside = frame >= 0 && row >= 0 && column >= 0;
            int from = (int) ((((n * x.dim(1) + frame) * x.dim(2) + row) * x.dim(3) + column) * channels);
            for (int channel = 0; channel < channels; channel++) {
                patch[channel * taps + tap] = inside ? v[from + channel] : 0;
            }
        }
    }

    /// Index in the picture before it was enlarged, or -1 outside of it.
    private static long source(int at, int enlarge, long extent) {
        return at >= 0 && at < extent * enlarge ? at / enlarge : -1;
    }

    private static void moments(Tensor moments, Tensor out) {
        long channels = out.dim(4);
        long pixels = out.dim(1) * out.dim(2) * out.dim(3);
        for (long n = 0; n < out.dim(0); n++) {
            for (long channel = 0; channel < channels; channel++) {
                double mean = 0;
                for (long p = 0; p < pixels; p++) {
                    mean += out.getFloat((n * pixels + p) * channels + channel);
                }
                mean /= pixels;
                double variance = 0;
                for (long p = 0; p < pixels; p++) {
                    double distance = out.getFloat((n * pixels + p) * channels + channel) - mean;
                    variance += distance * distance;
                }
                moments.setFloat(n * 2 * channels + channel, (float) mean);
                moments.setFloat((n * 2 + 1) * channels + channel, (float) (variance / pixels));
            }
        }
    }

    static void groupNorm(Tensor norm, Tensor moments, Tensor weight, Tensor bias, int groups, float eps) {
        int channels = (int) moments.dim(2);
        int size = channels / groups;
        for (int n = 0; n < moments.dim(0); n++) {
            for (int first = 0; first < channels; first += size) {
                double mean = 0;
                double square = 0;
                for (int c = first; c < first + size; c++) {
                    mean += moments.getFloat((long) n * 2 * channels + c) / (double) size;
                }
                for (int c = first; c < first + size; c++) {
                    double distance = moments.getFloat((long) n * 2 * channels + c) - mean;
                    square += moments.getFloat((n * 2L + 1) * channels + c) + distance * distance;
                }
                double factor = 1 / Math.sqrt(square / size + eps);
                for (int c = first; c < first + size; c++) {
                    norm.setFloat(n * 3L * channels + c, (float) mean);
                    norm.setFloat((n * 3L + 1) * channels + c, (float) (factor * weight.getFloat(c)));
                    norm.setFloat((n * 3L + 2) * channels + c, bias.getFloat(c));
                }
            }
        }
    }

    static void vqAttention(Tensor out, Tensor qkv, DType dtype, float scale) {
        int positions = (int) out.dim(1);
        int channels = (int) out.dim(2);
        double[] all = new double[positions * 3 * channels];
        double[] weights = new double[positions];
        double[] sum = new double[channels];
        for (int n = 0; n < out.dim(0); n++) {
            for (int i = 0; i < all.length; i++) {
                all[i] = rounded(qkv.getFloat((long) n * all.length + i), dtype);
            }
            for (int p = 0; p < positions; p++) {
                double largest = Double.NEGATIVE_INFINITY;
                for (int t = 0; t < positions; t++) {
                    double dot = 0;
                    for (int c = 0; c < channels; c++) {
                        dot += all[p * 3 * channels + c] * all[(t * 3 + 1) * channels + c];
                    }
                    weights[t] = scale * dot;
                    largest = Math.max(largest, weights[t]);
                }
                double total = 0;
                for (int t = 0; t < positions; t++) {
                    weights[t] = Math.exp(weights[t] - largest);
                    total += weights[t];
                }
                Arrays.fill(sum, 0);
                for (int t = 0; t < positions; t++) {
                    double weight = rounded(weights[t] / total, dtype);
                    for (int c = 0; c < channels; c++) {
                        sum[c] += weight * all[(t * 3 + 2) * channels + c];
                    }
                }
                for (int c = 0; c < channels; c++) {
                    out.setFloat(((long) n * positions + p) * channels + c, (float) sum[c]);
                }
            }
        }
    }

    private static double rounded(double value, DType dtype) {
        return dtype == DType.BF16 ? BFloat16.toFloat(BFloat16.fromFloat((float) value)) : value;
    }
}
