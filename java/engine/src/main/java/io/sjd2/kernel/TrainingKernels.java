package io.sjd2.kernel;

import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/// The operations of training: forward passes that keep what their gradients need, the gradients, and the optimisers.
///
/// Calls check shapes, enqueue and return. Outputs come first. Activations are f32 or bf16; master weights, weight
/// gradients, the residual stream and its gradient are f32. Gradients marked (+=) are added to. Results do not depend
/// on the number of threads. `m` is the number of rows: the tokens of all sequences, one sequence after another.
///
/// Every method throws {@link IllegalArgumentException} naming the first argument whose shape or dtype does not fit,
/// and {@link KernelException} if the library refuses.
public interface TrainingKernels {
    /// `c = [addend +] op(a) op(b)`.
    ///
    /// @param c            `[m, n]`, f32 or bf16; may be `addend`, overlaps neither `a` nor `b`
    /// @param addend       as `c`, or null
    /// @param a            `[m, k]`, or `[k, m]` if `aTransposed`; f32 or bf16
    /// @param b            `[k, n]`, or `[n, k]` if `bTransposed`; f32 or bf16
    /// @param product      {@link DType#F32}, or {@link DType#BF16}: operands rounded to bf16, sums in f32
    void gemm(
            Tensor c,
            @Nullable Tensor addend,
            Tensor a,
            Tensor b,
            boolean aTransposed,
            boolean bTransposed,
            DType product);

    /// Bytes of a packed `[k, n]` operand.
    long packedBytes(long n, long k, DType product);

    /// Brings `op(b)` into the library's own layout, for {@link #gemmPacked}.
    ///
    /// @param packed     U8, {@link #packedBytes} long
    /// @param b          `[k, n]`, or `[n, k]` if `transposed`; f32
    void pack(Tensor packed, Tensor b, boolean transposed, DType product);

    /// `c = [addend +] a b` with `b` packed for `c`'s columns and `a`'s columns.
    ///
    /// @param c      `[m, n]`, f32 or bf16; may be `addend`
    /// @param a      `[m, k]`, f32 or bf16
    void gemmPacked(Tensor c, @Nullable Tensor addend, Tensor a, Tensor packed, DType product);

    /// `y[i] = x[rows[i]] * rstd[i] * weight`.
    ///
    /// @param y      `[m, hidden_size]`, f32 or bf16
    /// @param rstd   `[m]`, f32, for the backward pass
    /// @param x      `[*, hidden_size]`, f32
    /// @param weight `[hidden_size]`, f32
    /// @param rows   `[m]`, i32, or null for all rows of `x`
    void rmsNormForward(Tensor y, Tensor rstd, Tensor x, Tensor weight, @Nullable Tensor rows, float eps);

    /// @param dx      (+=) as `x`; `rows` must be distinct
    /// @param dWeight (+=) as `weight`
    /// @param dy      as `y`
    void rmsNormBackward(
            Tensor dx, Tensor dWeight, Tensor dy, Tensor x, Tensor weight, Tensor rstd, @Nullable Tensor rows);

    /// LayerNorm over `head_dim` of query and key heads; values are copied.
    ///
    /// @param y      `[m, n_heads + 2 n_kv_heads, head_dim]`, f32 or bf16, not `x`
    /// @param stats  `[m, n_heads + n_kv_heads, 2]`, f32, for the backward pass
    /// @param x      as `y`
    /// @param params    `[2 q_norm_rows + 2 k_norm_rows, head_dim]`, f32: q weight, q bias, k weight, k bias; the rows
    /// of
    ///     a norm divide the heads that it is for
    /// @param qNormRows of each of the first two
    void qkNormForward(
            Tensor y, Tensor stats, Tensor x, Tensor params, int qNormRows, int heads, int kvHeads, float eps);

    /// @param dy      as `y`; replaced by the gradient of `x`
    /// @param dParams (+=) as `params`
    void qkNormBackward(
            Tensor dy, Tensor dParams, Tensor x, Tensor stats, Tensor params, int qNormRows, int heads, int kvHeads);

    /// Rotates the first `heads` heads of each row in place, half-split form.
    ///
    /// @param x        `[m, columns]`, f32 or bf16
    /// @param cos      `[positions, head_dim / 2]`, f32
    /// @param position `[m]`, i32, row of the tables
    /// @param inverse  rotate back: the gradient
    void rope(Tensor x, Tensor cos, Tensor sin, Tensor position, int heads, boolean inverse);

    /// `act = silu(gate) * up`.
    ///
    /// @param act    `[m, intermediate_size]`, f32 or bf16
    /// @param gateUp `[m, 2 intermediate_size]`, gate first
    void swigluForward(Tensor act, Tensor gateUp);

    /// @param dGateUp as `gateUp`; may be `gateUp`
    void swigluBackward(Tensor dGateUp, Tensor dAct, Tensor gateUp);

