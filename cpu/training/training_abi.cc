// The exported symbols of training.h: argument checks, then the operation of the instruction set chosen at load.

#include "training_abi.h"

#include "../common.h"

namespace {

using sjd2::training_operations;

// Extents must not be negative and no required pointer null; every caller's mistake beyond that is caught in Java.
bool null_among(std::initializer_list<const void*> pointers) {
  for (const void* p : pointers) {
    if (p == nullptr) return true;
  }
  return false;
}

bool negative_among(std::initializer_list<int64_t> extents) {
  for (int64_t e : extents) {
    if (e < 0) return true;
  }
  return false;
}

int32_t bad(const char* operation) {
  return sjd2::fail(SJD2_BAD_ARGUMENT, "%s: a null pointer or a negative extent", operation);
}

}  // namespace

SJD2_EXPORT int32_t sjd2_train_gemm(sjd2_stream stream, void* c, const void* addend, const void* a,
                                    const void* b, int64_t m, int64_t n, int64_t k, int64_t ldc, int64_t ldd,
                                    int64_t lda, int64_t ldb, int32_t c_dtype, int32_t a_dtype,
                                    int32_t b_dtype, int32_t a_transposed, int32_t b_transposed,
                                    int32_t product) {
  if (null_among({stream, c, a, b}) || negative_among({m, n, k, ldc, ldd, lda, ldb})) return bad("gemm");
  return training_operations().gemm(stream, c, addend, a, b, m, n, k, ldc, ldd, lda, ldb, c_dtype, a_dtype,
                                    b_dtype, a_transposed, b_transposed, product);
}

SJD2_EXPORT int32_t sjd2_train_packed_bytes(sjd2_stream stream, int64_t* out, int64_t n, int64_t k,
                                            int32_t product) {
  if (null_among({stream, out}) || negative_among({n, k})) return bad("packed_bytes");
  return training_operations().packed_bytes(stream, out, n, k, product);
}

SJD2_EXPORT int32_t sjd2_train_pack(sjd2_stream stream, void* packed, const float* b, int64_t n, int64_t k,
                                    int64_t ldb, int32_t transposed, int32_t product) {
  if (null_among({stream, packed, b}) || negative_among({n, k, ldb})) return bad("pack");
  return training_operations().pack(stream, packed, b, n, k, ldb, transposed, product);
}

SJD2_EXPORT int32_t sjd2_train_gemm_packed(sjd2_stream stream, void* c, const void* addend, const void* a,
                                           const void* packed, int64_t m, int64_t n, int64_t k, int64_t ldc,
                                           int64_t ldd, int64_t lda, int32_t c_dtype, int32_t a_dtype,
                                           int32_t product) {
  if (null_among({stream, c, a, packed}) || negative_among({m, n, k, ldc, ldd, lda}))
    return bad("gemm_packed");
  return training_operations().gemm_packed(stream, c, addend, a, packed, m, n, k, ldc, ldd, lda, c_dtype,
                                           a_dtype, product);
}

SJD2_EXPORT int32_t sjd2_train_rms_norm_forward_f32(sjd2_stream stream, float* y, float* rstd, const float* x,
                                                    const float* weight, const int32_t* rows, int64_t m,
                                                    int64_t hidden_size, float eps) {
  if (null_among({stream, y, rstd, x, weight}) || negative_among({m, hidden_size}))
    return bad("rms_norm_forward_f32");
  return training_operations().rms_norm_forward_f32(stream, y, rstd, x, weight, rows, m, hidden_size, eps);
}

SJD2_EXPORT int32_t sjd2_train_rms_norm_forward_bf16(sjd2_stream stream, uint16_t* y, float* rstd,
                                                     const float* x, const float* weight, const int32_t* rows,
                                                     int64_t m, int64_t hidden_size, float eps) {
  if (null_among({stream, y, rstd, x, weight}) || negative_among({m, hidden_size}))
    return bad("rms_norm_forward_bf16");
  return training_operations().rms_norm_forward_bf16(stream, y, rstd, x, weight, rows, m, hidden_size, eps);
}

SJD2_EXPORT int32_t sjd2_train_rms_norm_backward_f32(sjd2_stream stream, float* dx, float* dweight,
                                                     const float* dy, const float* x, const float* weight,
                                                     const float* rstd, const int32_t* rows, int64_t m,
                                                     int64_t hidden_size) {
  if (null_among({stream, dx, dweight, dy, x, weight, rstd}) || negative_among({m, hidden_size}))
    return bad("rms_norm_backward_f32");
  return training_operations().rms_norm_backward_f32(stream, dx, dweight, dy, x, weight, rstd, rows, m,
                                                     hidden_size);
}

