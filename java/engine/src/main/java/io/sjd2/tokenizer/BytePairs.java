package io.sjd2.tokenizer;

import io.sjd2.io.Json;
import io.sjd2.io.ModelFormatException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import java.util.PriorityQueue;

/// Byte-pair encoding: a piece starts as single characters, and the earliest merge of the list that applies anywhere
/// is done first, the leftmost of several, until none applies.
///
/// Time is `n log n` in the length of the piece. Immutable and thread-safe.
final class BytePairs {
    private static final int MAX_ID = (1 << 24) - 1;

    private final Map<String, Integer> vocab;
    // left id << 32 | right id -> rank << 32 | merged id
    private final Map<Long, Long> merges;
    private final OptionalInt unknown;
    private final boolean fuseUnknown;
    private final boolean byteFallback;
    private final boolean ignoreMerges;

    private BytePairs(
            Map<String, Integer> vocab,
            Map<Long, Long> merges,
            OptionalInt unknown,
            boolean fuseUnknown,
            boolean byteFallback,
            boolean ignoreMerges) {
        this.vocab = vocab;
        this.merges = merges;
        this.unknown = unknown;
        this.fuseUnknown = fuseUnknown;
        this.byteFallback = byteFallback;
        this.ignoreMerges = ignoreMerges;
    }

    /// @param json the file's `model`
    /// @throws ModelFormatException if it is of another kind, or its parts contradict each other
    static BytePairs parse(Json json) throws ModelFormatException {
        if (json.has("type") && !json.get("type").string().equals("BPE")) {
            throw json.get("type").unexpected("a model that is built: BPE");
        }
        for (String affix : List.of("continuing_subword_prefix", "end_of_word_suffix")) {
            if (!json.string(affix, "").isEmpty()) {
                throw json.get(affix).unexpected("none, which is all that is built");
            }
        }
        if (json.number("dropout", 0) != 0) {
            throw json.get("dropout").unexpected("none: ids must not depend on chance");
        }
        Map<String, Integer> vocab = readVocab(json.get("vocab"));
        OptionalInt unknown = OptionalInt.empty();
        if (json.has("unk_token")) {
            unknown = OptionalInt.of(id(vocab, json.get("unk_token")));
        }
        return new BytePairs(
                vocab,
                readMerges(json.get("merges"), vocab),
                unknown,
                json.bool("fuse_unk", false),
                json.bool("byte_fallback", false),
                json.bool("ignore_merges", false));
    }

    private static Map<String, Integer> readVocab(Json json) throws ModelFormatException {
        Map<String, Integer> vocab = new HashMap<>();
        Map<Integer, String> byId = new HashMap<>();
        for (String token : json.keys()) {
            int id = checkedId(json.get(token));
            vocab.put(token, id);
            String other = byId.put(id, token);
            if (other != null) {
                throw json.get(token).unexpected("an id of its own, \"" + other + "\" has it too");
            }
        }
        return vocab;
    }

    /// An id small enough to be an index into some table.
    static int checkedId(Json json) throws ModelFormatException {
        int id = json.int32();
        if (id < 0 || id > MAX_ID) {
            throw json.unexpected("an id from 0 to " + MAX_ID);
        }
        return id;
    }

    private static Map<Long, Long> readMerges(Json json, Map<String, Integer> vocab) throws ModelFormatException {
        Map<Long, Long> merges = new HashMap<>();
        long rank = 0;
        for (Json merge : json.items()) {
            String left;
            String right;
            if (merge.isString()) {
                String line = merge.string();
                if (line.startsWith("#version")) {
                    continue; // files made from a merges.txt may carry its first line along
                }
                int space = line.indexOf(' ');
                if (space < 0 || line.indexOf(' ', space + 1) >= 0) {
                    throw merge.unexpected("two tokens with one space between them");
                }
                left = line.substring(0, space);
                right = line.substring(space + 1);
            } else {
                List<Json> pair = merge.items();
                if (pair.size() != 2) {
                    throw merge.unexpected("two tokens");
                }
                left = pair.get(0).string();
                right = pair.get(1).string();
            }
            Integer leftId = vocab.get(left);
            Integer rightId = vocab.get(right);
            Integer mergedId = vocab.get(left + right);
            if (leftId == null || rightId == null || mergedId == null) {
                throw merge.unexpected("tokens of the vocabulary whose concatenation is one too");
            }
            merges.put(pair(leftId, rightId), rank << 32 | mergedId);
            rank++;
        }
        return merges;
    }

