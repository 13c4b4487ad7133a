package io.sjd2.vq;

import static io.sjd2.vq.VqLayers.join;

import io.sjd2.kernel.Convolution;
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

/// The network that turns looked-up codes into a picture.
final class VqDecoder {
    /// @param attention one per block, or empty
    private record Level(
            List<Residual> blocks,
            List<Attention> attention,
            @Nullable Conv enlarge) {}

    private final VqConfig config;
    private final Conv postQuant;
    private final List<Temporal> time = new ArrayList<>();
    private final List<Conv> timeConvs = new ArrayList<>();
    private final Conv in;
    private final Residual first;
    private final Attention middle;
    private final Residual second;
    /// In the order they run in.
    private final List<Level> levels = new ArrayList<>();
    private final Norm normOut;
    private final Conv out;

    VqDecoder(VqConfig config, VqLayers layers) throws IOException {
        this.config = config;
        boolean emu3 = config.family() == Family.EMU3;
        List<String> decoder = List.of("decoder");
        int latent = config.latentChannels();
        if (emu3) {
            postQuant = layers.exact(List.of("post_quant_conv.conv"), latent, config.codeWidth(), 3, 1, 1);
            for (int i = 0; i < config.residualBlocks(); i++) {
                time.add(layers.temporal(join(decoder, "time_res_stack." + i), latent, latent));
            }
            for (int factor = config.temporalFactor(), i = 0; factor > 1; factor /= 2, i++) {
                timeConvs.add(layers.exact(join(decoder, "time_conv." + i + ".conv.conv"), latent, latent, 3, 3, 3));
            }
        } else {
            postQuant = layers.exact(List.of("post_quant_conv"), latent, config.codeWidth(), 1, 1);
        }
        int channels = config.decoderChannels().getLast();
        in = layers.conv(join(decoder, "conv_in"), channels, latent, 3, 3);
        first = layers.residual(join(decoder, "mid.block_1", "mid.0", "middle_block.block_1"), channels, channels);
        middle = layers.attention(
                join(decoder, "mid.attn_1", "mid.1", "middle_block.attn_1"),
                join(decoder, "mid.attn_1.norm", "mid.1.norm", "middle_block.attn_norm"),
                channels);
        second = layers.residual(join(decoder, "mid.block_2", "mid.2", "middle_block.block_2"), channels, channels);
        for (int level = config.levels() - 1; level >= 0; level--) {
            int run = config.levels() - 1 - level;
            int number = config.family().countsUpwards() ? run : level;
            List<String> module = join(decoder, "up." + number, "conv_blocks." + run, "up_block.up." + number);
            int width = config.decoderChannels().get(level);
            List<Residual> blocks = new ArrayList<>();
            List<Attention> attention = new ArrayList<>();
            for (int j = 0; j <= config.residualBlocks(); j++) {
                blocks.add(layers.residual(join(module, "block." + j, "res." + j), channels, width));
                channels = width;
                if (config.attention().get(level)) {
                    attention.add(layers.attention(
                            join(module, "attn." + j), join(module, "attn." + j + ".norm", "attn_norms." + j), width));
                }
            }
            Conv enlarge = level == 0 ? null : layers.conv(join(module, "upsample.conv"), width, width, 3, 3);
            levels.add(new Level(blocks, attention, enlarge));
        }
        normOut = layers.norm(join(decoder, "norm_out"), channels);
        out = layers.conv(join(decoder, "conv_out"), config.pictureChannels(), channels, 3, 3);
    }