SJD2_EXPORT int32_t sjd2_train_rms_norm_backward_bf16(sjd2_stream stream, float* dx, float* dweight,
                                                      const uint16_t* dy, const float* x, const float* weight,
                                                      const float* rstd, const int32_t* rows, int64_t m,
                                                      int64_t hidden_size) {
  if (null_among({stream, dx, dweight, dy, x, weight, rstd}) || negative_among({m, hidden_size}))
    return bad("rms_norm_backward_bf16");
  return training_operations().rms_norm_backward_bf16(stream, dx, dweight, dy, x, weight, rstd, rows, m,
                                                      hidden_size);
}

SJD2_EXPORT int32_t sjd2_train_qk_norm_forward_f32(sjd2_stream stream, float* y, float* stats, const float* x,
                                                   const float* q_weight, const float* q_bias,
                                                   const float* k_weight, const float* k_bias, int64_t m,
                                                   int64_t n_heads, int64_t n_kv_heads, int64_t head_dim,
                                                   int64_t q_norm_rows, int64_t k_norm_rows, float eps) {
  if (null_among({stream, y, stats, x, q_weight, q_bias, k_weight, k_bias}) ||
      negative_among({m, n_heads, n_kv_heads, head_dim, q_norm_rows, k_norm_rows}))
    return bad("qk_norm_forward_f32");
  return training_operations().qk_norm_forward_f32(stream, y, stats, x, q_weight, q_bias, k_weight, k_bias, m,
                                                   n_heads, n_kv_heads, head_dim, q_norm_rows, k_norm_rows, eps);
}

SJD2_EXPORT int32_t sjd2_train_qk_norm_forward_bf16(sjd2_stream stream, uint16_t* y, float* stats,
                                                    const uint16_t* x, const float* q_weight,
                                                    const float* q_bias, const float* k_weight,
                                                    const float* k_bias, int64_t m, int64_t n_heads,
                                                    int64_t n_kv_heads, int64_t head_dim, int64_t q_norm_rows,
                                                    int64_t k_norm_rows, float eps) {
  if (null_among({stream, y, stats, x, q_weight, q_bias, k_weight, k_bias}) ||
      negative_among({m, n_heads, n_kv_heads, head_dim, q_norm_rows, k_norm_rows}))
    return bad("qk_norm_forward_bf16");
  return training_operations().qk_norm_forward_bf16(stream, y, stats, x, q_weight, q_bias, k_weight, k_bias,
                                                    m, n_heads, n_kv_heads, head_dim, q_norm_rows, k_norm_rows,
                                                    eps);
}

SJD2_EXPORT int32_t sjd2_train_qk_norm_backward_f32(sjd2_stream stream, float* dy, float* d_params,
                                                    const float* x, const float* stats, const float* q_weight,
                                                    const float* k_weight, int64_t m, int64_t n_heads,
                                                    int64_t n_kv_heads, int64_t head_dim, int64_t q_norm_rows,
                                                    int64_t k_norm_rows) {
  if (null_among({stream, dy, d_params, x, stats, q_weight, k_weight}) ||
      negative_among({m, n_heads, n_kv_heads, head_dim, q_norm_rows, k_norm_rows}))
    return bad("qk_norm_backward_f32");
  return training_operations().qk_norm_backward_f32(stream, dy, d_params, x, stats, q_weight, k_weight, m,
                                                    n_heads, n_kv_heads, head_dim, q_norm_rows, k_norm_rows);
}

SJD2_EXPORT int32_t sjd2_train_qk_norm_backward_bf16(sjd2_stream stream, uint16_t* dy, float* d_params,
                                                     const uint16_t* x, const float* stats,
                                                     const float* q_weight, const float* k_weight, int64_t m,
                                                     int64_t n_heads, int64_t n_kv_heads, int64_t head_dim,
                                                     int64_t q_norm_rows, int64_t k_norm_rows) {
  if (null_among({stream, dy, d_params, x, stats, q_weight, k_weight}) ||
      negative_among({m, n_heads, n_kv_heads, head_dim, q_norm_rows, k_norm_rows}))
    return bad("qk_norm_backward_bf16");
  return training_operations().qk_norm_backward_bf16(stream, dy, d_params, x, stats, q_weight, k_weight, m,
                                                     n_heads, n_kv_heads, head_dim, q_norm_rows, k_norm_rows);
}

