package io.sjd2;

import io.sjd2.scenes.SceneGenerator;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;

/// Prompts of the built-in scenes that no training has seen.
public final class ScenePrompts {
    /// Seed of the list that results are quoted for.
    public static final long SEED = 2_510_08994L;

    /// The longest list.
    public static final int MOST = 10_000;

    private ScenePrompts() {}

    /// The first `count` held-out captions, all different, always the same.
    ///
    /// @throws IllegalArgumentException unless `count` is 1 to {@link #MOST}
    public static List<String> heldOut(int count) {
        if (count < 1 || count > MOST) {
            throw new IllegalArgumentException("held-out is " + count + ", expected 1 to " + MOST + " prompts");
        }
        SceneGenerator generator = new SceneGenerator(SEED, SceneGenerator.Split.HELD_OUT);
        Set<String> prompts = new LinkedHashSet<>();
        for (long index = 0; prompts.size() < count; index++) {
            prompts.add(generator.scene(index).caption());
        }
        return List.copyOf(new ArrayList<>(prompts));
    }
}
