package io.sjd2.tokenizer;

import java.nio.charset.StandardCharsets;

/// The 256 printable characters that byte-level tokenisers write bytes as.
///
/// Bytes that print in Latin-1 stand for themselves; the 68 others take the characters from U+0100 on, in order.
final class ByteAlphabet {
    private static final char[] SYMBOL = new char[256];
    private static final short[] BYTE = new short[0x144];

    static {
        java.util.Arrays.fill(BYTE, (short) -1);
        char next = 0x100;
        for (int b = 0; b < 256; b++) {
            boolean prints = b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae;
            SYMBOL[b] = prints ? (char) b : next++;
            BYTE[SYMBOL[b]] = (short) b;
        }
    }

    private ByteAlphabet() {}

    /// The character for a byte, 0 to 255.
    static char symbol(int unsignedByte) {
        return SYMBOL[unsignedByte];
    }

    /// The byte of a character, 0 to 255, or -1 if the character stands for none.
    static int unsignedByte(int symbol) {
        return symbol < BYTE.length ? BYTE[symbol] : -1;
    }

    /// The UTF-8 bytes of `text`, written in the alphabet.
    static String write(String text) {
        byte[] utf8 = text.getBytes(StandardCharsets.UTF_8);
        char[] symbols = new char[utf8.length];
        for (int i = 0; i < utf8.length; i++) {
            symbols[i] = SYMBOL[utf8[i] & 0xff];
        }
        return new String(symbols);
    }
}
