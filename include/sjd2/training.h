// sjd2/training.h: the C ABI of training, the second half of what libsjd2_cpu exports beside kernels.h.
//
// Pointers live in the library's memory space. Tensors are row-major with a dense last axis unless a leading dimension
// (`ld...`, in elements) is given; extents are int64. Every function returns SJD2_OK or a negative sjd2_status; none
// throws, prints, exits or keeps a pointer.
//
// Activations are f32 or bf16 (the suffix of the symbol, or a dtype argument); master weights, weight gradients, the
// residual stream and its gradient are f32. Products of f32 activations are f32 products, those of bf16 activations
// multiply bf16 into f32 sums. `product` says SJD2_F32 or SJD2_BF16: with SJD2_BF16 operands held in f32 are rounded to
// nearest even while they are packed.
//
// Order: work is split over outputs only, and every sum has one order, so results do not depend on the thread count.
// Gradients marked (+=) are added to; accumulating micro-batches is calling again.
//
// In contracts: m rows (tokens of all sequences, one after another), D = hidden_size, I = intermediate_size.
#ifndef SJD2_TRAINING_H
#define SJD2_TRAINING_H

#include <stdint.h>

#include "sjd2/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

// ---------------------------------------------------------------------------------------------------------------------
// Matrix products
// ---------------------------------------------------------------------------------------------------------------------

// gemm: C = [addend +] op(A) op(B), op(A) [m, k], op(B) [k, n]
//   c       [m, n] leading dimension ldc, f32 or bf16    may be `addend`; overlaps neither a nor b
//   addend  [m, n] leading dimension ldd, dtype of c, or NULL
//   a       [m, k], or [k, m] if a_transposed; f32 or bf16      b  [k, n], or [n, k] if b_transposed; f32 or bf16
//   cost    2*m*n*k FLOP
//   fails   SJD2_UNSUPPORTED for other dtypes; SJD2_OUT_OF_MEMORY if the packed copy of B does not fit
int32_t sjd2_train_gemm(sjd2_stream stream, void* c, const void* addend, const void* a, const void* b,
                        int64_t m, int64_t n, int64_t k, int64_t ldc, int64_t ldd, int64_t lda, int64_t ldb,
                        int32_t c_dtype, int32_t a_dtype, int32_t b_dtype, int32_t a_transposed,
                        int32_t b_transposed, int32_t product);

// packed_bytes: size of a packed [k, n] operand B.    out  one int64
int32_t sjd2_train_packed_bytes(sjd2_stream stream, int64_t* out, int64_t n, int64_t k, int32_t product);

// pack: op(B) [k, n] into the library's own layout, for gemm_packed; valid until the weights change.
//   packed  sjd2_train_packed_bytes(n, k, product) bytes, 64-byte aligned
//   b       [k, n], or [n, k] if transposed; f32, leading dimension ldb
int32_t sjd2_train_pack(sjd2_stream stream, void* packed, const float* b, int64_t n, int64_t k, int64_t ldb,
                        int32_t transposed, int32_t product);

// gemm_packed: gemm with B from sjd2_train_pack of the same n, k and product, and A not transposed.
int32_t sjd2_train_gemm_packed(sjd2_stream stream, void* c, const void* addend, const void* a,
                               const void* packed, int64_t m, int64_t n, int64_t k, int64_t ldc, int64_t ldd,
                               int64_t lda, int32_t c_dtype, int32_t a_dtype, int32_t product);

// ---------------------------------------------------------------------------------------------------------------------
// Norms, rotary positions, activation
// ---------------------------------------------------------------------------------------------------------------------

// rms_norm: y[i,:] = x[r,:] * rstd[i] * weight, rstd = 1/sqrt(mean(x[r,:]^2) + eps), r = rows[i] or i
//   y       [m, D] dtype          rstd  [m] f32, kept for the backward pass
//   x       [*, D] f32            weight [D] f32         rows  [m] i32, or NULL for the identity
int32_t sjd2_train_rms_norm_forward_f32(sjd2_stream stream, float* y, float* rstd, const float* x,
                                        const float* weight, const int32_t* rows, int64_t m,
                                        int64_t hidden_size, float eps);
int32_t sjd2_train_rms_norm_forward_bf16(sjd2_stream stream, uint16_t* y, float* rstd, const float* x,
                                         const float* weight, const int32_t* rows, int64_t m,
                                         int64_t hidden_size, float eps);
