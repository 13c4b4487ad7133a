package io.sjd2.decode;

import io.sjd2.kernel.Backend;
import io.sjd2.kernel.DecoderKind;
import io.sjd2.kernel.DraftKind;
import io.sjd2.kernel.Kernels;
import io.sjd2.kernel.Purpose;
import io.sjd2.kernel.StateBlock;
import io.sjd2.kernel.StateBlock.ImageField;
import io.sjd2.kernel.StateBlock.SequenceField;
import io.sjd2.kernel.WindowState;
import io.sjd2.kernel.reference.Philox;
import io.sjd2.tensor.Tensor;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;

/// A second writing of the `verify` operation, with switches for the mistakes that published code makes.
///
/// With {@link Mutation#NONE} it must pass whatever the real one passes: a mutant is only evidence if its twin is
/// sound. Covers the rejection-testing decoders, without forced tokens; host memory.
final class MutantVerify {
    enum Mutation {
        /// Correct.
        NONE,
        /// A draft that coupling keeps stays paired with the row it was first drawn from.
        OLD_Q_KEPT,
        /// Neighbouring pictures commit as many positions as the slower one; what it accepted beyond is tested again.
        BATCH_MINIMUM,
        /// At the first rejection a fresh sample of the target instead of the residual.
        FRESH_INSTEAD_OF_RESIDUAL,
        /// Commits behind noisy inputs.
        THROUGH_NOISE
    }

    private final Mutation mutation;
    private final WindowState window;
    private final StateBlock state;

    private MutantVerify(Mutation mutation, WindowState window, StateBlock state) {
        this.mutation = mutation;
        this.window = window;
        this.state = state;
    }

    /// `base` with its `verify` replaced.
    static Backend backend(Backend base, Mutation mutation) {
        Kernels kernels = base.kernels();
        Kernels mutated = (Kernels) Proxy.newProxyInstance(
                Kernels.class.getClassLoader(), new Class<?>[] {Kernels.class}, (proxy, method, arguments) -> {
                    if (method.getName().equals("verify")) {
                        new MutantVerify(mutation, (WindowState) arguments[0], (StateBlock) arguments[1]).run();
                        return null;
                    }
                    return invoke(kernels, method, arguments);
                });
        return (Backend) Proxy.newProxyInstance(
                Backend.class.getClassLoader(),
                new Class<?>[] {Backend.class},
                (proxy, method, arguments) ->
                        method.getName().equals("kernels") ? mutated : invoke(base, method, arguments));
    }

    private static Object invoke(Object target, java.lang.reflect.Method method, Object[] arguments) throws Throwable {
        try {
            return method.invoke(target, arguments);
        } catch (InvocationTargetException e) {
            throw e.getCause();
        }
    }

    private void run() {
        int images = state.images();
        int[] commits = new int[images];
        for (int image = 0; image < images; image++) {
            commits[image] = accept(image);
        }
        for (int image = 0; image < images; image++) {
            int partner = image ^ 1;
            boolean paired = mutation == Mutation.BATCH_MINIMUM && partner < images && commits[partner] > 0;
            finish(image, commits[image], paired ? Math.min(commits[image], commits[partner]) : commits[image]);
        }
    }

    private int rows(int image) {
        int left = state.get(image, ImageField.LENGTH) - state.get(image, ImageField.COMMITTED);
        return Math.min(state.get(image, ImageField.WINDOW), left);
    }

    /// Writes the prefix to the committed tokens; what of it counts is decided by {@link #finish}.
    private int accept(int image) {
        int committed = state.get(image, ImageField.COMMITTED);
        int rows = rows(image);
        for (int row = 0; row < rows; row++) {
            if (row > 0 && draft(image, committed + row - 1, 2) > 0 && mutation != Mutation.THROUGH_NOISE) {
                return row;
            }
            int position = committed + row;
            int token = draft(image, position, 0);
            boolean fresh = draft(image, position, 1) == DraftKind.NONE.ordinal();
            int chosen = fresh ? draw(image, position) : test(image, position, mutation);
            window.tokens().setInt(image * window.tokens().dim(1) + position, chosen);
            if (fresh || chosen != token) {
                return row + 1;
            }
        }
        return rows;
    }

