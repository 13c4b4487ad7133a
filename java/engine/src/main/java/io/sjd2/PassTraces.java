package io.sjd2;

import io.sjd2.PassTrace.Origin;
import io.sjd2.PassTrace.Outcome;
import io.sjd2.PassTrace.Slot;
import io.sjd2.decode.DecodeListener.Progress;
import io.sjd2.decode.WindowView;
import io.sjd2.kernel.DraftKind;
import java.util.ArrayList;
import java.util.List;
import java.util.function.IntUnaryOperator;

/// Windows in the words of {@link PassTrace}.
final class PassTraces {
    private static final double NANOS_PER_MILLI = 1e6;

    private PassTraces() {}

    /// What the last pass did to one picture of a batch.
    ///
    /// @param image    in the batch
    /// @param picture  in the request
    /// @param tokenOf  vocabulary id of a local id
    static PassTrace of(Progress progress, int image, int picture, IntUnaryOperator tokenOf) {
        WindowView windows = progress.windows();
        List<Slot> slots = new ArrayList<>(windows.rows(image));
        for (int row = 0; row < windows.rows(image); row++) {
            slots.add(slot(windows, image, row, tokenOf));
        }
        return new PassTrace(
                picture,
                progress.iteration(),
                windows.first(image),
                windows.accepted(image),
                progress.windowInputNanos() / NANOS_PER_MILLI,
                progress.forwardNanos() / NANOS_PER_MILLI,
                progress.verifyNanos() / NANOS_PER_MILLI,
                slots);
    }

    private static Slot slot(WindowView windows, int image, int row, IntUnaryOperator tokenOf) {
        int draft = windows.draft(image, row);
        int token = windows.token(image, row);
        int level = windows.level(image, row);
        DraftKind kind = windows.kind(image, row);
        return new Slot(
                windows.first(image) + row,
                origin(kind, level),
                id(draft, tokenOf),
                level,
                outcome(kind, draft, token, row < windows.accepted(image)),
                id(token, tokenOf),
                windows.levelAfter(image, row));
    }

    private static int id(int local, IntUnaryOperator tokenOf) {
        return local == WindowView.NO_TOKEN ? PassTrace.NO_TOKEN : tokenOf.applyAsInt(local);
    }

    private static Origin origin(DraftKind kind, int level) {
        return switch (kind) {
            case NONE -> level > 0 ? Origin.NOISE : Origin.NONE;
            case UNIFORM -> Origin.UNIFORM;
            case ROW -> Origin.PREDICTED;
            case FORCED -> Origin.STRUCTURE;
        };
    }

    private static Outcome outcome(DraftKind kind, int draft, int token, boolean committed) {
        if (kind == DraftKind.FORCED) {
            return committed ? Outcome.FILLED : Outcome.KEPT;
        }
        if (committed) {
            return kind == DraftKind.NONE ? Outcome.DRAWN : token == draft ? Outcome.ACCEPTED : Outcome.RESAMPLED;
        }
        if (token == WindowView.NO_TOKEN) {
            return kind == DraftKind.NONE ? Outcome.WAITING : Outcome.RESTARTED;
        }
        return kind == DraftKind.NONE ? Outcome.DRAFTED : token == draft ? Outcome.KEPT : Outcome.REDRAWN;
    }
}