    private static int id(Map<String, Integer> vocab, Json token) throws ModelFormatException {
        Integer id = vocab.get(token.string());
        if (id == null) {
            throw token.unexpected("a token of the vocabulary");
        }
        return id;
    }

    /// Token to id.
    Map<String, Integer> vocab() {
        return vocab;
    }

    /// Appends the ids of one piece.
    void encode(String piece, Ids out) {
        if (ignoreMerges) {
            Integer whole = vocab.get(piece);
            if (whole != null) {
                out.add(whole);
                return;
            }
        }
        int[] ids = characters(piece);
        int kept = merge(ids);
        for (int i = 0; i < kept; i++) {
            out.add(ids[i]);
        }
    }

    /// The ids of the characters; one that the vocabulary lacks becomes its bytes, the unknown token, or nothing,
    /// whichever of these the file provides first.
    private int[] characters(String piece) {
        Ids ids = new Ids();
        boolean pending = false;
        for (int at = 0; at < piece.length(); ) {
            int end = piece.offsetByCodePoints(at, 1);
            String character = piece.substring(at, end);
            at = end;
            Integer id = vocab.get(character);
            if (id != null) {
                if (pending) {
                    ids.add(unknown.getAsInt());
                    pending = false;
                }
                ids.add(id);
            } else if (!byteFallback || !addBytes(character, ids)) {
                // An unknown run is written when it ends, so that bytes of later characters overtake it; the format's
                // reference implementation does the same, and ids have to agree.
                if (pending && !fuseUnknown) {
                    ids.add(unknown.getAsInt());
                }
                pending = unknown.isPresent();
            }
        }
        if (pending) {
            ids.add(unknown.getAsInt());
        }
        return ids.toArray();
    }

    private boolean addBytes(String character, Ids ids) {
        byte[] utf8 = character.getBytes(StandardCharsets.UTF_8);
        int[] found = new int[utf8.length];
        for (int i = 0; i < utf8.length; i++) {
            Integer id = vocab.get(String.format("<0x%02X>", utf8[i] & 0xff));
            if (id == null) {
                return false;
            }
            found[i] = id;
        }
        for (int id : found) {
            ids.add(id);
        }
        return true;
    }

    /// Merges in place and returns how many ids are left.
    private int merge(int[] ids) {
        int n = ids.length;
        // A linked list over the array: next[i] is the symbol after i, and a symbol that was merged away has id -1.
        int[] next = new int[n];
        int[] previous = new int[n];
        PriorityQueue<Long> queue = new PriorityQueue<>();
        for (int i = 0; i < n; i++) {
            next[i] = i + 1;
            previous[i] = i - 1;
        }
        for (int i = 0; i + 1 < n; i++) {
            offer(queue, ids, i, i + 1);
        }
        while (!queue.isEmpty()) {
            long best = queue.poll();
            int left = (int) best;
            int right = ids[left] < 0 ? n : next[left];
            if (right >= n) {
                continue;
            }
            Long merge = merges.get(pair(ids[left], ids[right]));
            if (merge == null || merge >>> 32 != best >>> 32) {
                continue; // one of the two was merged with something else since this was queued
            }
            ids[left] = merge.intValue();
            ids[right] = -1;
            next[left] = next[right];
            if (next[left] < n) {
                previous[next[left]] = left;
                offer(queue, ids, left, next[left]);
            }
            if (previous[left] >= 0) {
                offer(queue, ids, previous[left], left);
            }
        }
        int kept = 0;
        for (int id : ids) {
            if (id >= 0) {
                ids[kept++] = id;
            }
        }
        return kept;
    }

    /// Queues the pair if it can be merged: by rank, then by place.
    private void offer(PriorityQueue<Long> queue, int[] ids, int left, int right) {
        Long merge = merges.get(pair(ids[left], ids[right]));
        if (merge != null) {
            queue.add(merge & 0xffffffff00000000L | left);
        }
    }

    private static long pair(int left, int right) {
        return (long) left << 32 | right;
    }

    /// A growing list of ids.
    static final class Ids {
        private int[] ids = new int[16];
        private int size;

        void add(int id) {
            if (size == ids.length) {
                ids = Arrays.copyOf(ids, 2 * size);
            }
            ids[size++] = id;
        }

        int[] toArray() {
            return Arrays.copyOf(ids, size);
        }
    }
}