//   dx (+=) [*, D] f32 at rows[i], which must be distinct      dweight (+=) [D] f32      dy [m, D] dtype
int32_t sjd2_train_rms_norm_backward_f32(sjd2_stream stream, float* dx, float* dweight, const float* dy,
                                         const float* x, const float* weight, const float* rstd,
                                         const int32_t* rows, int64_t m, int64_t hidden_size);
int32_t sjd2_train_rms_norm_backward_bf16(sjd2_stream stream, float* dx, float* dweight, const uint16_t* dy,
                                          const float* x, const float* weight, const float* rstd,
                                          const int32_t* rows, int64_t m, int64_t hidden_size);

// qk_norm: LayerNorm over head_dim of query and key heads, weight and bias per head group; values are copied.
//   y, x    [m, n_heads + 2*n_kv_heads, head_dim] dtype, order q, k, v; y is not x
//   stats   [m, n_heads + n_kv_heads, 2] f32: mean and 1/std, kept for the backward pass
//   q_weight, q_bias  [q_norm_rows, head_dim] f32; k_weight, k_bias [k_norm_rows, head_dim]; row r of n_rows serves
//           heads r*(n/n_rows) and following
//   source  fixtures README section 5, Chameleon q/k norm
int32_t sjd2_train_qk_norm_forward_f32(sjd2_stream stream, float* y, float* stats, const float* x,
                                       const float* q_weight, const float* q_bias, const float* k_weight,
                                       const float* k_bias, int64_t m, int64_t n_heads, int64_t n_kv_heads,
                                       int64_t head_dim, int64_t q_norm_rows, int64_t k_norm_rows, float eps);
int32_t sjd2_train_qk_norm_forward_bf16(sjd2_stream stream, uint16_t* y, float* stats, const uint16_t* x,
                                        const float* q_weight, const float* q_bias, const float* k_weight,
                                        const float* k_bias, int64_t m, int64_t n_heads, int64_t n_kv_heads,
                                        int64_t head_dim, int64_t q_norm_rows, int64_t k_norm_rows, float eps);
//   dy      as y, replaced by the gradient of x
//   d_params (+=) q_weight, q_bias, k_weight, k_bias one after another, as above
int32_t sjd2_train_qk_norm_backward_f32(sjd2_stream stream, float* dy, float* d_params, const float* x,
                                        const float* stats, const float* q_weight, const float* k_weight,
                                        int64_t m, int64_t n_heads, int64_t n_kv_heads, int64_t head_dim,
                                        int64_t q_norm_rows, int64_t k_norm_rows);
int32_t sjd2_train_qk_norm_backward_bf16(sjd2_stream stream, uint16_t* dy, float* d_params, const uint16_t* x,
                                         const float* stats, const float* q_weight, const float* k_weight,
                                         int64_t m, int64_t n_heads, int64_t n_kv_heads, int64_t head_dim,
                                         int64_t q_norm_rows, int64_t k_norm_rows);

// rope: rotates the first n_heads heads of each row in place, half-split form; inverse != 0 rotates back (the gradient).
//   x       [m, ld] dtype      cos, sin  [positions, head_dim/2] f32      position  [m] i32, index into the tables
int32_t sjd2_train_rope_f32(sjd2_stream stream, float* x, const float* cos, const float* sin,
                            const int32_t* position, int64_t m, int64_t n_heads, int64_t head_dim, int64_t ld,
                            int32_t inverse);
int32_t sjd2_train_rope_bf16(sjd2_stream stream, uint16_t* x, const float* cos, const float* sin,
                             const int32_t* position, int64_t m, int64_t n_heads, int64_t head_dim,
                             int64_t ld, int32_t inverse);

// swiglu: act = silu(gate) * up
//   act     [m, I] dtype      gate_up  [m, 2*I] dtype, gate first
int32_t sjd2_train_swiglu_forward_f32(sjd2_stream stream, float* act, const float* gate_up, int64_t m,
                                      int64_t intermediate_size);
int32_t sjd2_train_swiglu_forward_bf16(sjd2_stream stream, uint16_t* act, const uint16_t* gate_up, int64_t m,
                                       int64_t intermediate_size);
//   d_gate_up  [m, 2*I]; may be gate_up
int32_t sjd2_train_swiglu_backward_f32(sjd2_stream stream, float* d_gate_up, const float* d_act,
                                       const float* gate_up, int64_t m, int64_t intermediate_size);
