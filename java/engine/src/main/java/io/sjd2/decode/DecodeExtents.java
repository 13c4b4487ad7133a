package io.sjd2.decode;

/// How much a decode allocates, and what a recorded iteration of it is bound to: two decodes of equal extents may use
/// the same memory one after the other. Seeds, prompts, decoder and sampling are not among them; they are in the
/// state block.
///
/// @param images  pictures side by side
/// @param batch   sequences: one or two per picture
/// @param window  rows per sequence of a pass
/// @param length  positions of a picture
/// @param levels  noise levels of a fresh slot: 0 without noise
/// @param forced  whether some tokens are structural
public record DecodeExtents(int images, int batch, int window, int length, int levels, boolean forced) {
    /// The extents of a decode.
    public static DecodeExtents of(DecodeRequest request, DecodeOptions options) {
        return new DecodeExtents(
                request.images().size(),
                request.batch(),
                options.effectiveWindow(request.length()),
                request.length(),
                options.effectiveLevels(),
                request.forced() != null);
    }
}
