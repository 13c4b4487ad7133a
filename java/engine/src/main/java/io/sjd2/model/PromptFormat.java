package io.sjd2.model;

import io.sjd2.model.TransformerConfig.Grid;

/// The text around a prompt, in the words of the model's tokeniser, special tokens spelled out.
///
/// `{prompt}` stands for what the user says, `{width}` and `{height}` for the picture's nominal pixels, `{columns}` and
/// `{rows}` for its codes, `{height_token}` and `{width_token}` for Chameleon's names of a size.
///
/// @param begin          what every sequence starts with
/// @param beginToken     id that every prompt starts with, added where the tokeniser does not add it; -1: none
/// @param wrapper        what a plain prompt becomes
/// @param start          what begins the picture
/// @param unconditional  the sequence without the prompt
/// @param negative       the prompt of the unconditional sequence where the user names none
/// @param pad            token that stands for the prompt in a padded sequence; empty elsewhere
public record PromptFormat(
        String begin,
        int beginToken,
        String wrapper,
        String start,
        Unconditional unconditional,
        String negative,
        String pad) {
    private static final int SIZE_TOKEN_BASE = 8800;

    /// What guidance compares a prompt with, unless the user gives a negative prompt.
    public enum Unconditional {
        /// The picture's start alone, at positions of its own.
        START_ONLY,
        /// The frame around the default negative prompt.
        NEGATIVE,
        /// As many tokens as the prompt, all but the first and the last replaced by the pad token, which is attended
        /// to.
        PADDED
    }

    /// The text of a prompt that has no frame yet.
    public String wrapped(String prompt, Grid grid, PictureFormat picture) {
        return filled(wrapper, grid, picture).replace("{prompt}", prompt);
    }

    /// What begins a picture of a size.
    public String startOf(Grid grid, PictureFormat picture) {
        return filled(start, grid, picture);
    }

    private static String filled(String template, Grid grid, PictureFormat picture) {
        return template.replace("{width}", Integer.toString(grid.width() * picture.nominalPixels()))
                .replace("{height}", Integer.toString(grid.height() * picture.nominalPixels()))
                .replace("{rows}", Integer.toString(grid.height()))
                .replace("{columns}", Integer.toString(grid.width()))
                .replace("{height_token}", sizeToken(grid.height()))
                .replace("{width_token}", sizeToken(grid.width()));
    }

    /// Chameleon's name of an extent: one unit is two codes.
    static String sizeToken(int codes) {
        return "<reserved%05d>".formatted(SIZE_TOKEN_BASE + codes / 2);
    }
}