SJD2_EXPORT int32_t sjd2_train_rope_f32(sjd2_stream stream, float* x, const float* cos, const float* sin,
                                        const int32_t* position, int64_t m, int64_t n_heads, int64_t head_dim,
                                        int64_t ld, int32_t inverse) {
  if (null_among({stream, x, cos, sin, position}) || negative_among({m, n_heads, head_dim, ld}))
    return bad("rope_f32");
  return training_operations().rope_f32(stream, x, cos, sin, position, m, n_heads, head_dim, ld, inverse);
}

SJD2_EXPORT int32_t sjd2_train_rope_bf16(sjd2_stream stream, uint16_t* x, const float* cos, const float* sin,
                                         const int32_t* position, int64_t m, int64_t n_heads,
                                         int64_t head_dim, int64_t ld, int32_t inverse) {
  if (null_among({stream, x, cos, sin, position}) || negative_among({m, n_heads, head_dim, ld}))
    return bad("rope_bf16");
  return training_operations().rope_bf16(stream, x, cos, sin, position, m, n_heads, head_dim, ld, inverse);
}

SJD2_EXPORT int32_t sjd2_train_swiglu_forward_f32(sjd2_stream stream, float* act, const float* gate_up,
                                                  int64_t m, int64_t intermediate_size) {
  if (null_among({stream, act, gate_up}) || negative_among({m, intermediate_size}))
    return bad("swiglu_forward_f32");
  return training_operations().swiglu_forward_f32(stream, act, gate_up, m, intermediate_size);
}

SJD2_EXPORT int32_t sjd2_train_swiglu_forward_bf16(sjd2_stream stream, uint16_t* act, const uint16_t* gate_up,
                                                   int64_t m, int64_t intermediate_size) {
  if (null_among({stream, act, gate_up}) || negative_among({m, intermediate_size}))
    return bad("swiglu_forward_bf16");
  return training_operations().swiglu_forward_bf16(stream, act, gate_up, m, intermediate_size);
}

SJD2_EXPORT int32_t sjd2_train_swiglu_backward_f32(sjd2_stream stream, float* d_gate_up, const float* d_act,
                                                   const float* gate_up, int64_t m,
                                                   int64_t intermediate_size) {
  if (null_among({stream, d_gate_up, d_act, gate_up}) || negative_among({m, intermediate_size}))
    return bad("swiglu_backward_f32");
  return training_operations().swiglu_backward_f32(stream, d_gate_up, d_act, gate_up, m, intermediate_size);
}

SJD2_EXPORT int32_t sjd2_train_swiglu_backward_bf16(sjd2_stream stream, uint16_t* d_gate_up,
                                                    const uint16_t* d_act, const uint16_t* gate_up, int64_t m,
                                                    int64_t intermediate_size) {
  if (null_among({stream, d_gate_up, d_act, gate_up}) || negative_among({m, intermediate_size}))
    return bad("swiglu_backward_bf16");
  return training_operations().swiglu_backward_bf16(stream, d_gate_up, d_act, gate_up, m, intermediate_size);
}

SJD2_EXPORT int32_t sjd2_train_attention_forward_f32(sjd2_stream stream, float* out, float* lse,
                                                     const float* q, const float* k, const float* v,
                                                     const int32_t* offsets, int64_t sequences,
                                                     int64_t n_heads, int64_t n_kv_heads, int64_t head_dim,
                                                     int64_t ld, float scale) {
  if (null_among({stream, out, lse, q, k, v, offsets}) ||
      negative_among({sequences, n_heads, n_kv_heads, head_dim, ld}))
    return bad("attention_forward_f32");
  return training_operations().attention_forward_f32(stream, out, lse, q, k, v, offsets, sequences, n_heads,
                                                     n_kv_heads, head_dim, ld, scale);
}

SJD2_EXPORT int32_t sjd2_train_attention_forward_bf16(sjd2_stream stream, uint16_t* out, float* lse,
                                                      const uint16_t* q, const uint16_t* k, const uint16_t* v,
                                                      const int32_t* offsets, int64_t sequences,
                                                      int64_t n_heads, int64_t n_kv_heads, int64_t head_dim,
                                                      int64_t ld, float scale) {
  if (null_among({stream, out, lse, q, k, v, offsets}) ||
      negative_among({sequences, n_heads, n_kv_heads, head_dim, ld}))
    return bad("attention_forward_bf16");
  return training_operations().attention_forward_bf16(stream, out, lse, q, k, v, offsets, sequences, n_heads,
                                                      n_kv_heads, head_dim, ld, scale);
}

