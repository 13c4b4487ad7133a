package io.sjd2.vq;

import static io.sjd2.vq.VqLayers.join;

import io.sjd2.kernel.Convolution;
import io.sjd2.tensor.Tensor;
import io.sjd2.vq.VqConfig.Family;
import io.sjd2.vq.VqLayers.Attention;
import io.sjd2.vq.VqLayers.Conv;
import io.sjd2.vq.VqLayers.Norm;
import io.sjd2.vq.VqLayers.Residual;
import io.sjd2.vq.VqLayers.Temporal;
import io.sjd2.vq.VqPass.Picture;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// The network that turns a picture into what is compared with the codes.
final class VqEncoder {
    /// @param attention one per block, or empty
    private record Level(
            List<Residual> blocks,
            List<Attention> attention,
            @Nullable Conv halve) {}

    private static final List<String> MODULE = List.of("encoder");

    private final VqConfig config;
    private final Conv in;
    private final List<Level> levels = new ArrayList<>();
    private final Residual first;
    private final Attention middle;
    private final Residual second;
    private final Norm normOut;
    private final Conv out;
    private final List<Conv> timeConvs = new ArrayList<>();
    private final List<Temporal> time = new ArrayList<>();
    private final Conv quant;

    /// Whether the weights hold an encoder: many folders hold the decoder alone, or an encoder's first layers.
    static boolean present(VqLayers layers) {
        return layers.has(join(MODULE, "conv_in"), "weight") && layers.has(join(MODULE, "conv_out"), "weight");
    }

    /// @param layers for norms that nothing modulates
    VqEncoder(VqConfig config, VqLayers layers) throws IOException {
        this.config = config;
        int latent = config.latentChannels();
        int channels = config.encoderStem();
        in = layers.conv(join(MODULE, "conv_in"), channels, config.pictureChannels(), 3, 3);
        for (int level = 0; level < config.levels(); level++) {
            List<String> module = join(MODULE, "down." + level, "conv_blocks." + level, "down_block.down." + level);
            int width = config.encoderChannels().get(level);
            List<Residual> blocks = new ArrayList<>();
            List<Attention> attention = new ArrayList<>();
            for (int j = 0; j < config.residualBlocks(); j++) {
                blocks.add(layers.residual(join(module, "block." + j, "res." + j), channels, width));
                channels = width;
                if (config.attention().get(level)) {
                    attention.add(layers.attention(
                            join(module, "attn." + j), join(module, "attn." + j + ".norm", "attn_norms." + j), width));
                }
            }
            boolean last = level == config.levels() - 1;
            Conv halve = last ? null : layers.conv(join(module, "downsample.conv"), width, width, 3, 3);
            levels.add(new Level(blocks, attention, halve));
        }
        first = layers.residual(join(MODULE, "mid.block_1", "mid.0", "middle_block.block_1"), channels, channels);
        middle = layers.attention(
                join(MODULE, "mid.attn_1", "mid.1", "middle_block.attn_1"),
                join(MODULE, "mid.attn_1.norm", "mid.1.norm", "middle_block.attn_norm"),
                channels);
        second = layers.residual(join(MODULE, "mid.block_2", "mid.2", "middle_block.block_2"), channels, channels);
        normOut = layers.norm(join(MODULE, "norm_out"), channels);
        out = layers.conv(join(MODULE, "conv_out"), latent, channels, 3, 3);
        if (config.family() == Family.EMU3) {
            for (int factor = config.temporalFactor(), i = 0; factor > 1; factor /= 2, i++) {
                timeConvs.add(layers.exact(join(MODULE, "time_conv." + i + ".conv.conv"), latent, latent, 4, 3, 3));
            }
            for (int i = 0; i < config.residualBlocks(); i++) {
                time.add(layers.temporal(join(MODULE, "time_res_stack." + i), latent, latent));
            }
            quant = layers.exact(List.of("quant_conv.conv"), config.codeWidth(), latent, 3, 1, 1);
        } else {
            quant = layers.exact(List.of("quant_conv"), config.codeWidth(), latent, 1, 1);
        }
    }

    /// @param picture `[1, 1, height, width, 3]`, sides multiples of the factor; taken over
    /// @return `[1, 1, height / factor, width / factor, codeWidth]`
    Picture run(VqPass pass, Picture picture) {
        Picture x = pass.conv(in, Convolution.same(3), picture, null, null, null, true);
        pass.give(picture);
        pass.show("encoder_conv_in", x);
        for (int i = 0; i < levels.size(); i++) {
            Level level = levels.get(i);
            for (int j = 0; j < level.blocks.size(); j++) {
                x = pass.residual(level.blocks.get(j), x);
                if (!level.attention.isEmpty()) {
                    x = pass.attention(level.attention.get(j), x);
                }
            }
            if (level.halve != null) {
                Picture smaller = pass.conv(level.halve, Convolution.halving(), x, null, null, null, true);
                pass.give(x);
                x = smaller;
            }
            pass.show("encoder_level_" + i, x);
        }
        x = pass.residual(first, x);
        x = pass.attention(middle, x);
        x = pass.residual(second, x);
        pass.show("encoder_mid", x);
        Picture latent = pass.normed(normOut, out, Convolution.same(3).activated(), x, null, false);
        pass.give(x);
        pass.show("encoder_out", latent);
        return config.family() == Family.EMU3
                ? throughTime(pass, latent)
                : pass.conv(quant, Convolution.same(1), latent, null, null, null, false);
    }

    /// A still picture counts as `temporalFactor` equal frames, whose latent pictures are equal as well.
    private Picture throughTime(VqPass pass, Picture latent) {
        int frames = config.temporalFactor();
        Picture x = pass.take(1, frames, latent.height(), latent.width(), latent.channels());
        if (x.data() != null && latent.data() != null) {
            Tensor each = x.data().view(frames, 1, latent.height(), latent.width(), latent.channels());
            for (int f = 0; f < frames; f++) {
                pass.copy(each.rows(f, 1), latent.data());
            }
        }
        pass.give(latent);
        boolean activated = false;
        for (Conv conv : timeConvs) {
            Convolution how = Convolution.causal(4, 3, 2, 1);
            Picture shorter = pass.conv(conv, activated ? how.activated() : how, x, null, null, null, false);
            pass.give(x);
            x = shorter;
            activated = true;
        }
        pass.show("encoder_time", x);
        x = timed(pass, x, activated);
        Picture out = pass.conv(quant, Convolution.causal(3, 1, 1, 1), x, null, null, null, false);
        pass.give(x);
        return out;
    }

    /// The blocks in time add to their input, so that it must be activated for good.
    private Picture timed(VqPass pass, Picture start, boolean activate) {
        Picture x = start;
        if (activate) {
            pass.activate(x);
        }
        for (Temporal block : time) {
            x = pass.temporal(block, x);
        }
        return x;
    }
}
