package io.sjd2.kernel;

import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/// The closed set of operations of inference: one method here, one C symbol per dtype in `include/sjd2/kernels.h`.
///
/// Calls check shapes and dtypes, enqueue and return. Tensors are row-major with a dense last axis; outputs come first,
/// then inputs, then scalars. `T` is the dtype of the weights, f32 or bf16; the residual stream and logits are f32.
/// In shapes, `batch` counts sequences, `window` is the state block's `maxWindow`, `images` its images.
///
/// **Row independence.** What is written for one row never depends on how many rows, sequences or threads are computed
/// beside it: sums run along the inner axis and along the cache in one order. Seed-exact decoding rests on this.
///
/// Where a `state` parameter may be null, every row of the tensors is live.
///
/// Every method throws {@link IllegalArgumentException} naming the first argument whose shape or dtype does not fit,
/// and {@link KernelException} if the library refuses.
public interface Kernels {
    /// Elements of a packed `[nOut, nIn]` weight matrix of `dtype` (f32 or bf16).
    long packedElements(long nOut, long nIn, DType dtype);

    /// Packs `src` into rows `[firstRow, firstRow + src.dim(0))` of a packed matrix of `nOut` rows.
    ///
    /// @param dst  {@link #packedElements} elements, f32 or bf16, zeroed before the first call
    /// @param src  `[rows, n_in]`, f32, bf16 or f16, in memory that this backend can read
    void packWeights(Tensor dst, Tensor src, long firstRow, long nOut);

    /// `dst[i] = src[i]` between f32, bf16 and f16, rounded to nearest even; equal element counts.
    void convert(Tensor dst, Tensor src);

    /// `out[r,:] = table[ids[r],:]`.
    ///
    /// @param out    `[rows, hidden_size]` f32
    /// @param table  `[vocab_size, hidden_size]` T
    /// @param ids    `[rows]` i32 in `[0, vocab_size)`
    void embed(Tensor out, Tensor table, Tensor ids);

    /// Hands the window's input to every sequence of its image: the prompt's last embedding for the first row of an
    /// image that has committed nothing, and the embedding of the grid cell that a row predicts.
    ///
    /// @param x            `[batch, window, hidden_size]` f32
    /// @param windowInput  `[images, window, hidden_size]` f32
    /// @param lastPrompt   `[batch, hidden_size]` f32
    /// @param rowEmbed     `[grid_height, hidden_size]` f32, or null together with `columnEmbed`
    /// @param columnEmbed  `[grid_width, hidden_size]` f32
    void sequenceInput(
            Tensor x,
            Tensor windowInput,
            Tensor lastPrompt,
            @Nullable Tensor rowEmbed,
            @Nullable Tensor columnEmbed,
            StateBlock state);

    /// `out[r,:] = x[r,:] / sqrt(mean(x[r,:]^2) + eps) * weight`.
    ///
    /// @param out     `[batch, window, hidden_size]` T
    /// @param x       `[batch, window, hidden_size]` f32
    /// @param weight  `[hidden_size]` f32
    void rmsNorm(Tensor out, Tensor x, Tensor weight, @Nullable StateBlock state, float eps);

    /// `x[r,:] += rmsNorm(delta[r,:])`: the placement that Chameleon's configuration calls `swin_norm`. All f32.
    void rmsNormAdd(Tensor x, Tensor delta, Tensor weight, @Nullable StateBlock state, float eps);

    /// `out = T(x)`, for products whose input is not normalised; `out` T, `x` f32, equal shapes.
    void round(Tensor out, Tensor x, @Nullable StateBlock state);

    /// `out[r,n] = (accumulate ? out[r,n] : 0) + bias[n] + sum_k x[r,k] w[n,k]`, f32 accumulation. A row's bits
    /// depend on that row alone; with a block of {@link StateBlock#forPrompts} also on the number of its sequence's
    /// live rows.
    ///
    /// @param out   `[batch, window, n_out]` f32; overlaps no input
    /// @param x     `[batch, window, n_in]` T
    /// @param w     packed `[n_out, n_in]` T
    /// @param bias  `[n_out]` f32 or null
    void matmul(Tensor out, Tensor x, Tensor w, @Nullable Tensor bias, @Nullable StateBlock state, boolean accumulate);