    /// @param codes  looked-up codes `[1, 1, height, width, codeWidth]`; taken over
    /// @param frames how many of the frames that the codes stand for are decoded; 1 is the picture
    /// @return `[frames, 1, height * factor, width * factor, 3]`
    Picture run(VqPass pass, Picture codes, int frames) {
        Picture x;
        if (config.family() == Family.EMU3) {
            Picture both = throughTime(pass, codes);
            int f = Math.min(frames, both.frames());
            Picture h = frames(both, 0, f);
            Picture modulator = frames(both, both.frames(), f);
            // The activation behind the last convolution in time, where there is one, was left to the readers.
            boolean pending = !timeConvs.isEmpty();
            pass.modulateBy(modulator, pending);
            pass.show("latent", h);
            pass.show("modulator", modulator);
            Convolution reading = pending ? Convolution.same(3).activated() : Convolution.same(3);
            x = pass.conv(in, reading, h, null, null, null, true);
            Picture image = throughSpace(pass, x);
            pass.give(both);
            return image;
        }
        Picture latent = pass.conv(postQuant, Convolution.same(1), codes, null, null, null, false);
        pass.give(codes);
        pass.show("post_quant", latent);
        x = pass.conv(in, Convolution.same(3), latent, null, null, null, true);
        pass.give(latent);
        return throughSpace(pass, x);
    }

    /// The latent picture and the codes themselves, as a batch of two, become `temporalFactor` frames each; the
    /// activation behind the last convolution is left to whoever reads them.
    private Picture throughTime(VqPass pass, Picture codes) {
        int latent = config.latentChannels();
        if (config.codeWidth() != latent) {
            throw new UnsupportedOperationException("a code width of " + config.codeWidth() + " beside " + latent
                    + " latent channels; built for equal numbers, as the two pass one network");
        }
        Picture both = pass.take(2, 1, codes.height(), codes.width(), latent);
        Picture first = half(both, 0);
        pass.conv(postQuant, Convolution.causal(3, 1, 1, 1), codes, null, null, first, false);
        pass.show("post_quant", first);
        if (both.data() != null && codes.data() != null) {
            pass.copy(both.data().rows(1, 1), codes.data());
        }
        pass.give(codes);
        for (Temporal block : time) {
            both = pass.temporal(block, both);
        }
        pass.show("after_time_res", both);
        boolean activated = false;
        for (Conv conv : timeConvs) {
            Convolution how = Convolution.causal(3, 3, 1, 2);
            Picture longer = pass.conv(conv, activated ? how.activated() : how, both, null, null, null, false);
            pass.give(both);
            both = longer;
            activated = true;
        }
        return both;
    }

    private static Picture half(Picture both, int which) {
        return new Picture(
                1,
                both.frames(),
                both.height(),
                both.width(),
                both.channels(),
                both.data() == null ? null : both.data().rows(which, 1),
                null);
    }

    /// `count` frames from `first`, counted over the whole batch, as pictures of their own.
    private static Picture frames(Picture both, int first, int count) {
        return new Picture(
                count,
                1,
                both.height(),
                both.width(),
                both.channels(),
                both.data() == null
                        ? null
                        : both.data()
                                .view((long) both.n() * both.frames(), 1, both.height(), both.width(), both.channels())
                                .rows(first, count),
                null);
    }

    private Picture throughSpace(VqPass pass, Picture start) {
        Picture x = start;
        pass.show("after_conv_in", x);
        x = pass.residual(first, x);
        x = pass.attention(middle, x);
        x = pass.residual(second, x);
        pass.show("after_mid", x);
        int run = 0;
        for (Level level : levels) {
            for (int j = 0; j < level.blocks.size(); j++) {
                x = pass.residual(level.blocks.get(j), x);
                if (!level.attention.isEmpty()) {
                    x = pass.attention(level.attention.get(j), x);
                }
            }
            if (level.enlarge != null) {
                Picture larger = pass.conv(level.enlarge, Convolution.enlarging(), x, null, null, null, true);
                pass.give(x);
                x = larger;
                pass.show("after_upsample_" + run, x);
            }
            run++;
        }
        pass.show("after_up", x);
        Picture image = pass.normed(normOut, out, Convolution.same(3).activated(), x, null, false);
        pass.give(x);
        return image;
    }
}
