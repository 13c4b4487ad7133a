package io.sjd2.debug;

import io.sjd2.io.SafetensorsFile;
import io.sjd2.io.SafetensorsWriter;
import io.sjd2.io.TensorEntry;
import io.sjd2.kernel.Backend;
import io.sjd2.kernel.Backends;
import io.sjd2.model.Conditions;
import io.sjd2.model.LoadListener;
import io.sjd2.model.ModelDescription;
import io.sjd2.model.ModelFiles;
import io.sjd2.model.Probe;
import io.sjd2.model.Prompt;
import io.sjd2.model.Transformer;
import io.sjd2.tensor.DType;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/// A model's transformer on given inputs: logits of every row, and the residual stream behind the first two blocks.
///
/// A sequence is made of the parts that the input file has, in this order; every part is `[B, n]` or, shared by all
/// sequences, `[1, n]`:
///
/// - `caption` F32 `[B, n, caption_width]` with `mask`, or `labels` I32 `[B]`: a condition instead of text
/// - `text_ids` or `input_ids` I32: tokens
/// - `image_codes` or `codes` I32: codes of the image tokeniser
/// - `inputs_embeds` F32 `[B, n, hidden_size]`: anything
///
/// `attention_mask` `[B, T]` is 0 where a row is padding. Such a row is left out, and the positions of a sequence
/// count its other rows from 0; what is written for it is 0. Where positions lie in a plane, as LlamaGen's, they
/// count padding too, and a row of padding sees itself alone.
public final class DebugLogits {
    private static final String MASK = "attention_mask";
    private static final String CAPTION_MASK = "mask";
    private static final int HIDDEN_WRITTEN = 2;

    /// How to run the model.
    ///
    /// @param backend  as in the engine's options
    /// @param threads  worker threads; 0 takes every core
    /// @param dtype    what weights are stored and multiplied as
    /// @param map      whether files of weights are mapped
    /// @param chunks   rows of the first pieces fed over the cache; what is left is one piece more
    public record Settings(String backend, int threads, DType dtype, boolean map, List<Integer> chunks) {
        public Settings {
            chunks = List.copyOf(chunks);
            for (int rows : chunks) {
                if (rows < 1) {
                    throw new IllegalArgumentException("chunks are " + chunks + ", expected pieces of at least 1 row");
                }
            }
        }
    }

    private final ModelDescription description;
    private final Probe probe;
    private final Settings settings;
    private final SafetensorsFile in;
    private final Transformer model;
    private final int width;

    private DebugLogits(Transformer model, Probe probe, SafetensorsFile in, Settings settings) {
        this.model = model;
        this.description = model.description();
        this.width = model.config().hiddenSize();
        this.probe = probe;
        this.in = in;
        this.settings = settings;
    }

    /// Reads inputs, runs the model, and writes `logits` `[B, T, vocab_size]` (of codes where the model knows no
    /// tokens), or
    /// where codes have a head of their own `image_logits` and `text_logits`; and `hidden_after_layer_0` and `_1`.
    ///
    /// @param listener  told while weights load
    /// @throws IOException if a file cannot be read, breaks its format, or cannot be written
    /// @throws IllegalArgumentException if the inputs do not fit the model
    public static void run(Path folder, Path in, Path out, Settings settings, LoadListener listener)
            throws IOException {
        ModelDescription description = ModelDescription.read(folder);
        try (SafetensorsFile inputs = SafetensorsFile.open(in, settings.map());
                ModelFiles files = ModelFiles.of(description, folder, settings.map());
                Backend backend = Backends.open(settings.backend(), settings.threads());
                Transformer model =
                        Transformer.load(backend, files, settings.dtype(), Transformer.Heads.ALL, listener);
                Probe probe = new Probe(model, description.transformer().maxPositions())) {
            new DebugLogits(model, probe, inputs, settings).run().write(out);
        }
    }

    /// Rows of every sequence: embeddings `[B][T * hidden_size]`, and which of them are no padding.
    private record Sequences(int rows, List<float[]> embeddings, List<boolean[]> live) {}

