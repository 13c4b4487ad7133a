package io.sjd2.tensor;

import java.util.Locale;

/// Element type of a tensor. The ordinal order is part of the C ABI (`sjd2_dtype` in `include/sjd2/kernels.h`).
public enum DType {
    F32(4),
    BF16(2),
    F16(2),
    F64(8),
    I32(4),
    I64(8),
    U8(1);

    private final int bytes;

    DType(int bytes) {
        this.bytes = bytes;
    }

    /// Bytes per element.
    public int bytes() {
        return bytes;
    }

    /// The code that stands for this type in the C ABI.
    public int code() {
        return ordinal();
    }

    /// The suffix of C symbols and the word users type: `f32`, `bf16`, ...
    public String label() {
        return name().toLowerCase(Locale.ROOT);
    }
}
