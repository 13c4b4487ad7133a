package io.sjd2.tokenizer;

import java.util.List;
import java.util.Random;

/// Texts that tokenisers get wrong: runs of white space, digits, scripts, joined emoji, combining marks, and special
/// tokens, whole and cut.
final class RandomText {
    private static final List<String> WORDS = List.of("""
        a the large red Circle don't we'll I'VE it'ſ naïve Straße ΟΔΟΣ İstanbul красивый 猫 坐在 日本語テキスト 안녕 مرحبا
        नमस्ते Ⅷ Ⓐⓑ ½ ٣٤ e\u0301 x\u0323\u0307 ﬁ ǆ K á _ snake_case IMGIMGAZ <sentinel:12> ▁ Ġ ｆｕｌｌ 𝒜𝓁 𐐀𐐨 ก็ \ufffd
        """.strip().split("\\s+"));
    private static final List<String> EMOJI =
            List.of("😀", "👨‍👩‍👧‍👦", "🇫🇷", "❤️", "👍🏽", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "☃", "1️⃣", "👩🏿‍🚀");
    private static final List<String> SPACES = List.of(
            " ", "  ", "   ", "    ", "\n", "\n\n", "\r\n", "\r", "\t", " \n", "\n ", "\u00a0", "\u3000", "\u2028",
            "\u0085", "\u200b", "\u200d", "\u1680", "\u000b", "\f", "\u202f", "\u001c", "\ufeff", "\u180e");
    private static final String PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~、。「」…—’‘“”¿¡§¶©€£+±×÷√∞";

    private final Random random;
    private final List<String> special;

    /// @param special tokens of the tokeniser under test, mixed in whole and cut
    RandomText(long seed, List<String> special) {
        this.random = new Random(seed);
        this.special = special;
    }

    String next() {
        StringBuilder text = new StringBuilder();
        int parts = random.nextInt(12);
        for (int i = 0; i < parts; i++) {
            appendPart(text);
        }
        return text.toString();
    }

    private void appendPart(StringBuilder text) {
        switch (random.nextInt(10)) {
            case 0, 1 -> text.append(pick(WORDS));
            case 2 -> text.append(' ').append(pick(WORDS));
            case 3, 4 -> {
                for (int n = 1 + random.nextInt(3); n > 0; n--) {
                    text.append(pick(SPACES));
                }
            }
            case 5 -> text.append(Integer.toString(random.nextInt(100_000)));
            case 6 -> text.append(pick(EMOJI));
            case 7 -> {
                for (int n = 1 + random.nextInt(4); n > 0; n--) {
                    text.append(PUNCTUATION.charAt(random.nextInt(PUNCTUATION.length())));
                }
            }
            case 8 -> {
                for (int n = 1 + random.nextInt(6); n > 0; n--) {
                    text.append((char) (' ' + random.nextInt(95)));
                }
            }
            default -> appendSpecial(text);
        }
    }

    private void appendSpecial(StringBuilder text) {
        if (special.isEmpty()) {
            return;
        }
        String token = pick(special);
        text.append(random.nextInt(4) == 0 ? token.substring(0, random.nextInt(token.length())) : token);
    }

    private String pick(List<String> list) {
        return list.get(random.nextInt(list.size()));
    }
}