    private SafetensorsWriter run() throws IOException {
        Sequences sequences = sequences();
        int batch = sequences.embeddings.size();
        int rows = sequences.rows;
        if (settings.chunks.stream().mapToLong(Integer::longValue).sum() > rows) {
            throw new IllegalArgumentException(
                    "chunks are " + settings.chunks + ", but the sequences have " + rows + " rows");
        }
        boolean codesApart = description.imageTable();
        int codes = description.codes();
        boolean tokens = codesApart || description.headByToken();
        int vocab = tokens ? model.config().vocabSize() : codes;
        Output logits = new Output(batch, rows, vocab);
        Output imageLogits = new Output(batch, codesApart ? rows : 0, codes);
        List<Output> hidden = new ArrayList<>();
        for (int layer = 0; layer < Math.min(HIDDEN_WRITTEN, model.config().layers()); layer++) {
            hidden.add(new Output(batch, rows, width));
        }
        for (int b = 0; b < batch; b++) {
            for (Piece piece : pieces(sequences.embeddings.get(b), sequences.live.get(b))) {
                Probe.Pass pass = probe.run(piece.embeddings, piece.cached, piece.position);
                float[] text = pass.textLogits();
                logits.put(b, piece.rows, tokens && text != null ? text : pass.codeLogits());
                if (codesApart) {
                    imageLogits.put(b, piece.rows, pass.codeLogits());
                }
                for (int layer = 0; layer < hidden.size(); layer++) {
                    hidden.get(layer).put(b, piece.rows, pass.hidden()[layer]);
                }
            }
        }
        SafetensorsWriter writer = new SafetensorsWriter();
        logits.add(writer, codesApart ? "text_logits" : "logits");
        if (codesApart) {
            imageLogits.add(writer, "image_logits");
        }
        for (int layer = 0; layer < hidden.size(); layer++) {
            hidden.get(layer).add(writer, "hidden_after_layer_" + layer);
        }
        return writer;
    }

    /// `[batch, rows, width]`, zero where nothing is put.
    private static final class Output {
        private final long[] shape;
        private final float[] values;
        private final int rows;
        private final int width;

        Output(int batch, int rows, int width) {
            long size = (long) batch * rows * width;
            if (size > Integer.MAX_VALUE - 8) {
                throw new IllegalArgumentException(
                        "the output has " + batch + " x " + rows + " x " + width + " numbers, at most "
                                + (Integer.MAX_VALUE - 8) + " can be written; give fewer or shorter sequences");
            }
            this.shape = new long[] {batch, rows, width};
            this.values = new float[(int) size];
            this.rows = rows;
            this.width = width;
        }

        void put(int sequence, int[] at, float[] piece) {
            for (int i = 0; i < at.length; i++) {
                System.arraycopy(piece, i * width, values, (sequence * rows + at[i]) * width, width);
            }
        }

        void add(SafetensorsWriter writer, String name) {
            writer.addF32(name, shape, values);
        }
    }

    /// What is fed at once.
    ///
    /// @param rows      where its rows stand in the output
    /// @param cached    rows fed before it that it sees
    /// @param position  of its first row
    private record Piece(float[] embeddings, int[] rows, int cached, int position) {}

    private List<Piece> pieces(float[] embeddings, boolean[] live) {
        boolean plane = model.config().rope().plane() != null;
        int padding = 0;
        while (plane && padding < live.length && !live[padding]) {
            padding++;
        }
        List<Piece> pieces = new ArrayList<>();
        int[] rows = new int[live.length];
        int count = 0;
        for (int row = 0; row < live.length; row++) {
            if (live[row]) {
                rows[count++] = row;
            } else if (row < padding) {
                // Before the others, which then overwrite its entry of the cache.
                pieces.add(new Piece(gathered(embeddings, row), new int[] {row}, 0, row));
            } else if (plane) {
                throw new IllegalArgumentException("a mask is 0 at row " + row
                        + " behind rows where it is 1, expected padding on the left: positions of this model"
                        + " lie in a plane");
            }
        }
        int at = 0;
        for (int size : settings.chunks) {
            int end = Math.min(count, at + size);
            add(pieces, embeddings, Arrays.copyOfRange(rows, at, end), at, padding + at);
            at = end;
        }
        add(pieces, embeddings, Arrays.copyOfRange(rows, at, count), at, padding + at);
        return pieces;
    }

    private void add(List<Piece> pieces, float[] embeddings, int[] rows, int cached, int position) {
        if (rows.length > 0) {
            pieces.add(new Piece(gathered(embeddings, rows), rows, cached, position));
        }
    }

    private float[] gathered(float[] embeddings, int... rows) {
        float[] out = new float[rows.length * width];
        for (int i = 0; i < rows.length; i++) {
            System.arraycopy(embeddings, rows[i] * width, out, i * width, width);
        }
        return out;
    }

    private Sequences sequences() throws IOException {
        int batch = batch();
        List<float[]> embeddings = new ArrayList<>();
        List<boolean[]> live = new ArrayList<>();
        int rows = -1;
        for (int b = 0; b < batch; b++) {
            Joined joined = joined(b, batch);
            if (rows >= 0 && joined.rows() != rows) {
                throw new AssertionError("parts have the same extents for every sequence");
            }
            rows = joined.rows();
            embeddings.add(joined.embeddings());
            live.add(joined.live());
        }
        if (rows < 1) {
            throw new IllegalArgumentException(in.source() + ": holds no row to run: give input_ids, inputs_embeds,"
                    + " text_ids with image_codes, or caption or labels with codes");
        }
        return new Sequences(rows, embeddings, live);
    }

