package io.sjd2.tokenizer;

/// Classes of Unicode code points, as `tokenizer.json` components mean them.
final class CharClasses {
    private static final int MARKS =
            1 << Character.NON_SPACING_MARK | 1 << Character.COMBINING_SPACING_MARK | 1 << Character.ENCLOSING_MARK;
    private static final int NUMBERS =
            1 << Character.DECIMAL_DIGIT_NUMBER | 1 << Character.LETTER_NUMBER | 1 << Character.OTHER_NUMBER;
    private static final int PUNCTUATION = 1 << Character.CONNECTOR_PUNCTUATION
            | 1 << Character.DASH_PUNCTUATION
            | 1 << Character.START_PUNCTUATION
            | 1 << Character.END_PUNCTUATION
            | 1 << Character.INITIAL_QUOTE_PUNCTUATION
            | 1 << Character.FINAL_QUOTE_PUNCTUATION
            | 1 << Character.OTHER_PUNCTUATION;

    private CharClasses() {}

    /// The property `White_Space`, which neither `Character.isWhitespace` nor `isSpaceChar` is.
    static boolean isWhiteSpace(int c) {
        return c >= '\t' && c <= '\r'
                || c == ' '
                || c == 0x85
                || c == 0xa0
                || c == 0x1680
                || c >= 0x2000 && c <= 0x200a
                || c == 0x2028
                || c == 0x2029
                || c == 0x202f
                || c == 0x205f
                || c == 0x3000;
    }

    /// Any number: digits, letters used as numbers, fractions.
    static boolean isNumeric(int c) {
        return (NUMBERS >> Character.getType(c) & 1) != 0;
    }

    /// Unicode punctuation, and all of ASCII that is neither letter, digit, space nor control.
    static boolean isPunctuation(int c) {
        boolean ascii = c >= '!' && c <= '/' || c >= ':' && c <= '@' || c >= '[' && c <= '`' || c >= '{' && c <= '~';
        return ascii || (PUNCTUATION >> Character.getType(c) & 1) != 0;
    }

    /// A combining mark of any kind.
    static boolean isMark(int c) {
        return (MARKS >> Character.getType(c) & 1) != 0;
    }

    /// What a word is made of: letters, marks, decimal digits, connectors, joiners.
    static boolean isWord(int c) {
        int type = Character.getType(c);
        return Character.isAlphabetic(c)
                || (MARKS >> type & 1) != 0
                || type == Character.DECIMAL_DIGIT_NUMBER
                || type == Character.CONNECTOR_PUNCTUATION
                || c == 0x200c
                || c == 0x200d;
    }
}