int32_t sjd2_train_swiglu_backward_bf16(sjd2_stream stream, uint16_t* d_gate_up, const uint16_t* d_act,
                                        const uint16_t* gate_up, int64_t m, int64_t intermediate_size);

// ---------------------------------------------------------------------------------------------------------------------
// Attention
// ---------------------------------------------------------------------------------------------------------------------

// attention: causal attention inside each sequence; sequence s owns rows offsets[s] .. offsets[s+1]
//   out     [m, n_heads, head_dim] dtype      lse  [m, n_heads] f32, log of the softmax denominator, kept for backward
//   q       [m, ld] dtype, heads at h*head_dim      k, v  likewise with n_kv_heads heads; n_kv_heads divides n_heads
//   offsets [sequences + 1] i32, ascending
//   cost    2*head_dim*n_heads FLOP per (query, key) pair and product: two products forward, five backward
int32_t sjd2_train_attention_forward_f32(sjd2_stream stream, float* out, float* lse, const float* q,
                                         const float* k, const float* v, const int32_t* offsets,
                                         int64_t sequences, int64_t n_heads, int64_t n_kv_heads,
                                         int64_t head_dim, int64_t ld, float scale);
int32_t sjd2_train_attention_forward_bf16(sjd2_stream stream, uint16_t* out, float* lse, const uint16_t* q,
                                          const uint16_t* k, const uint16_t* v, const int32_t* offsets,
                                          int64_t sequences, int64_t n_heads, int64_t n_kv_heads,
                                          int64_t head_dim, int64_t ld, float scale);
//   dq, dk, dv  [m, ld] as q, k, v, overwritten; overlap no input
int32_t sjd2_train_attention_backward_f32(sjd2_stream stream, float* dq, float* dk, float* dv,
                                          const float* d_out, const float* out, const float* lse,
                                          const float* q, const float* k, const float* v,
                                          const int32_t* offsets, int64_t sequences, int64_t n_heads,
                                          int64_t n_kv_heads, int64_t head_dim, int64_t ld, float scale);
int32_t sjd2_train_attention_backward_bf16(sjd2_stream stream, uint16_t* dq, uint16_t* dk, uint16_t* dv,
                                           const uint16_t* d_out, const uint16_t* out, const float* lse,
                                           const uint16_t* q, const uint16_t* k, const uint16_t* v,
                                           const int32_t* offsets, int64_t sequences, int64_t n_heads,
                                           int64_t n_kv_heads, int64_t head_dim, int64_t ld, float scale);

// ---------------------------------------------------------------------------------------------------------------------
// Embeddings, noise, loss
// ---------------------------------------------------------------------------------------------------------------------

// gather_rows: x[i,:] = [x[i,:] +] table[index[i],:]; index < 0 contributes nothing
//   x       [m, D] f32      table  [*, D] f32      index  [m] i32
int32_t sjd2_train_gather_rows(sjd2_stream stream, float* x, const float* table, const int32_t* index,
                               int64_t m, int64_t hidden_size, int32_t accumulate);

// scatter_add_rows: table[index[i],:] += scale[i] * x[i,:], in ascending i; index < 0 is skipped
//   table (+=) [*, D] f32      x  [m, D] f32      scale  [m] f32, or NULL for 1
int32_t sjd2_train_scatter_add_rows(sjd2_stream stream, float* table, const float* x, const int32_t* index,
                                    const float* scale, int64_t m, int64_t hidden_size);

// noise_mix: x[r,:] = (alpha[i] * (x[r,:] - mean) / std + sigma[i] * noise[i,:]) * std + mean + level[i,:], r = rows[i]
//   x       [*, D] f32, in place      rows  [n] i32, distinct      alpha, sigma  [n] f32      noise, level  [n, D] f32
//   mean, std  [D] f32, std > 0       level may be NULL
//   source  docs/decoding.md, "z-path": mixing in normalised embedding space
int32_t sjd2_train_noise_mix(sjd2_stream stream, float* x, const int32_t* rows, const float* alpha,
                             const float* sigma, const float* noise, const float* mean, const float* std,
                             const float* level, int64_t n, int64_t hidden_size);