SJD2_EXPORT int32_t sjd2_train_attention_backward_f32(sjd2_stream stream, float* dq, float* dk, float* dv,
                                                      const float* d_out, const float* out, const float* lse,
                                                      const float* q, const float* k, const float* v,
                                                      const int32_t* offsets, int64_t sequences,
                                                      int64_t n_heads, int64_t n_kv_heads, int64_t head_dim,
                                                      int64_t ld, float scale) {
  if (null_among({stream, dq, dk, dv, d_out, out, lse, q, k, v, offsets}) ||
      negative_among({sequences, n_heads, n_kv_heads, head_dim, ld}))
    return bad("attention_backward_f32");
  return training_operations().attention_backward_f32(stream, dq, dk, dv, d_out, out, lse, q, k, v, offsets,
                                                      sequences, n_heads, n_kv_heads, head_dim, ld, scale);
}

SJD2_EXPORT int32_t sjd2_train_attention_backward_bf16(
    sjd2_stream stream, uint16_t* dq, uint16_t* dk, uint16_t* dv, const uint16_t* d_out, const uint16_t* out,
    const float* lse, const uint16_t* q, const uint16_t* k, const uint16_t* v, const int32_t* offsets,
    int64_t sequences, int64_t n_heads, int64_t n_kv_heads, int64_t head_dim, int64_t ld, float scale) {
  if (null_among({stream, dq, dk, dv, d_out, out, lse, q, k, v, offsets}) ||
      negative_among({sequences, n_heads, n_kv_heads, head_dim, ld}))
    return bad("attention_backward_bf16");
  return training_operations().attention_backward_bf16(stream, dq, dk, dv, d_out, out, lse, q, k, v, offsets,
                                                       sequences, n_heads, n_kv_heads, head_dim, ld, scale);
}

SJD2_EXPORT int32_t sjd2_train_gather_rows(sjd2_stream stream, float* x, const float* table,
                                           const int32_t* index, int64_t m, int64_t hidden_size,
                                           int32_t accumulate) {
  if (null_among({stream, x, table, index}) || negative_among({m, hidden_size})) return bad("gather_rows");
  return training_operations().gather_rows(stream, x, table, index, m, hidden_size, accumulate);
}

SJD2_EXPORT int32_t sjd2_train_scatter_add_rows(sjd2_stream stream, float* table, const float* x,
                                                const int32_t* index, const float* scale, int64_t m,
                                                int64_t hidden_size) {
  if (null_among({stream, table, x, index}) || negative_among({m, hidden_size}))
    return bad("scatter_add_rows");
  return training_operations().scatter_add_rows(stream, table, x, index, scale, m, hidden_size);
}

SJD2_EXPORT int32_t sjd2_train_noise_mix(sjd2_stream stream, float* x, const int32_t* rows,
                                         const float* alpha, const float* sigma, const float* noise,
                                         const float* mean, const float* std, const float* level, int64_t n,
                                         int64_t hidden_size) {
  if (null_among({stream, x, alpha, sigma, noise, mean, std}) || negative_among({n, hidden_size}))
    return bad("noise_mix");
  return training_operations().noise_mix(stream, x, rows, alpha, sigma, noise, mean, std, level, n,
                                         hidden_size);
}

SJD2_EXPORT int32_t sjd2_train_philox_normal(sjd2_stream stream, float* out, const int32_t* high,
                                             const int32_t* low, int64_t n, int64_t hidden_size,
                                             uint64_t seed, uint32_t stream_high) {
  if (null_among({stream, out, high, low}) || negative_among({n, hidden_size})) return bad("philox_normal");
  return training_operations().philox_normal(stream, out, high, low, n, hidden_size, seed, stream_high);
}

SJD2_EXPORT int32_t sjd2_train_sinusoid(sjd2_stream stream, float* out, const double* t,
                                        const double* frequencies, int64_t n, int64_t half) {
  if (null_among({stream, out, t, frequencies}) || negative_among({n, half})) return bad("sinusoid");
  return training_operations().sinusoid(stream, out, t, frequencies, n, half);
}

