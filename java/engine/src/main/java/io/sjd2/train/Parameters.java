package io.sjd2.train;

import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/// The weights in one flat f32 array, and further arrays of the same layout: gradients, moments, averages.
///
/// Every tensor starts on a multiple of 16 elements unless it continues a fused matrix (q, k, v; gate, up), whose parts
/// must be adjacent; the gaps stay zero.
final class Parameters {
    private static final long ALIGN = 16;

    /// Where a tensor lies in the flat arrays.
    record Slot(NetworkShape.Entry entry, long offset) {}

    private final NetworkShape shape;
    private final Map<String, Slot> slots = new LinkedHashMap<>();
    private final long size;
    private final Tensor values;
    private final Tensor grads;

    Parameters(NetworkShape shape, Arena arena) {
        this.shape = shape;
        long offset = 0;
        for (NetworkShape.Entry entry : shape.entries()) {
            if (!continuesFusedMatrix(entry.name())) {
                offset = (offset + ALIGN - 1) / ALIGN * ALIGN;
            }
            slots.put(entry.name(), new Slot(entry, offset));
            offset += entry.elements();
        }
        this.size = (offset + ALIGN - 1) / ALIGN * ALIGN;
        this.values = flat(arena);
        this.grads = flat(arena);
    }

    private static boolean continuesFusedMatrix(String name) {
        return name.endsWith("k_proj.weight")
                || name.endsWith("v_proj.weight")
                || name.endsWith("up_proj.weight")
                || name.endsWith("k_proj.bias")
                || name.endsWith("v_proj.bias")
                || name.endsWith("up_proj.bias")
                || name.endsWith("q_norm.bias")
                || name.endsWith("k_norm.weight")
                || name.endsWith("k_norm.bias");
    }

    /// A zeroed array of this layout.
    Tensor flat(Arena arena) {
        return host(arena, DType.F32, size);
    }

    /// Zeroed host memory.
    static Tensor host(Arena arena, DType dtype, long... shape) {
        long bytes = dtype.bytes();
        for (long extent : shape) {
            bytes = Math.multiplyExact(bytes, extent);
        }
        MemorySegment segment = arena.allocate(Math.max(64, bytes), 64);
        return Tensor.of(segment, dtype, shape);
    }

    NetworkShape shape() {
        return shape;
    }

    /// The weights, all of them.
    Tensor values() {
        return values;
    }

    /// Their gradients.
    Tensor grads() {
        return grads;
    }

    /// Elements of a flat array, gaps included.
    long size() {
        return size;
    }

    List<Slot> slots() {
        return new ArrayList<>(slots.values());
    }

    boolean has(String name) {
        return slots.containsKey(name);
    }

    Slot slot(String name) {
        Slot slot = slots.get(name);
        if (slot == null) {
            throw new IllegalArgumentException("no tensor " + name + " in this network; it has " + slots.keySet());
        }
        return slot;
    }

    /// The part of a flat array that belongs to a tensor.
    Tensor view(Tensor flat, String name) {
        Slot slot = slot(name);
        return part(flat, slot.offset(), slot.entry().shape());
    }

    /// The weights of a tensor.
    Tensor value(String name) {
        return view(values, name);
    }

    /// The gradient of a tensor.
    Tensor grad(String name) {
        return view(grads, name);
    }

    /// A run of a flat array that starts with `name` and has another shape: a fused matrix.
    Tensor fused(Tensor flat, String name, long... fusedShape) {
        return part(flat, slot(name).offset(), fusedShape);
    }

    private static Tensor part(Tensor flat, long offset, long... shape) {
        return Tensor.of(flat.data().asSlice(offset * Float.BYTES), DType.F32, shape);
    }
}
