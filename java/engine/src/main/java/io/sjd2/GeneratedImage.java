package io.sjd2;

import io.sjd2.tensor.RgbImage;
import java.util.List;

/// One picture and how it came about.
///
/// @param index       its number in the request
/// @param prompt      as requested
/// @param seed        as requested
/// @param settings    all that it depends on beside prompt, seed and index
/// @param image       pixels
/// @param tokens      vocabulary ids in order, forced ones included
/// @param codes       rows of the grid, as codes of the image tokeniser
/// @param statistics  what it cost
/// @param warnings    what the user should know, for instance words that the model does not know
public record GeneratedImage(
        int index,
        String prompt,
        long seed,
        PictureSettings settings,
        RgbImage image,
        int[] tokens,
        int[][] codes,
        GenerationStatistics statistics,
        List<String> warnings) {}