    /// Causal attention inside each sequence.
    ///
    /// @param out     `[m, n_heads, head_dim]`, f32 or bf16
    /// @param lse     `[m, n_heads]`, f32, for the backward pass
    /// @param qkv     `[m, (n_heads + 2 n_kv_heads) head_dim]`: queries, keys, values
    /// @param offsets `[sequences + 1]`, i32, ascending; sequence s owns rows offsets[s] to offsets[s + 1]
    void attentionForward(Tensor out, Tensor lse, Tensor qkv, Tensor offsets, int heads, int kvHeads, float scale);

    /// @param dQkv as `qkv`, overwritten
    void attentionBackward(
            Tensor dQkv,
            Tensor dOut,
            Tensor out,
            Tensor lse,
            Tensor qkv,
            Tensor offsets,
            int heads,
            int kvHeads,
            float scale);

    /// `x[i] = [x[i] +] table[index[i]]`; a negative index contributes nothing.
    ///
    /// @param x     `[m, hidden_size]`, f32
    /// @param table `[*, hidden_size]`, f32
    /// @param index `[m]`, i32
    void gatherRows(Tensor x, Tensor table, Tensor index, boolean accumulate);

    /// `table[index[i]] += scale[i] * x[i]` in ascending i; a negative index is skipped.
    ///
    /// @param scale `[m]`, f32, or null for 1
    void scatterAddRows(Tensor table, Tensor x, Tensor index, @Nullable Tensor scale);

    /// `x[r] = (alpha[i] (x[r] - mean) / std + sigma[i] noise[i]) std + mean + level[i]`, r = rows[i].
    ///
    /// @param x     `[*, hidden_size]`, f32
    /// @param rows  `[n]`, i32, distinct
    /// @param alpha `[n]`, f32, as is `sigma`
    /// @param noise `[n, hidden_size]`, f32, as is `level`, which may be null
    /// @param mean  `[hidden_size]`, f32, as is `std`, which is positive
    void noiseMix(
            Tensor x,
            Tensor rows,
            Tensor alpha,
            Tensor sigma,
            Tensor noise,
            Tensor mean,
            Tensor std,
            @Nullable Tensor level);

    /// Standard normals of Philox draws: row i with counter (block, high[i], low[i], streamHigh) and key `seed`.
    ///
    /// @param out  `[n, hidden_size]`, f32
    /// @param high `[n]`, i32, as is `low`
    void philoxNormal(Tensor out, Tensor high, Tensor low, long seed, int streamHigh);

    /// `out[i] = [cos(t_i f), sin(t_i f)]`.
    ///
    /// @param out         `[n, 2 half]`, f32
    /// @param t           `[n]`, f64
    /// @param frequencies `[half]`, f64
    void sinusoid(Tensor out, Tensor t, Tensor frequencies);

    /// `x[i] += bias`; `x` `[m, n]`, `bias` `[n]`, f32.
    void addBias(Tensor x, Tensor bias);

    /// `out[j] += sum_i x[i, j]`; f32.
    void columnSum(Tensor out, Tensor x);

    /// `y = x sigmoid(x)`, element by element, f32.
    void siluForward(Tensor y, Tensor x);

    /// `dx = dy silu'(x)`; `dx` may be `dy`.
    void siluBackward(Tensor dx, Tensor dy, Tensor x);

    /// Cross-entropy in nats per row, and its gradient.
    ///
    /// @param losses  `[m]`, f32
    /// @param dLogits `[m, n]`, f32 or bf16, `scale * (softmax - onehot)`; may be `logits`; null computes losses alone
    /// @param logits  `[m, n]`, f32
    /// @param target  `[m]`, i32, each in [0, n)
    void crossEntropy(Tensor losses, @Nullable Tensor dLogits, Tensor logits, Tensor target, float scale);

    /// One AdamW step with decoupled decay on tensors of equal size.
    ///
    /// @param step 1 for the first step; corrects the bias of the moments
    void adamw(
            Tensor param,
            Tensor first,
            Tensor second,
            Tensor grad,
            long step,
            float lr,
            float beta1,
            float beta2,
            float eps,
            float decay,
            float gradScale);

    /// One Muon step on matrices inside flat arrays: momentum orthogonalised by Newton-Schulz iterations.
    ///
    /// @param param   `[*]`, f32, as are `momentum` and `grad`
    /// @param offsets `[count]`, i64, first element of each matrix, as are `rows` and `cols`
    /// @param rms     root mean square of an update of learning rate 1
    void muon(
            Tensor param,
            Tensor momentum,
            Tensor grad,
            Tensor offsets,
            Tensor rows,
            Tensor cols,
            float lr,
            float beta,
            float decay,
            float rms,
            float gradScale,
            int steps,
            DType product);

    /// `average += (1 - decay) (param - average)`.
    void ema(Tensor average, Tensor param, float decay);

    /// The sum of squares in f64, in one fixed order. Waits for the device.
    double sumSquares(Tensor x);

    /// `x = value`, f32.
    void fill(Tensor x, float value);

    /// Rounds f32 to bf16, nearest even.
    void toBf16(Tensor y, Tensor x);
}