// philox_normal: row i holds standard normals 0 .. D-1 of the draw with counter (block, high[i], low[i], stream_high)
//   out     [n, D] f32      high, low  [n] i32, taken as unsigned      key = seed
//   source  docs/decoding.md, "Randomness": Philox4x32-10, Box-Muller in f64
int32_t sjd2_train_philox_normal(sjd2_stream stream, float* out, const int32_t* high, const int32_t* low,
                                 int64_t n, int64_t hidden_size, uint64_t seed, uint32_t stream_high);

// sinusoid: out[i,:] = [cos(t_i f_0), cos(t_i f_1), .., sin(t_i f_0), ..]
//   out     [n, 2*half] f32      t  [n] f64      frequencies  [half] f64
int32_t sjd2_train_sinusoid(sjd2_stream stream, float* out, const double* t, const double* frequencies,
                            int64_t n, int64_t half);

// add_bias: x[i,:] += bias      x  [m, n] f32      bias  [n] f32
int32_t sjd2_train_add_bias(sjd2_stream stream, float* x, const float* bias, int64_t m, int64_t n);

// column_sum: out[j] += sum over i of x[i,j]      out (+=) [n] f32      x  [m, n] f32
int32_t sjd2_train_column_sum(sjd2_stream stream, float* out, const float* x, int64_t m, int64_t n);

// silu: y = x * sigmoid(x); backward dx = dy * silu'(x); dx may be dy      all [n] f32
int32_t sjd2_train_silu_forward(sjd2_stream stream, float* y, const float* x, int64_t n);
int32_t sjd2_train_silu_backward(sjd2_stream stream, float* dx, const float* dy, const float* x, int64_t n);

// cross_entropy: losses[i] = logsumexp(logits[i,:]) - logits[i, target[i]] in nats
//   losses  [m] f32
//   dlogits [m, n] dtype = scale * (softmax - onehot); may be the f32 logits; NULL computes the losses alone
int32_t sjd2_train_cross_entropy_f32(sjd2_stream stream, float* losses, float* dlogits, const float* logits,
                                     const int32_t* target, int64_t m, int64_t n, float scale);
int32_t sjd2_train_cross_entropy_bf16(sjd2_stream stream, float* losses, uint16_t* dlogits,
                                      const float* logits, const int32_t* target, int64_t m, int64_t n,
                                      float scale);

// ---------------------------------------------------------------------------------------------------------------------
// Optimisers
// ---------------------------------------------------------------------------------------------------------------------

// adamw: param -= lr*decay*param; m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2;
//        param -= lr * (m/correction1) / (sqrt(v/correction2) + eps), g = grad_scale * grad
//   correction1, correction2  1 - beta^k of the k-th step, k = 1, 2, ..; all tensors [n] f32
int32_t sjd2_train_adamw(sjd2_stream stream, float* param, float* first, float* second, const float* grad,
                         int64_t n, float lr, float beta1, float beta2, float eps, float decay,
                         float correction1, float correction2, float grad_scale);

// muon: momentum orthogonalised by Newton-Schulz, for a list of matrices inside the flat arrays.
//   momentum = beta*momentum + g; u = g + beta*momentum; o = NS_steps(u/|u|);
//   param = (1 - lr*decay)*param - lr*rms*sqrt(max(r,c))*o
//   offsets [count] elements from the array bases; rows, cols [count]; products as `product` says
//   source  quintic iteration with 3.4445, -4.7750, 2.0315; rms 0.2 matches AdamW's update size
int32_t sjd2_train_muon(sjd2_stream stream, float* param, float* momentum, const float* grad,
                        const int64_t* offsets, const int64_t* rows, const int64_t* cols, int64_t count,
                        float lr, float beta, float decay, float rms, float grad_scale, int32_t steps,
                        int32_t product);

// ema: average += (1 - decay) * (param - average)      [n] f32
int32_t sjd2_train_ema(sjd2_stream stream, float* average, const float* param, int64_t n, float decay);

// sum_squares: out = sum of x^2 in f64, blocks of 16,384 summed in order      out  one f64
int32_t sjd2_train_sum_squares(sjd2_stream stream, double* out, const float* x, int64_t n);

// fill: x = value      [n] f32
int32_t sjd2_train_fill(sjd2_stream stream, float* x, int64_t n, float value);

// to_bf16: rounds to nearest even      y  [n] bf16      x  [n] f32
int32_t sjd2_train_to_bf16(sjd2_stream stream, uint16_t* y, const float* x, int64_t n);

#ifdef __cplusplus
}
#endif

#endif
