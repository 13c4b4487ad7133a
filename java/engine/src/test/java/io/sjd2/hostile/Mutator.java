package io.sjd2.hostile;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.zip.CRC32;

/// Makes damaged files out of sound ones. The same seed and number give the same file.
///
/// Blind damage alone ends at the first checksum or bracket, so every format also gets damage that keeps its outside
/// whole: JSON whose values change but which stays JSON, safetensors whose header length fits, PNG whose checksums fit.
enum Mutator {
    /// Bits, bytes, lengths, pieces that are cut, doubled or moved.
    BYTES {
        @Override
        byte[] change(byte[] file, SplittableRandom random) {
            return blind(file, random);
        }
    },
    /// Values and members of a JSON text.
    JSON {
        @Override
        byte[] change(byte[] file, SplittableRandom random) {
            return random.nextInt(4) == 0 ? blind(file, random) : json(file, random);
        }
    },
    /// The header of a safetensors file.
    SAFETENSORS {
        @Override
        byte[] change(byte[] file, SplittableRandom random) {
            if (random.nextInt(3) == 0) {
                return blind(file, random);
            }
            ByteBuffer in = ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN);
            int length = Math.toIntExact(in.getLong());
            byte[] header = json(Arrays.copyOfRange(file, 8, 8 + length), random);
            ByteBuffer out =
                    ByteBuffer.allocate(file.length - length + header.length).order(ByteOrder.LITTLE_ENDIAN);
            out.putLong(header.length).put(header).put(file, 8 + length, file.length - 8 - length);
            return out.array();
        }
    },
    /// The body of a PNG chunk.
    PNG {
        @Override
        byte[] change(byte[] file, SplittableRandom random) {
            if (random.nextInt(4) == 0) {
                return blind(file, random);
            }
            byte[] out = file.clone();
            List<Integer> chunks = new ArrayList<>();
            for (int at = 8; at < out.length; at += 12 + ByteBuffer.wrap(out).getInt(at)) {
                chunks.add(at);
            }
            int chunk = chunks.get(random.nextInt(chunks.size()));
            int length = ByteBuffer.wrap(out).getInt(chunk);
            // Among the letters of the chunk's name as well, once in a while.
            int first = random.nextInt(8) == 0 ? 4 : 8;
            if (length + 8 > first) {
                for (int n = 1 + random.nextInt(3); n > 0; n--) {
                    int at = chunk + first + random.nextInt(length + 8 - first);
                    int flipped = out[at] ^ 1 << random.nextInt(8);
                    out[at] = (byte) (random.nextBoolean() ? random.nextInt() : flipped);
                }
            }
            CRC32 crc = new CRC32();
            crc.update(out, chunk + 4, length + 4);
            ByteBuffer.wrap(out).putInt(chunk + 8 + length, (int) crc.getValue());
            return out;
        }
    };

    private static final long[] NUMBERS = {
        0,
        1,
        -1,
        2,
        127,
        128,
        255,
        256,
        65_535,
        65_536,
        Integer.MAX_VALUE,
        Integer.MIN_VALUE,
        1L << 31,
        1L << 32,
        1L << 40,
        Long.MAX_VALUE,
        Long.MAX_VALUE - 7,
        Long.MIN_VALUE
    };

    private static final List<String> VALUES = List.of(
            "null",
            "true",
            "false",
            "\"\"",
            "[]",
            "{}",
            "0",
            "-1",
            "1",
            "2",
            "3",
            "7",
            "64",
            "1e308",
            "-1e-308",
            "0.5",
            "1e999",
            "2147483647",
            "2147483648",
            "-2147483649",
            "4294967296",
            "9223372036854775807",
            "9223372036854775808",
            "100000000000000000000",
            "NaN",
            "\"x\"",
            "\"\\ud800\"",
            "\"\\u0000\"",
            "\"a/b\"",
            "\"../../../../../../etc/passwd\"",
            "\"/etc/passwd\"",
            "\"C:\\\\x.safetensors\"",
            "\"../model.safetensors\"",
            "\".safetensors\"",
            "\"F64\"",
            "\"BF16\"",
            "\"(a+)+$\"",
            "\"(?<!x)(.*)*\"",
            "[[]]",
            "[0]",
            "[-1,2]",
            "[1,1]",
            "{\"type\":\"Sequence\"}",
            "[9223372036854775807,2]",
            "[4294967296,4294967296]",
            "{\"a\":{\"a\":1}}");

    private static final Pattern SCALAR = Pattern.compile(
            "\"(?:[^\"\\\\]|\\\\.)*+\"|-?\\d[-+.eE\\d]*+|\\btrue\\b|\\bfalse\\b|\\bnull\\b|\\[\\]|\\{\\}");

    abstract byte[] change(byte[] file, SplittableRandom random);

    /// File number `index` made out of `seeds`.
    byte[] make(List<byte[]> seeds, long index) {
        SplittableRandom random = new SplittableRandom(index);
        byte[] file = seeds.get(random.nextInt(seeds.size()));
        int changes = random.nextInt(4) == 0 ? 2 : 1;
        byte[] first = change(file, random);
        // A second change may find too little left to work on.
        return changes == 1 || first.length < 64 ? first : blind(first, random);
    }

    private static byte[] blind(byte[] file, SplittableRandom random) {
        byte[] out = file.clone();
        int at = random.nextInt(Math.max(1, file.length));
        switch (random.nextInt(7)) {
            case 0 -> {
                for (int n = 1 + random.nextInt(8); n > 0; n--) {
                    int bit = random.nextInt(8 * file.length);
                    out[bit / 8] ^= (byte) (1 << bit % 8);
                }
            }
            case 1 -> out = Arrays.copyOf(file, at);
            case 2 -> out[at] = (byte) random.nextInt();
            case 3 -> {
                int size = Math.min(1 << random.nextInt(4), file.length - at);
                ByteBuffer number = ByteBuffer.allocate(8)
                        .order(random.nextBoolean() ? ByteOrder.LITTLE_ENDIAN : ByteOrder.BIG_ENDIAN)
                        .putLong(NUMBERS[random.nextInt(NUMBERS.length)]);
                System.arraycopy(number.array(), 0, out, at, size);
            }
            case 4 -> out = without(file, at, 1 + random.nextInt(Math.min(64, file.length - at)));
            case 5 -> {
                int size = 1 + random.nextInt(Math.min(64, file.length - at));
                out = with(file, random.nextInt(file.length), Arrays.copyOfRange(file, at, at + size));
            }
            default -> {
                byte[] noise = new byte[1 + random.nextInt(32)];
                random.nextBytes(noise);
                out = with(file, at, noise);
            }
        }
        return out;
    }

    /// Another value in place of one, or a member twice or not at all.
    private static byte[] json(byte[] file, SplittableRandom random) {
        String text = new String(file, StandardCharsets.UTF_8);
        List<int[]> scalars = new ArrayList<>();
        Matcher matcher = SCALAR.matcher(text);
        while (matcher.find()) {
            scalars.add(new int[] {matcher.start(), matcher.end()});
        }
        if (scalars.isEmpty()) {
            return file;
        }
        int[] one = scalars.get(random.nextInt(scalars.size()));
        String replacement = switch (random.nextInt(8)) {
            case 0 -> {
                int[] other = scalars.get(random.nextInt(scalars.size()));
                yield text.substring(other[0], other[1]);
            }
            case 1 -> "[".repeat(1 + random.nextInt(100)) + "0";
            case 2 -> "\"" + "long ".repeat(1 + random.nextInt(400)) + "\"";
            case 3 -> Long.toString(NUMBERS[random.nextInt(NUMBERS.length)]);
            case 4 -> "";
            default -> VALUES.get(random.nextInt(VALUES.size()));
        };
        int from = one[0];
        int to = one[1];
        if (random.nextInt(4) == 0) {
            // The whole member or item, up to the next comma.
            int comma = text.indexOf(',', to);
            to = comma < 0 ? to : comma + 1;
            replacement = random.nextBoolean() ? "" : text.substring(from, to) + text.substring(from, to);
        }
        return (text.substring(0, from) + replacement + text.substring(to)).getBytes(StandardCharsets.UTF_8);
    }

    private static byte[] without(byte[] file, int at, int size) {
        byte[] out = new byte[file.length - size];
        System.arraycopy(file, 0, out, 0, at);
        System.arraycopy(file, at + size, out, at, file.length - at - size);
        return out;
    }

    private static byte[] with(byte[] file, int at, byte[] more) {
        byte[] out = new byte[file.length + more.length];
        System.arraycopy(file, 0, out, 0, at);
        System.arraycopy(more, 0, out, at, more.length);
        System.arraycopy(file, at, out, at + more.length, file.length - at);
        return out;
    }
}