    private int batch() throws IOException {
        int batch = 1;
        for (String name : List.of(
                "caption",
                CAPTION_MASK,
                "labels",
                "text_ids",
                "input_ids",
                "image_codes",
                "codes",
                "inputs_embeds",
                MASK)) {
            Optional<TensorEntry> entry = in.find(name);
            if (entry.isEmpty()) {
                continue;
            }
            long[] shape = entry.get().shape();
            int axes = name.equals("labels") ? 1 : name.equals("caption") || name.equals("inputs_embeds") ? 3 : 2;
            if (shape.length != axes
                    || shape[0] < 1
                    || shape[0] > 1 << 16
                    || shape[0] != 1 && batch != 1 && shape[0] != batch) {
                throw new IllegalArgumentException(in.source() + ": tensor " + entry.get() + " should have " + axes
                        + " axes, the first of 1 or as many sequences as the others");
            }
            batch = Math.max(batch, (int) shape[0]);
        }
        return batch;
    }

    /// One sequence as its parts come.
    private final class Joined {
        private final List<float[]> parts = new ArrayList<>();
        private final List<Boolean> live = new ArrayList<>();

        void add(float[] embeddings) {
            parts.add(embeddings);
            for (int i = 0; i < embeddings.length / width; i++) {
                live.add(true);
            }
        }

        void mask(int[] mask) {
            for (int i = 0; i < mask.length; i++) {
                live.set(i, mask[i] != 0);
            }
        }

        int rows() {
            return live.size();
        }

        float[] embeddings() {
            float[] all = new float[rows() * width];
            int at = 0;
            for (float[] part : parts) {
                System.arraycopy(part, 0, all, at, part.length);
                at += part.length;
            }
            return all;
        }

        boolean[] live() {
            boolean[] values = new boolean[live.size()];
            for (int i = 0; i < values.length; i++) {
                values[i] = live.get(i);
            }
            return values;
        }
    }

    private Joined joined(int sequence, int batch) throws IOException {
        Joined joined = new Joined();
        condition(joined, sequence, batch);
        Optional<TensorEntry> mask = in.find(MASK);
        for (String name : List.of("text_ids", "input_ids")) {
            if (in.has(name)) {
                int[] ids = ints(name, sequence, batch);
                // Whatever stands for padding need not be a token.
                int[] masked = mask.isPresent() ? ints(MASK, sequence, batch) : new int[0];
                for (int i = 0; i < ids.length && joined.rows() + i < masked.length; i++) {
                    ids[i] = masked[joined.rows() + i] == 0 ? 0 : ids[i];
                }
                joined.add(probe.embedTokens(ids));
            }
        }
        for (String name : List.of("image_codes", "codes")) {
            if (in.has(name)) {
                joined.add(probe.embedCodes(ints(name, sequence, batch)));
            }
        }
        if (in.has("inputs_embeds")) {
            joined.add(floats("inputs_embeds", sequence, batch, width));
        }
        if (mask.isPresent()) {
            int[] values = ints(MASK, sequence, batch);
            if (values.length != joined.rows()) {
                throw new IllegalArgumentException(in.source() + ": tensor " + mask.get()
                        + " should have a number for each" + " of the " + joined.rows() + " rows of a sequence");
            }
            joined.mask(values);
        }
        return joined;
    }

    private void condition(Joined joined, int sequence, int batch) throws IOException {
        boolean labels = in.has("labels");
        boolean caption = in.has("caption");
        Conditions conditions = model.conditions();
        if (!labels && !caption) {
            return;
        }
        if (conditions == null) {
            throw new IllegalArgumentException(in.source() + ": holds " + (labels ? "labels" : "a caption")
                    + ", but this model takes text; give input_ids");
        }
        if (labels) {
            int[] all = in.tensor("labels").toInts();
            Prompt.Embeddings prompt = (Prompt.Embeddings) conditions.label(all[all.length == 1 ? 0 : sequence]);
            joined.add(prompt.values());
            return;
        }
        float[] features = floats("caption", sequence, batch, conditions.shape().captionWidth());
        joined.add(conditions.project(features));
        if (in.has(CAPTION_MASK)) {
            int[] mask = ints(CAPTION_MASK, sequence, batch);
            if (mask.length != joined.rows()) {
                throw new IllegalArgumentException(in.source() + ": tensor " + in.tensor(CAPTION_MASK)
                        + " should have a number for each of the " + joined.rows() + " rows of the caption");
            }
            joined.mask(mask);
        }
    }

    private int[] ints(String name, int sequence, int batch) throws IOException {
        int[] all = in.tensor(name).toInts();
        int n = all.length / (int) in.tensor(name).shape()[0];
        int from = all.length == n && batch > 1 ? 0 : sequence * n;
        return Arrays.copyOfRange(all, from, from + n);
    }

    private float[] floats(String name, int sequence, int batch, int lastAxis) throws IOException {
        TensorEntry entry = in.tensor(name);
        if (entry.shape()[2] != lastAxis) {
            throw new IllegalArgumentException(
                    in.source() + ": tensor " + entry + " should have a last axis of " + lastAxis);
        }
        float[] all = entry.toFloats();
        int n = all.length / (int) entry.shape()[0];
        int from = all.length == n && batch > 1 ? 0 : sequence * n;
        return Arrays.copyOfRange(all, from, from + n);
    }
}