    /// Splits the fused projection, normalises q and k where the model does, rotates them and appends k and v to the
    /// cache.
    ///
    /// @param q       `[batch, window, n_heads, head_dim]` T
    /// @param kCache  `[batch, kv_capacity, n_kv_heads, head_dim]` T; row `w` goes to entry `kv_len + w`; `vCache`
    /// alike
    /// @param qkv     `[batch, window, (n_heads + 2 n_kv_heads) * head_dim]` f32
    /// @param qkNorm  LayerNorm of q and k per head, or null
    /// @param rope    `[rope_len, head_dim / 2, 2]` f32: cosine, sine
    /// @param pairs   how elements pair up
    void ropeAppend(
            Tensor q,
            Tensor kCache,
            Tensor vCache,
            Tensor qkv,
            @Nullable QkNorm qkNorm,
            Tensor rope,
            StateBlock state,
            RopePairs pairs);

    /// Attention of the window's queries over the KV cache, causal inside the window; softmax in f32. In bf16 its
    /// weights may be rounded to bf16 before they meet the values, and are then summed as rounded.
    ///
    /// @param out    `[batch, window, n_heads, head_dim]` T; overlaps no input
    /// @param q      `[batch, window, n_heads, head_dim]` T, rotated
    /// @param k      `[batch, kv_capacity, n_kv_heads, head_dim]` T, the window's own rows already in it; `v` alike
    /// @param state  per sequence: cache length and live rows; read on the device, never a scalar argument
    /// @param scale  multiplies `q·k`, usually `1/sqrt(head_dim)`; > 0
    void attention(Tensor out, Tensor q, Tensor k, Tensor v, StateBlock state, float scale);

    /// `out[r,i] = silu(gate[r,i]) * up[r,i]`; `out` `[batch, window, n]` T, `gateUp` `[batch, window, 2n]` f32.
    void swiglu(Tensor out, Tensor gateUp, @Nullable StateBlock state);

    /// Gaussian error linear unit, exact or by the tanh approximation; `out` T, `x` f32, equal shapes.
    void gelu(Tensor out, Tensor x, @Nullable StateBlock state, boolean tanhForm);

    /// Initialises fresh slots, takes noisy ones one denoising step further and gathers the embeddings of the next
    /// pass. Exactly once per pass: it is not idempotent while slots are noisy. `include/sjd2/kernels.h` states the
    /// rules.
    ///
    /// @param input  `[images, window, hidden_size]` f32
    void windowInput(Tensor input, WindowState window, DraftEmbeddings embeddings, StateBlock state);

    /// Guidance, temperature, top-k, top-p and softmax, into the half of `window.probs()` that belongs to this
    /// iteration.
    ///
    /// @param logits  `[batch, window, codes]` f32
    void targetProbs(WindowState window, Tensor logits, StateBlock state);

    /// Tests the drafts, commits a prefix, redraws the rest and advances the state block; see `include/sjd2/kernels.h`.
    void verify(WindowState window, StateBlock state);

    /// The rejection test with given uniforms, for tests: `result` `[rows + 3]` i32 = accepted, number of tokens,
    /// tokens.
    ///
    /// @param residual  `[codes]` f32: distribution that the rejected row was redrawn from; untouched without a
    /// rejection
    /// @param draft     `[rows]` i32
    /// @param q         `[rows, codes]` f32; `p` alike
    /// @param uniforms  `[rows]` f32
    void verifyGiven(
            Tensor result, Tensor residual, Tensor draft, Tensor q, Tensor p, Tensor uniforms, float resampleUniform);

    /// `out[r]` = smallest `j` with `p[r,0] + .. + p[r,j] > uniforms[r]`; `out` `[rows]` i32, `p` `[rows, codes]` f32.
    void drawGiven(Tensor out, Tensor p, Tensor uniforms);

