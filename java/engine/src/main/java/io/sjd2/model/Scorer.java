package io.sjd2.model;

import io.sjd2.kernel.Backend;
import io.sjd2.kernel.StateBlock;
import io.sjd2.kernel.StateBlock.ImageField;
import io.sjd2.kernel.StateBlock.SequenceField;
import io.sjd2.kernel.WindowState;
import io.sjd2.model.TransformerConfig.Grid;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.List;

/// Log-likelihood of finished pictures under the model itself: teacher forcing, clean embeddings, no guidance, no
/// filters.
///
/// The one measurement that sees a biased sampler: colours and places may look right while the tokens are improbable.
public final class Scorer {
    private static final int CHUNK = 64;

    private final Transformer model;

    public Scorer(Transformer model) {
        this.model = model;
    }

    /// Log-probability in nats of every code of a picture of the usual size, given the prompt and the codes before it.
    ///
    /// @param prompt  token ids, the image-begin token included
    /// @param codes   the picture's codes in order
    /// @return `[codes.length]`, each at most 0
    /// @throws IllegalArgumentException if a code is out of range or the picture is not of the usual size
    public float[] score(int[] prompt, int[] codes) {
        return score(Prompt.of(prompt), model.description().grid(), codes);
    }

    /// Log-probability in nats of every code of a picture, given the prompt and what stands before it.
    ///
    /// @param prompt  up to where the picture begins
    /// @param grid    the picture's size
    /// @param codes   the picture's codes, row by row
    /// @return `[codes.length]`, each at most 0
    /// @throws IllegalArgumentException if a code is out of range, or there are more or fewer than the grid has cells
    public float[] score(Prompt prompt, Grid grid, int[] codes) {
        ModelDescription d = model.description();
        if (codes.length != grid.cells()) {
            throw new IllegalArgumentException(
                    "score: the picture has " + codes.length + " codes, expected " + grid.cells());
        }
        for (int i = 0; i < codes.length; i++) {
            if (codes[i] < 0 || codes[i] >= d.codes()) {
                throw new IllegalArgumentException(
                        "score: code " + codes[i] + " at " + i + ", expected 0 to " + (d.codes() - 1));
            }
        }
        int[] forced = d.picture().forced(grid, d.codes());
        int[] local = new int[d.picture().length(grid)];
        int next = 0;
        for (int i = 0; i < local.length; i++) {
            local[i] = forced == null || forced[i] == PictureFormat.SAMPLED ? codes[next++] : forced[i];
        }
        float[] scores = scored(prompt, local);
        float[] result = new float[codes.length];
        next = 0;
        for (int i = 0; i < local.length; i++) {
            if (local[i] < d.codes()) {
                result[next++] = scores[i];
            }
        }
        return result;
    }

    /// Of every position; meaningless where a structural token stands.
    private float[] scored(Prompt prompt, int[] codes) {
        ModelDescription d = model.description();
        int[] ids = Arrays.stream(codes).map(model::tableRow).toArray();
        int[] wanted = Arrays.stream(codes).map(c -> Math.min(c, d.codes() - 1)).toArray();
        int position = prompt.position() + prompt.length() - 1;
        Backend backend = model.backend();
        int chunk = Math.min(CHUNK, codes.length);
        float[] result = new float[codes.length];
        try (Arena arena = Arena.ofShared();
                TransformerForward forward =
                        new TransformerForward(model, 1, chunk, prompt.length() + codes.length, prompt.length())) {
            forward.prefill(List.of(prompt));
            StateBlock state = new StateBlock(backend, arena, 1, 1, chunk);
            WindowState window = WindowState.allocate(
                    backend, arena, 1, chunk, codes.length, d.codes(), forward.hiddenSize(), false, false);
            Tensor input = backend.allocate(arena, DType.F32, 1, chunk, forward.hiddenSize());
            Tensor inputRows = input.view(chunk, forward.hiddenSize());
            Tensor logits = backend.allocate(arena, DType.F32, 1, chunk, d.codes());
            Tensor idTensor = backend.allocate(arena, DType.I32, codes.length);
            Tensor targets = backend.allocate(arena, DType.I32, codes.length);
            Tensor scores = backend.allocate(arena, DType.F32, codes.length);
            backend.upload(idTensor, MemorySegment.ofArray(ids));
            backend.upload(targets, MemorySegment.ofArray(wanted));
            for (int start = 0; start < codes.length; start += chunk) {
                int rows = Math.min(chunk, codes.length - start);
                state.set(0, ImageField.COMMITTED, start);
                state.set(0, ImageField.LENGTH, codes.length);
                state.set(0, ImageField.WINDOW, chunk);
                state.set(0, SequenceField.IMAGE, 0);
                state.set(0, SequenceField.ROWS, rows);
                state.set(0, SequenceField.KV_LEN, prompt.length() - 1 + start);
                state.set(0, SequenceField.POSITION, position + start);
                state.push();
                // Row w's input is the code before it; row 0 of the picture takes the prompt's last embedding.
                int skip = start == 0 ? 1 : 0;
                if (rows > skip) {
                    model.backend()
                            .kernels()
                            .embed(
                                    inputRows.rows(skip, rows - skip),
                                    model.codeTable(),
                                    idTensor.rows(start + skip - 1L, rows - skip));
                }
                forward.run(input, logits, window, state);
                backend.kernels()
                        .logLikelihood(
                                scores.rows(start, rows),
                                logits.view(chunk, d.codes()).rows(0, rows),
                                targets.rows(start, rows));
                backend.synchronize();
            }
            backend.download(MemorySegment.ofArray(result), scores);
        }
        return result;
    }
}
