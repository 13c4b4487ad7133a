package io.sjd2.io;

import java.nio.charset.StandardCharsets;

/// What reader and writer of PNG must agree on: chunk names, row filters, the signature.
final class Png {
    static final byte[] SIGNATURE = {(byte) 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};

    static final int IHDR = chunkType("IHDR");
    static final int PLTE = chunkType("PLTE");
    static final int TRNS = chunkType("tRNS");
    static final int IDAT = chunkType("IDAT");
    static final int IEND = chunkType("IEND");
    static final int TEXT = chunkType("tEXt");
    static final int ITXT = chunkType("iTXt");
    static final int ZTXT = chunkType("zTXt");

    static final int FILTER_NONE = 0;
    static final int FILTER_SUB = 1;
    static final int FILTER_UP = 2;
    static final int FILTER_AVERAGE = 3;
    static final int FILTER_PAETH = 4;

    private Png() {}

    private static int chunkType(String name) {
        byte[] ascii = name.getBytes(StandardCharsets.US_ASCII);
        return ascii[0] << 24 | ascii[1] << 16 | ascii[2] << 8 | ascii[3];
    }

    /// What `filter` predicts for a byte from its neighbours, all 0 to 255.
    static int predict(int filter, int left, int above, int aboveLeft) {
        return switch (filter) {
            case FILTER_NONE -> 0;
            case FILTER_SUB -> left;
            case FILTER_UP -> above;
            case FILTER_AVERAGE -> left + above >> 1;
            case FILTER_PAETH -> {
                int fromLeft = Math.abs(above - aboveLeft);
                int fromAbove = Math.abs(left - aboveLeft);
                int fromCorner = Math.abs(left + above - 2 * aboveLeft);
                if (fromLeft <= fromAbove && fromLeft <= fromCorner) {
                    yield left;
                }
                yield fromAbove <= fromCorner ? above : aboveLeft;
            }
            default -> throw new IllegalArgumentException("row filter " + filter + ", expected 0 to 4");
        };
    }
}
