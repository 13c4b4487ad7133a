package io.sjd2.vq;

/// A patch tokeniser, which knows a single size.
record PatchCodec(PatchTokenizer tokenizer) implements ImageCodec {
    @Override
    public int codes() {
        return tokenizer.codes();
    }

    @Override
    public int factor() {
        return tokenizer.patch();
    }

    @Override
    public ImageTokenizer withGrid(int gridHeight, int gridWidth, VqListener listener) {
        if (gridHeight != tokenizer.gridHeight() || gridWidth != tokenizer.gridWidth()) {
            throw new IllegalArgumentException("a grid of " + gridHeight + " x " + gridWidth
                    + ", but this image tokeniser makes grids of " + tokenizer.gridHeight() + " x "
                    + tokenizer.gridWidth() + " only");
        }
        return tokenizer;
    }

    /// It holds nothing that must be freed.
    @Override
    public void close() {}
}