    private void finish(int image, int accepted, int commit) {
        int committed = state.get(image, ImageField.COMMITTED);
        boolean maximal = state.get(image, ImageField.DECODER) == DecoderKind.MAXIMAL.ordinal();
        int rows = rows(image);
        for (int row = commit; row < rows; row++) {
            int position = committed + row;
            int old = draft(image, position, 0);
            boolean fresh = draft(image, position, 1) == DraftKind.NONE.ordinal();
            int chosen;
            if (row < accepted) {
                chosen = window.tokens().getInt(image * window.tokens().dim(1) + position);
            } else {
                chosen = fresh || !maximal ? draw(image, position) : test(image, position, Mutation.NONE);
            }
            boolean keepsOldRow = row < accepted || mutation == Mutation.OLD_Q_KEPT;
            if (!fresh && chosen == old && keepsOldRow) {
                for (int c = 0; c < window.codes(); c++) {
                    window.probs().setFloat(index(image, position, 0) + c, (float) q(image, position, c));
                }
            }
            setDraft(image, position, 0, chosen);
            setDraft(image, position, 1, DraftKind.ROW.ordinal());
            setDraft(image, position, 2, Math.max(0, draft(image, position, 2) - 1));
        }
        for (int position = committed; position < committed + commit; position++) {
            setDraft(image, position, 1, DraftKind.NONE.ordinal());
            setDraft(image, position, 2, state.get(image, ImageField.LEVELS));
        }
        state.set(image, ImageField.COMMITTED, committed + commit);
        state.set(image, ImageField.ACCEPTED, commit);
        if (commit > 0) {
            state.set(image, ImageField.ITERATION, state.get(image, ImageField.ITERATION) + 1);
        }
        int sequence = state.get(image, ImageField.COND);
        state.set(sequence, SequenceField.KV_LEN, state.get(sequence, SequenceField.KV_LEN) + commit);
        state.set(sequence, SequenceField.POSITION, state.get(sequence, SequenceField.POSITION) + commit);
        state.set(sequence, SequenceField.ROWS, rows(image));
    }

    private int test(int image, int position, Mutation rule) {
        int token = draft(image, position, 0);
        if (uniform(image, position, Purpose.ACCEPT) * q(image, position, token) < p(image, position, token)) {
            return token;
        }
        double u = uniform(image, position, Purpose.RESIDUAL);
        if (rule == Mutation.FRESH_INSTEAD_OF_RESIDUAL) {
            return inverse(image, position, u, false);
        }
        return inverse(image, position, u, true);
    }

    private int draw(int image, int position) {
        return inverse(image, position, uniform(image, position, Purpose.DRAW), false);
    }

    private int inverse(int image, int position, double u, boolean residual) {
        double[] weights = new double[window.codes()];
        double total = 0;
        for (int c = 0; c < weights.length; c++) {
            double minus = residual ? q(image, position, c) : 0;
            weights[c] = Math.max(0, p(image, position, c) - minus);
            total += weights[c];
        }
        double left = u * total;
        int last = 0;
        for (int c = 0; c < weights.length; c++) {
            if (weights[c] > 0) {
                last = c;
                left -= weights[c];
                if (left < 0) {
                    return c;
                }
            }
        }
        return last;
    }

    private double uniform(int image, int position, Purpose purpose) {
        long seed = (long) state.get(image, ImageField.SEED_HIGH) << 32
                | (state.get(image, ImageField.SEED_LOW) & 0xffffffffL);
        return Philox.uniform24(Philox.word(
                seed,
                state.get(image, ImageField.INDEX),
                position,
                purpose.streamHigh(state.get(image, ImageField.ITERATION)),
                0));
    }

    private double p(int image, int position, int code) {
        return window.probs().getFloat(index(image, position, 0) + code);
    }

    private double q(int image, int position, int code) {
        if (draft(image, position, 1) == DraftKind.UNIFORM.ordinal()) {
            return 1.0 / window.codes();
        }
        return window.probs().getFloat(index(image, position, 1) + code);
    }

    /// First element of the probability row of this iteration (`back` 0) or the one before (1).
    private long index(int image, int position, int back) {
        long half = (state.get(image, ImageField.ITERATION) + back) & 1;
        return ((image * 2 + half) * state.maxWindow() + position % state.maxWindow()) * window.codes();
    }

    private int draft(int image, int position, int field) {
        return window.drafts().getInt(draftIndex(image, position) + field);
    }

    private void setDraft(int image, int position, int field, int value) {
        Tensor drafts = window.drafts();
        drafts.setInt(draftIndex(image, position) + field, value);
    }

    private long draftIndex(int image, int position) {
        return ((long) image * state.maxWindow() + position % state.maxWindow()) * WindowState.DRAFT_INTS;
    }
}
