package io.sjd2.kernel;

/// What a convolution does beside its weights; the extents come from the tensors.
///
/// The input is enlarged first (each element seen twice where an enlargement is 2), then has `pad` zeros put before its
/// first frame, row and column and as many behind the last as the output reaches. A 2-D convolution has one frame.
///
/// @param kernelFrames   1 to 7, as `kernelHeight` and `kernelWidth`
/// @param strideFrames   1 or 2, as `strideHeight` and `strideWidth`
/// @param padFrames      0 to 7, as `padHeight` and `padWidth`
/// @param enlargeFrames  1 or 2: nearest neighbour in time
/// @param enlargeSpace   1 or 2: nearest neighbour in height and width
/// @param swish          whether the input passes `x * sigmoid(x)`, behind its normalisation
/// @param accumulate     whether the output is added to
public record Convolution(
        int kernelFrames,
        int kernelHeight,
        int kernelWidth,
        int strideFrames,
        int strideHeight,
        int strideWidth,
        int padFrames,
        int padHeight,
        int padWidth,
        int enlargeFrames,
        int enlargeSpace,
        boolean swish,
        boolean accumulate) {
    /// @throws IllegalArgumentException naming the first number that no backend is built for
    public Convolution {
        range("kernelFrames", kernelFrames, 1, 7);
        range("kernelHeight", kernelHeight, 1, 7);
        range("kernelWidth", kernelWidth, 1, 7);
        range("strideFrames", strideFrames, 1, 2);
        range("strideHeight", strideHeight, 1, 2);
        range("strideWidth", strideWidth, 1, 2);
        range("padFrames", padFrames, 0, 7);
        range("padHeight", padHeight, 0, 7);
        range("padWidth", padWidth, 0, 7);
        range("enlargeFrames", enlargeFrames, 1, 2);
        range("enlargeSpace", enlargeSpace, 1, 2);
    }

    /// `size` by `size` taps in space around the pixel: what keeps a picture's size.
    public static Convolution same(int size) {
        return new Convolution(1, size, size, 1, 1, 1, 0, size / 2, size / 2, 1, 1, false, false);
    }

    /// Three by three taps over the picture enlarged to twice its size.
    public static Convolution enlarging() {
        return new Convolution(1, 3, 3, 1, 1, 1, 0, 1, 1, 1, 2, false, false);
    }

    /// Three by three taps on every second pixel, with zeros to the right and below: what halves a picture's size.
    public static Convolution halving() {
        return new Convolution(1, 3, 3, 1, 2, 2, 0, 0, 0, 1, 1, false, false);
    }

    /// Taps in time that see the past only, `size` by `size` in space; two zero frames come before the first.
    public static Convolution causal(int frames, int size, int strideFrames, int enlargeFrames) {
        return new Convolution(
                frames, size, size, strideFrames, 1, 1, 2, size / 2, size / 2, enlargeFrames, 1, false, false);
    }

    /// The same behind `x * sigmoid(x)`.
    public Convolution activated() {
        return with(true, accumulate);
    }

    /// The same, adding to what the output holds.
    public Convolution added() {
        return with(swish, true);
    }

    private Convolution with(boolean newSwish, boolean newAccumulate) {
        return new Convolution(
                kernelFrames,
                kernelHeight,
                kernelWidth,
                strideFrames,
                strideHeight,
                strideWidth,
                padFrames,
                padHeight,
                padWidth,
                enlargeFrames,
                enlargeSpace,
                newSwish,
                newAccumulate);
    }

    /// How many taps the kernel has.
    public int taps() {
        return kernelFrames * kernelHeight * kernelWidth;
    }

    private static void range(String name, int value, int least, int most) {
        if (value < least || value > most) {
            throw new IllegalArgumentException(
                    "Convolution: " + name + " is " + value + ", expected " + least + " to " + most);
        }
    }
}
