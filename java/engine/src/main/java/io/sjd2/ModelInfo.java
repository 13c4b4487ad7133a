package io.sjd2;

import java.nio.file.Path;

/// What a loaded model is.
///
/// @param family            kind of checkpoint
/// @param folder            where it was read from
/// @param parameters        numbers in its weights, image tokeniser left out
/// @param weightBytes       bytes that they take as loaded
/// @param streamedBytes     of these, what every pass reads whole: all but tables of embeddings
/// @param kvBytesPerToken   bytes of KV cache per position of one sequence
/// @param dtype             what weights are stored and multiplied as
/// @param backend           what runs it
/// @param threads           worker threads
/// @param gridHeight        tokens from top to bottom
/// @param gridWidth         tokens from left to right
/// @param imageWidth        pixels
/// @param imageHeight       pixels
/// @param tokensPerImage    positions generated per picture, forced ones included
/// @param codes             ids that may be sampled
/// @param vocabSize         rows of the token table
/// @param hiddenSize        width of the residual stream
/// @param layers            decoder blocks
/// @param fineTuned         whether it accepts noisy inputs (the `sjd2` decoders)
/// @param maxPromptTokens   longest prompt, frame included
/// @param defaults          settings used where a request names none
public record ModelInfo(
        String family,
        Path folder,
        long parameters,
        long weightBytes,
        long streamedBytes,
        long kvBytesPerToken,
        String dtype,
        String backend,
        int threads,
        int gridHeight,
        int gridWidth,
        int imageWidth,
        int imageHeight,
        int tokensPerImage,
        int codes,
        int vocabSize,
        int hiddenSize,
        int layers,
        boolean fineTuned,
        int maxPromptTokens,
        Defaults defaults) {

    /// Settings of a model's `generation_config.json`, or the engine's own.
    public record Defaults(String decoder, int levels, double guidance, double temperature, int topK, double topP) {}
}
