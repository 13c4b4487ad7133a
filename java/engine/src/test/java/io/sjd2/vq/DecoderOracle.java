package io.sjd2.vq;

import org.jspecify.annotations.Nullable;

/// The published decoders as plain loops over f64, beside the encoders of {@link EncoderOracle} and as independent of
/// the engine.
///
/// Sources: the modules `Decoder` of taming-transformers and LlamaGen, `JanusVQVAEDecoder` and `Emu3VQVAEDecoder` of
/// transformers, by the formulas of the fixtures' README.
final class DecoderOracle extends EncoderOracle {
    private final int[] widths;
    private final int codes;
    private final boolean upwards;
    private @Nullable Picture modulator;

    /// @param style   of encoder and decoder, but for the decoder's widths
    /// @param widths  of the decoder's levels, the full resolution first
    /// @param upwards whether levels are numbered from the lowest resolution on
    DecoderOracle(Style style, int[] widths, int codes, boolean upwards, long seed) {
        super(style, seed);
        this.widths = widths;
        this.codes = codes;
        this.upwards = upwards;
    }

    float[] table() {
        return floats(weight("quantize.embedding.weight", 0, 1.7, codes, style.width()));
    }

    private Picture looked(int[] ids, int height, int width) {
        float[] table = table();
        Picture x = new Picture(style.width(), 1, height, width);
        for (int p = 0; p < ids.length; p++) {
            double[] e = new double[style.width()];
            for (int c = 0; c < e.length; c++) {
                e[c] = table[ids[p] * e.length + c];
            }
            e = unit(e);
            for (int c = 0; c < e.length; c++) {
                x.values()[c * ids.length + p] = e[c];
            }
        }
        return x;
    }

    /// `[3, height, width]` of the picture; of frames that a code stands for the first.
    Picture decode(int[] ids, int height, int width) {
        Picture z = looked(ids, height, width);
        Picture h;
        modulator = null;
        if (style.temporalFactor() > 0) {
            Picture p = causal("post_quant_conv.conv", z, style.latent(), new int[] {3, 1, 1}, ones());
            h = firstFrame(throughTime(p));
            modulator = firstFrame(throughTime(z));
        } else {
            h = conv1("post_quant_conv", z, style.latent());
        }
        int levels = widths.length;
        Picture x = conv3("decoder.conv_in", h, widths[levels - 1]);
        x = residual("decoder." + style.middle().get(0), x, x.channels());
        String middle = "decoder." + style.middle().get(1);
        x = attention(middle, style.normsBeside() ? middle.replace("attn_1", "attn_norm") : middle + ".norm", x);
        x = residual("decoder." + style.middle().get(2), x, x.channels());
        for (int level = levels - 1; level >= 0; level--) {
            String up = style.level().replace("down_block", "up_block").replace("down", "up");
            String module = "decoder." + up.formatted(upwards ? levels - 1 - level : level);
            for (int j = 0; j <= style.blocks(); j++) {
                x = residual(module + "." + style.block() + "." + j, x, widths[level]);
                if (style.attentionLevels().contains(level)) {
                    String attention = module + ".attn." + j;
                    x = attention(
                            attention, style.normsBeside() ? module + ".attn_norms." + j : attention + ".norm", x);
                }
            }
            if (level > 0) {
                x = conv3(module + ".upsample.conv", enlarged(x, 2), x.channels());
            }
        }
        Picture image = conv3("decoder.conv_out", swish(norm("decoder.norm_out", x)), 3);
        modulator = null;
        return image;
    }

    private Picture throughTime(Picture start) {
        Picture x = start;
        int[] kernel = {3, 3, 3};
        for (int i = 0; i < style.blocks(); i++) {
            String name = "decoder.time_res_stack." + i;
            Picture h =
                    causal(name + ".conv1.conv", swish(batchNorm(name + ".norm1", x)), x.channels(), kernel, ones());
            h = causal(name + ".conv2.conv", swish(batchNorm(name + ".norm2", h)), x.channels(), kernel, ones());
            x = sum(x, h);
        }
        for (int i = 0; 1 << i < style.temporalFactor(); i++) {
            x = swish(causal("decoder.time_conv." + i + ".conv.conv", twice(x), x.channels(), kernel, ones()));
        }
        return x;
    }

    /// Every frame twice.
    private static Picture twice(Picture x) {
        Picture y = new Picture(x.channels(), 2 * x.frames(), x.height(), x.width());
        int size = x.height() * x.width();
        for (int i = 0; i < x.channels() * x.frames(); i++) {
            for (int copy = 0; copy < 2; copy++) {
                System.arraycopy(x.values(), i * size, y.values(), (2 * i + copy) * size, size);
            }
        }
        return y;
    }

    private static Picture firstFrame(Picture x) {
        Picture y = new Picture(x.channels(), 1, x.height(), x.width());
        int size = x.height() * x.width();
        for (int c = 0; c < x.channels(); c++) {
            System.arraycopy(x.values(), c * x.plane(), y.values(), c * size, size);
        }
        return y;
    }

    private static Picture enlarged(Picture x, int times) {
        Picture y = new Picture(x.channels(), 1, times * x.height(), times * x.width());
        for (int i = 0; i < y.values().length; i++) {
            int column = i % y.width() / times;
            int row = i / y.width() % y.height() / times;
            y.values()[i] = x.values()[(i / y.plane() * x.height() + row) * x.width() + column];
        }
        return y;
    }

    @Override
    Picture norm(String name, Picture x) {
        Picture z = modulator;
        if (z == null) {
            return groupNorm(name, x);
        }
        Picture y = groupNorm(name + ".norm_layer", x);
        Picture large = enlarged(z, x.height() / z.height());
        Picture factor = conv1(name + ".conv_y", large, x.channels());
        Picture shift = conv1(name + ".conv_b", large, x.channels());
        double[] values = y.values();
        for (int i = 0; i < values.length; i++) {
            values[i] = values[i] * factor.values()[i] + shift.values()[i];
        }
        return y;
    }
}
