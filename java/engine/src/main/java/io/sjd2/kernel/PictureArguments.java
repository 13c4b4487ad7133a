package io.sjd2.kernel;

import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/// The argument checks of the operations of image tokenisers, shared by every backend as those of
/// {@link KernelArguments}.
public final class PictureArguments {
    private static final String PICTURE = "[n, frames, height, width, channels]";

    private PictureArguments() {}

    public static void packedConvElements(long nOut, long nIn, long taps, DType dtype) {
        if (nOut < 1 || nIn < 1 || taps < 1 || taps > 343) {
            throw new IllegalArgumentException("packedConvElements: [n_out=" + nOut + ", n_in=" + nIn + ", taps=" + taps
                    + "] must be at least 1 each, and at most 343 taps");
        }
        if (dtype != DType.F32 && dtype != DType.BF16) {
            throw new IllegalArgumentException(
                    "packedConvElements: dtype is " + dtype.label() + ", expected f32 or bf16");
        }
    }

    /// Comes before the backend can say how many elements a packed kernel has.
    public static void packConv(Tensor dst, Tensor src, long firstRow, long nOut) {
        String op = "packConv";
        weightDtype(op, "dst", dst);
        if (src.dtype() != DType.F32 && src.dtype() != DType.BF16 && src.dtype() != DType.F16) {
            throw wrong(op, "src", src, "dtype f32, bf16 or f16");
        }
        if (src.rank() != 3) {
            throw wrong(op, "src", src, "[rows, n_in, taps]");
        }
        if (firstRow < 0 || firstRow + src.dim(0) > nOut) {
            throw new IllegalArgumentException(op + ": rows " + firstRow + " to " + (firstRow + src.dim(0))
                    + " of src are outside of [0, n_out=" + nOut + "]");
        }
    }

    /// @param packed  elements that the backend's packed `[n_out, n_in, taps]` kernel has
    public static void packed(String op, String name, Tensor t, long nOut, long nIn, long taps, long packed) {
        if (t.elements() != packed) {
            throw wrong(
                    op,
                    name,
                    t,
                    "the " + packed + " elements of a packed [n_out=" + nOut + ", n_in=" + nIn + ", taps=" + taps
                            + "] kernel");
        }
    }

    /// @param packed  elements that the backend's packed `[n_out, n_in, taps]` kernel has
    public static void conv(
            Tensor out,
            @Nullable Tensor moments,
            Tensor x,
            @Nullable Tensor norm,
            @Nullable Tensor map,
            Tensor w,
            @Nullable Tensor bias,
            Convolution convolution,
            long packed) {
        String op = "conv";
        picture(op, "x", x);
        picture(op, "out", out);
        weightDtype(op, "w", w);
        long n = x.dim(0);
        long channels = x.dim(4);
        long outChannels = out.dim(4);
        if (out.dim(0) != n) {
            throw wrong(op, "out", out, "[n=" + n + ", ..] as x, " + x);
        }
        packed(op, "w", w, outChannels, channels, convolution.taps(), packed);
        if (moments != null) {
            shape(op, "moments", moments, "[n=" + n + ", 2, channels=" + outChannels + "]", n, 2, outChannels);
        }
        if (norm != null) {
            shape(op, "norm", norm, "[n=" + n + ", 3, channels=" + channels + "]", n, 3, channels);
        }
        if (map != null) {
            f32(op, "map", map);
            if (map.rank() != 4 || map.dim(0) != n || map.dim(1) < 1 || map.dim(2) < 1 || map.dim(3) != 2 * channels) {
                throw wrong(op, "map", map, "[n=" + n + ", map_height, map_width, 2 * channels=" + 2 * channels + "]");
            }
        }
        if (bias != null) {
            shape(op, "bias", bias, "[channels=" + outChannels + "]", outChannels);
        }
        apart(op, out, "x", x);
        if (norm != null) {
            apart(op, out, "norm", norm);
        }
        if (map != null) {
            apart(op, out, "map", map);
        }
    }

    public static void groupNorm(Tensor norm, Tensor moments, Tensor weight, Tensor bias, int groups, float eps) {
        String op = "groupNorm";
        f32(op, "moments", moments);
        if (moments.rank() != 3 || moments.dim(1) != 2) {
            throw wrong(op, "moments", moments, "[n, 2, channels]");
        }
        long n = moments.dim(0);
        long channels = moments.dim(2);
        shape(op, "norm", norm, "[n=" + n + ", 3, channels=" + channels + "]", n, 3, channels);
        shape(op, "weight", weight, "[channels=" + channels + "]", channels);
        shape(op, "bias", bias, "[channels=" + channels + "]", channels);
        if (groups < 1 || channels % groups != 0) {
            throw new IllegalArgumentException(
                    op + ": groups is " + groups + ", expected a divisor of channels=" + channels);
        }
        if (!(eps >= 0) || Float.isInfinite(eps)) {
            throw new IllegalArgumentException(op + ": eps is " + eps + ", expected a number >= 0");
        }
    }

    public static void vqAttention(Tensor out, Tensor qkv, DType dtype, float scale) {
        String op = "vqAttention";
        f32(op, "out", out);
        if (out.rank() != 3) {
            throw wrong(op, "out", out, "[n, positions, channels]");
        }
        long width = 3 * out.dim(2);
        String expected = "[n=" + out.dim(0) + ", positions=" + out.dim(1) + ", 3 * channels=" + width + "]";
        shape(op, "qkv", qkv, expected, out.dim(0), out.dim(1), width);
        if (dtype != DType.F32 && dtype != DType.BF16) {
            throw new IllegalArgumentException(op + ": dtype is " + dtype.label() + ", expected f32 or bf16");
        }
        if (!(scale > 0) || Float.isInfinite(scale)) {
            throw new IllegalArgumentException(op + ": scale is " + scale + ", expected a number > 0");
        }
        apart(op, out, "qkv", qkv);
    }

    private static void picture(String op, String name, Tensor t) {
        f32(op, name, t);
        if (t.rank() != 5 || t.dim(1) < 1 || t.dim(2) < 1 || t.dim(3) < 1 || t.dim(4) < 1) {
            throw wrong(op, name, t, PICTURE);
        }
    }

    private static void shape(String op, String name, Tensor t, String expected, long... shape) {
        f32(op, name, t);
        boolean same = t.rank() == shape.length;
        for (int axis = 0; same && axis < shape.length; axis++) {
            same = t.dim(axis) == shape[axis];
        }
        if (!same) {
            throw wrong(op, name, t, expected);
        }
    }

    private static void f32(String op, String name, Tensor t) {
        if (t.dtype() != DType.F32) {
            throw wrong(op, name, t, "dtype f32");
        }
    }

    private static void weightDtype(String op, String name, Tensor t) {
        if (t.dtype() != DType.F32 && t.dtype() != DType.BF16) {
            throw wrong(op, name, t, "dtype f32 or bf16");
        }
    }

    private static void apart(String op, Tensor out, String name, Tensor in) {
        long a = out.data().address();
        long b = in.data().address();
        if (a < b + in.bytes() && b < a + out.bytes()) {
            throw new IllegalArgumentException(op + ": out overlaps " + name + ", expected separate memory");
        }
    }

    private static IllegalArgumentException wrong(String op, String name, Tensor t, String expected) {
        return new IllegalArgumentException(op + ": " + name + " is " + t + ", expected " + expected);
    }
}