    /// `out[r] = log softmax(logits[r,:])[targets[r]]`; `out` `[rows]` f32, `logits` `[rows, codes]` f32, `targets`
    /// `[rows]` i32.
    void logLikelihood(Tensor out, Tensor logits, Tensor targets);

    /// Philox words of one stream, elements `[0, n)`; `out` `[n]` i32 holding unsigned words.
    void philoxWords(Tensor out, long seed, int image, int streamLow, int streamHigh);

    /// Standard normals of one stream, elements `[0, n)`; `out` `[n]` f32.
    void philoxNormals(Tensor out, long seed, int image, int streamLow, int streamHigh);

    /// Elements of a packed `[nOut, nIn, taps]` convolution kernel of `dtype` (f32 or bf16).
    long packedConvElements(long nOut, long nIn, long taps, DType dtype);

    /// Packs `src` into outputs `[firstRow, firstRow + src.dim(0))` of a packed convolution kernel of `nOut` outputs.
    ///
    /// @param dst  {@link #packedConvElements} elements, f32 or bf16, zeroed before the first call
    /// @param src  `[rows, n_in, taps]`, f32, bf16 or f16, taps row-major over frames, height and width
    void packConv(Tensor dst, Tensor src, long firstRow, long nOut);

    /// A convolution in space and time of a normalised, modulated, activated and enlarged picture; pictures are
    /// channels-last and f32. `include/sjd2/kernels.h` states the formula.
    ///
    /// @param out      `[n, out_frames, out_height, out_width, out_channels]` f32; overlaps no input
    /// @param moments  `[n, 2, out_channels]` f32 or null: receives mean and variance of each channel of `out`
    /// @param x        `[n, frames, height, width, channels]` f32
    /// @param norm     `[n, 3, channels]` f32 or null: `x` becomes `(x - mean) * factor + offset`
    /// @param map      `[n, map_height, map_width, 2 * channels]` f32 or null: factors, then offsets, of the nearest
    /// cell
    /// @param w        packed `[out_channels, channels, taps]` T; what it multiplies is rounded to T
    /// @param bias     `[out_channels]` f32 or null
    void conv(
            Tensor out,
            @Nullable Tensor moments,
            Tensor x,
            @Nullable Tensor norm,
            @Nullable Tensor map,
            Tensor w,
            @Nullable Tensor bias,
            Convolution convolution);

    /// What {@link #conv} needs to normalise groups of channels: their mean, `weight / sqrt(variance + eps)` and
    /// `bias`.
    ///
    /// @param norm     `[n, 3, channels]` f32
    /// @param moments  `[n, 2, channels]` f32, as `conv` writes them
    /// @param weight   `[channels]` f32; `bias` alike
    /// @param groups   divides `channels`
    void groupNorm(Tensor norm, Tensor moments, Tensor weight, Tensor bias, int groups, float eps);

    /// One head over all positions of a picture: `out[n,p,:] = sum_t softmax_t(scale q[n,p,:]·k[n,t,:]) v[n,t,:]`.
    ///
    /// @param out    `[n, positions, channels]` f32; overlaps no input
    /// @param qkv    `[n, positions, 3 * channels]` f32: q, k, v
    /// @param dtype  what queries, keys, values and the softmax are rounded to: f32 or bf16
    /// @param scale  > 0
    void vqAttention(Tensor out, Tensor qkv, DType dtype, float scale);

    /// LayerNorm of q and k over `head_dim`, before rotation. Row `h / (n_heads / rows)` of a table serves head `h`.
    ///
    /// @param qWeight  `[q_rows, head_dim]` f32; the others alike, `k_rows` for k
    /// @param eps      added to the variance
    record QkNorm(Tensor qWeight, Tensor qBias, Tensor kWeight, Tensor kBias, float eps) {}

    /// How rotary elements pair up: element `i` with `i + head_dim/2`, or `2i` with `2i + 1`.
    enum RopePairs {
        HALF_SPLIT,
        ADJACENT
    }
}