SJD2_EXPORT int32_t sjd2_train_add_bias(sjd2_stream stream, float* x, const float* bias, int64_t m,
                                        int64_t n) {
  if (null_among({stream, x, bias}) || negative_among({m, n})) return bad("add_bias");
  return training_operations().add_bias(stream, x, bias, m, n);
}

SJD2_EXPORT int32_t sjd2_train_column_sum(sjd2_stream stream, float* out, const float* x, int64_t m,
                                          int64_t n) {
  if (null_among({stream, out, x}) || negative_among({m, n})) return bad("column_sum");
  return training_operations().column_sum(stream, out, x, m, n);
}

SJD2_EXPORT int32_t sjd2_train_silu_forward(sjd2_stream stream, float* y, const float* x, int64_t n) {
  if (null_among({stream, y, x}) || negative_among({n})) return bad("silu_forward");
  return training_operations().silu_forward(stream, y, x, n);
}

SJD2_EXPORT int32_t sjd2_train_silu_backward(sjd2_stream stream, float* dx, const float* dy, const float* x,
                                             int64_t n) {
  if (null_among({stream, dx, dy, x}) || negative_among({n})) return bad("silu_backward");
  return training_operations().silu_backward(stream, dx, dy, x, n);
}

SJD2_EXPORT int32_t sjd2_train_cross_entropy_f32(sjd2_stream stream, float* losses, float* dlogits,
                                                 const float* logits, const int32_t* target, int64_t m,
                                                 int64_t n, float scale) {
  if (null_among({stream, losses, logits, target}) || negative_among({m, n})) return bad("cross_entropy_f32");
  return training_operations().cross_entropy_f32(stream, losses, dlogits, logits, target, m, n, scale);
}

SJD2_EXPORT int32_t sjd2_train_cross_entropy_bf16(sjd2_stream stream, float* losses, uint16_t* dlogits,
                                                  const float* logits, const int32_t* target, int64_t m,
                                                  int64_t n, float scale) {
  if (null_among({stream, losses, logits, target}) || negative_among({m, n}))
    return bad("cross_entropy_bf16");
  return training_operations().cross_entropy_bf16(stream, losses, dlogits, logits, target, m, n, scale);
}

SJD2_EXPORT int32_t sjd2_train_adamw(sjd2_stream stream, float* param, float* first, float* second,
                                     const float* grad, int64_t n, float lr, float beta1, float beta2,
                                     float eps, float decay, float correction1, float correction2,
                                     float grad_scale) {
  if (null_among({stream, param, first, second, grad}) || negative_among({n})) return bad("adamw");
  return training_operations().adamw(stream, param, first, second, grad, n, lr, beta1, beta2, eps, decay,
                                     correction1, correction2, grad_scale);
}

SJD2_EXPORT int32_t sjd2_train_muon(sjd2_stream stream, float* param, float* momentum, const float* grad,
                                    const int64_t* offsets, const int64_t* rows, const int64_t* cols,
                                    int64_t count, float lr, float beta, float decay, float rms,
                                    float grad_scale, int32_t steps, int32_t product) {
  if (null_among({stream, param, momentum, grad, offsets, rows, cols}) || negative_among({count}))
    return bad("muon");
  return training_operations().muon(stream, param, momentum, grad, offsets, rows, cols, count, lr, beta,
                                    decay, rms, grad_scale, steps, product);
}

SJD2_EXPORT int32_t sjd2_train_ema(sjd2_stream stream, float* average, const float* param, int64_t n,
                                   float decay) {
  if (null_among({stream, average, param}) || negative_among({n})) return bad("ema");
  return training_operations().ema(stream, average, param, n, decay);
}

SJD2_EXPORT int32_t sjd2_train_sum_squares(sjd2_stream stream, double* out, const float* x, int64_t n) {
  if (null_among({stream, out, x}) || negative_among({n})) return bad("sum_squares");
  return training_operations().sum_squares(stream, out, x, n);
}

SJD2_EXPORT int32_t sjd2_train_fill(sjd2_stream stream, float* x, int64_t n, float value) {
  if (null_among({stream, x}) || negative_among({n})) return bad("fill");
  return training_operations().fill(stream, x, n, value);
}

SJD2_EXPORT int32_t sjd2_train_to_bf16(sjd2_stream stream, uint16_t* y, const float* x, int64_t n) {
  if (null_among({stream, y, x}) || negative_among({n})) return bad("to_bf16");
  return training_operations().to_bf16(stream, y, x, n);
}
