// The forward operations as the C ABI has them: arguments are checked here, once, for every instruction set.
#include <cmath>

#include "layout.h"
#include "ops.h"

namespace sjd2 {
namespace {

// The first thing wrong with a call; every check after it is skipped.
class Check {
 public:
  explicit Check(const char* operation) : operation_(operation) {}

  template <typename... Pointers>
  Check& not_null(Pointers... pointers) {
    const bool bad = (... || (pointers == nullptr));
    if (status_ == SJD2_OK && bad)
      status_ = fail(SJD2_BAD_ARGUMENT, "%s: a required pointer is NULL", operation_);
    return *this;
  }

  Check& at_least(const char* name, int64_t value, int64_t least) {
    if (status_ == SJD2_OK && value < least) {
      status_ = fail(SJD2_BAD_ARGUMENT, "%s: %s is %lld, expected at least %lld", operation_, name,
                     static_cast<long long>(value), static_cast<long long>(least));
    }
    return *this;
  }

  Check& divides(const char* divisor_name, int64_t divisor, const char* name, int64_t value) {
    if (status_ == SJD2_OK && (divisor <= 0 || value % divisor != 0)) {
      status_ = fail(SJD2_BAD_SHAPE, "%s: %s=%lld does not divide %s=%lld", operation_, divisor_name,
                     static_cast<long long>(divisor), name, static_cast<long long>(value));
    }
    return *this;
  }

  Check& dtype(const char* name, int32_t value, bool allow_f16) {
    const bool known = value == SJD2_F32 || value == SJD2_BF16 || (allow_f16 && value == SJD2_F16);
    if (status_ == SJD2_OK && !known) {
      status_ = fail(SJD2_BAD_ARGUMENT, "%s: %s is %d, expected f32 (0)%s", operation_, name, value,
                     allow_f16 ? ", bf16 (1) or f16 (2)" : " or bf16 (1)");
    }
    return *this;
  }

  Check& positive(const char* name, float value) {
    if (status_ == SJD2_OK && !(value > 0.0f && std::isfinite(value))) {
      status_ = fail(SJD2_BAD_ARGUMENT, "%s: %s is %g, expected a positive number", operation_, name,
                     static_cast<double>(value));
    }
    return *this;
  }

  Check& not_negative(const char* name, float value) {
    if (status_ == SJD2_OK && !(value >= 0.0f && std::isfinite(value))) {
      status_ = fail(SJD2_BAD_ARGUMENT, "%s: %s is %g, expected a number >= 0", operation_, name,
                     static_cast<double>(value));
    }
    return *this;
  }

  Check& head_dim(int64_t value) {
    if (status_ == SJD2_OK && (value <= 0 || value > 256 || value % 2 != 0)) {
      status_ = fail(SJD2_BAD_SHAPE, "%s: head_dim is %lld, expected an even number up to 256", operation_,
                     static_cast<long long>(value));
    }
    return *this;
  }

  // Live rows stay inside the cache and, where rope_len >= 0, inside the rotary table.
  Check& cache_rows(const sjd2_sequence* sequences, int64_t batch, int64_t max_window, int64_t capacity,
                    int64_t rope_len) {
    for (int64_t b = 0; status_ == SJD2_OK && b < batch; ++b) {
      const sjd2_sequence& s = sequences[b];
      if (s.rows < 0 || s.rows > max_window) {
        status_ = fail(SJD2_BAD_ARGUMENT, "%s: sequence %lld has %d rows, expected 0..max_window=%lld",
                       operation_, static_cast<long long>(b), s.rows, static_cast<long long>(max_window));
      } else if (s.rows == 0) {
        continue;
      } else if (s.kv_len < 0 || s.kv_len + static_cast<int64_t>(s.rows) > capacity) {
        status_ =
            fail(SJD2_BAD_SHAPE, "%s: sequence %lld has %d rows behind %d entries, the cache has %lld",
                 operation_, static_cast<long long>(b), s.rows, s.kv_len, static_cast<long long>(capacity));
      } else if (rope_len >= 0 && (s.position < 0 || s.position + static_cast<int64_t>(s.rows) > rope_len)) {
        status_ =
            fail(SJD2_BAD_SHAPE, "%s: sequence %lld has %d rows from position %d, the rotary table has %lld",
                 operation_, static_cast<long long>(b), s.rows, s.position, static_cast<long long>(rope_len));
      }
    }
    return *this;
  }

  int32_t status() const { return status_; }
  bool ok() const { return status_ == SJD2_OK; }

 private:
  const char* operation_;
  int32_t status_ = SJD2_OK;
};

Check check_rows(const char* operation, int64_t batch, int64_t max_window, const char* width_name,
                 int64_t width) {
  Check check(operation);
  check.at_least("batch", batch, 0).at_least("max_window", max_window, 0).at_least(width_name, width, 1);
  return check;
}

Check check_matmul(const char* operation, int64_t batch, int64_t max_window, int64_t n_out, int64_t n_in) {
  return check_rows(operation, batch, max_window, "n_out", n_out).at_least("n_in", n_in, 1);
}

Check check_rope(const sjd2_sequence* sequences, int64_t batch, int64_t max_window, int64_t kv_capacity,
                 int64_t n_heads, int64_t n_kv_heads, int64_t head_dim, const float* q_weight,
                 const float* q_bias, const float* k_weight, const float* k_bias, int64_t q_rows,
                 int64_t k_rows, int64_t rope_len, int32_t pairs) {
  Check check = check_rows("rope_append", batch, max_window, "n_heads", n_heads);
  check.at_least("n_kv_heads", n_kv_heads, 1).at_least("kv_capacity", kv_capacity, 0).head_dim(head_dim);
  check.not_null(sequences);
  if (check.ok() && pairs != 0 && pairs != 1) {
    return check.at_least("pairs (0: half split, 1: interleaved), as one of two codes,", -1, 0);
  }
  if (q_weight != nullptr || q_bias != nullptr) check.divides("q_rows", q_rows, "n_heads", n_heads);
  if (k_weight != nullptr || k_bias != nullptr) check.divides("k_rows", k_rows, "n_kv_heads", n_kv_heads);
  if (check.ok()) check.cache_rows(sequences, batch, max_window, kv_capacity, max64(rope_len, 0));
  return check;
}

Check check_attention(const sjd2_sequence* sequences, int64_t batch, int64_t max_window, int64_t kv_capacity,
                      int64_t n_heads, int64_t n_kv_heads, int64_t head_dim, float scale) {
  Check check = check_rows("attention", batch, max_window, "n_heads", n_heads);
  check.at_least("n_kv_heads", n_kv_heads, 1).divides("n_kv_heads", n_kv_heads, "n_heads", n_heads);
  check.head_dim(head_dim).positive("scale", scale).not_null(sequences);
  if (check.ok()) check.cache_rows(sequences, batch, max_window, kv_capacity, -1);
  return check;
}

}  // namespace
}  // namespace sjd2

using sjd2::Check;
using sjd2::check_rows;
using sjd2::ops;

SJD2_EXPORT int32_t sjd2_packed_elements(int64_t* out, int64_t n_out, int64_t n_in, int32_t dst_dtype) {
  Check check("packed_elements");
  check.not_null(out)
      .at_least("n_out", n_out, 1)
      .at_least("n_in", n_in, 1)
      .dtype("dst_dtype", dst_dtype, false);
  if (check.ok()) *out = sjd2::packed_elements(n_out, n_in, dst_dtype == SJD2_BF16);
  return check.status();
}

SJD2_EXPORT int32_t sjd2_pack_weights(sjd2_stream stream, void* dst, const void* src, int64_t first_row,
                                      int64_t n_rows, int64_t n_out, int64_t n_in, int32_t dst_dtype,
                                      int32_t src_dtype) {
  Check check("pack_weights");
  check.not_null(stream, dst, src).at_least("first_row", first_row, 0).at_least("n_rows", n_rows, 0);
  check.at_least("n_in", n_in, 1).dtype("dst_dtype", dst_dtype, false).dtype("src_dtype", src_dtype, true);
  if (!check.ok()) return check.status();
  if (first_row + n_rows > n_out) {
    return sjd2::fail(SJD2_BAD_SHAPE, "pack_weights: rows %lld..%lld of a matrix of %lld rows",
                      static_cast<long long>(first_row), static_cast<long long>(first_row + n_rows),
                      static_cast<long long>(n_out));
  }
  return ops().pack_weights(stream, dst, src, first_row, n_rows, n_out, n_in, dst_dtype, src_dtype);
}

SJD2_EXPORT int32_t sjd2_convert(sjd2_stream stream, void* dst, const void* src, int64_t n, int32_t dst_dtype,
                                 int32_t src_dtype) {
  Check check("convert");
  check.not_null(stream, dst, src).at_least("n", n, 0);
  check.dtype("dst_dtype", dst_dtype, true).dtype("src_dtype", src_dtype, true);
  return check.ok() ? ops().convert(stream, dst, src, n, dst_dtype, src_dtype) : check.status();
}

SJD2_EXPORT int32_t sjd2_embed_f32(sjd2_stream stream, float* out, const float* table, const int32_t* ids,
                                   int64_t rows, int64_t vocab, int64_t hidden) {
  Check check = check_rows("embed", 1, rows, "hidden", hidden).not_null(stream, out, table, ids);
  return check.ok() ? ops().embed_f32(stream, out, table, ids, rows, vocab, hidden) : check.status();
}

SJD2_EXPORT int32_t sjd2_embed_bf16(sjd2_stream stream, float* out, const uint16_t* table, const int32_t* ids,
                                    int64_t rows, int64_t vocab, int64_t hidden) {
  Check check = check_rows("embed", 1, rows, "hidden", hidden).not_null(stream, out, table, ids);
  return check.ok() ? ops().embed_bf16(stream, out, table, ids, rows, vocab, hidden) : check.status();
}

SJD2_EXPORT int32_t sjd2_sequence_input_f32(sjd2_stream stream, float* x, const float* window_input,
                                            const float* last_prompt, const float* row_embed,
                                            const float* col_embed, const sjd2_sequence* sequences,
                                            const sjd2_image* images, int64_t batch, int64_t n_images,
                                            int64_t max_window, int64_t hidden, int64_t grid_height,
                                            int64_t grid_width) {
  Check check = check_rows("sequence_input", batch, max_window, "hidden", hidden);
  check.not_null(stream, x, window_input, last_prompt, sequences, images).at_least("n_images", n_images, 0);
  if ((row_embed == nullptr) != (col_embed == nullptr)) check.not_null(row_embed, col_embed);
  if (row_embed != nullptr)
    check.at_least("grid_height", grid_height, 1).at_least("grid_width", grid_width, 1);
  if (!check.ok()) return check.status();
  return ops().sequence_input_f32(stream, x, window_input, last_prompt, row_embed, col_embed, sequences,
                                  images, batch, n_images, max_window, hidden, grid_height, grid_width);
}

SJD2_EXPORT int32_t sjd2_rms_norm_f32(sjd2_stream stream, float* out, const float* x, const float* weight,
                                      const sjd2_sequence* sequences, int64_t batch, int64_t max_window,
                                      int64_t hidden, float eps) {
  Check check = check_rows("rms_norm", batch, max_window, "hidden", hidden);
  check.not_null(stream, out, x, weight).not_negative("eps", eps);
  if (!check.ok()) return check.status();
  return ops().rms_norm_f32(stream, out, x, weight, sequences, batch, max_window, hidden, eps);
}

SJD2_EXPORT int32_t sjd2_rms_norm_bf16(sjd2_stream stream, uint16_t* out, const float* x, const float* weight,
                                       const sjd2_sequence* sequences, int64_t batch, int64_t max_window,
                                       int64_t hidden, float eps) {
  Check check = check_rows("rms_norm", batch, max_window, "hidden", hidden);
  check.not_null(stream, out, x, weight).not_negative("eps", eps);
  if (!check.ok()) return check.status();
  return ops().rms_norm_bf16(stream, out, x, weight, sequences, batch, max_window, hidden, eps);
}

SJD2_EXPORT int32_t sjd2_rms_norm_add_f32(sjd2_stream stream, float* x, const float* delta,
                                          const float* weight, const sjd2_sequence* sequences, int64_t batch,
                                          int64_t max_window, int64_t hidden, float eps) {
  Check check = check_rows("rms_norm_add", batch, max_window, "hidden", hidden);
  check.not_null(stream, x, delta, weight).not_negative("eps", eps);
  if (!check.ok()) return check.status();
  return ops().rms_norm_add_f32(stream, x, delta, weight, sequences, batch, max_window, hidden, eps);
}

SJD2_EXPORT int32_t sjd2_round_f32(sjd2_stream stream, float* out, const float* x,
                                   const sjd2_sequence* sequences, int64_t batch, int64_t max_window,
                                   int64_t hidden) {
  Check check = check_rows("round", batch, max_window, "hidden", hidden).not_null(stream, out, x);
  return check.ok() ? ops().round_f32(stream, out, x, sequences, batch, max_window, hidden) : check.status();
}

SJD2_EXPORT int32_t sjd2_round_bf16(sjd2_stream stream, uint16_t* out, const float* x,
                                    const sjd2_sequence* sequences, int64_t batch, int64_t max_window,
                                    int64_t hidden) {
  Check check = check_rows("round", batch, max_window, "hidden", hidden).not_null(stream, out, x);
  return check.ok() ? ops().round_bf16(stream, out, x, sequences, batch, max_window, hidden) : check.status();
}

SJD2_EXPORT int32_t sjd2_matmul_f32(sjd2_stream stream, float* out, const float* x, const float* w,
                                    const float* bias, const sjd2_sequence* sequences, int64_t batch,
                                    int64_t max_window, int64_t n_out, int64_t n_in, int32_t accumulate) {
  Check check = sjd2::check_matmul("matmul", batch, max_window, n_out, n_in).not_null(stream, out, x, w);
  if (!check.ok()) return check.status();
  return ops().matmul_f32(stream, out, x, w, bias, sequences, batch, max_window, n_out, n_in, accumulate);
}

SJD2_EXPORT int32_t sjd2_matmul_bf16(sjd2_stream stream, float* out, const uint16_t* x, const uint16_t* w,
                                     const float* bias, const sjd2_sequence* sequences, int64_t batch,
                                     int64_t max_window, int64_t n_out, int64_t n_in, int32_t accumulate) {
  Check check = sjd2::check_matmul("matmul", batch, max_window, n_out, n_in).not_null(stream, out, x, w);
  if (!check.ok()) return check.status();
  return ops().matmul_bf16(stream, out, x, w, bias, sequences, batch, max_window, n_out, n_in, accumulate);
}

SJD2_EXPORT int32_t sjd2_rope_append_f32(sjd2_stream stream, float* q, float* k_cache, float* v_cache,
                                         const float* qkv, const float* q_weight, const float* q_bias,
                                         const float* k_weight, const float* k_bias, const float* rope,
                                         const sjd2_sequence* sequences, int64_t batch, int64_t max_window,
                                         int64_t kv_capacity, int64_t n_heads, int64_t n_kv_heads,
                                         int64_t head_dim, int64_t q_rows, int64_t k_rows, int64_t rope_len,
                                         int32_t pairs, float norm_eps) {
  Check check = sjd2::check_rope(sequences, batch, max_window, kv_capacity, n_heads, n_kv_heads, head_dim,
                                 q_weight, q_bias, k_weight, k_bias, q_rows, k_rows, rope_len, pairs);
  check.not_null(stream, q, k_cache, v_cache, qkv, rope).not_negative("norm_eps", norm_eps);
  if (!check.ok()) return check.status();
  return ops().rope_append_f32(stream, q, k_cache, v_cache, qkv, q_weight, q_bias, k_weight, k_bias, rope,
                               sequences, batch, max_window, kv_capacity, n_heads, n_kv_heads, head_dim,
                               q_rows, k_rows, rope_len, pairs, norm_eps);
}

SJD2_EXPORT int32_t sjd2_rope_append_bf16(sjd2_stream stream, uint16_t* q, uint16_t* k_cache,
                                          uint16_t* v_cache, const float* qkv, const float* q_weight,
                                          const float* q_bias, const float* k_weight, const float* k_bias,
                                          const float* rope, const sjd2_sequence* sequences, int64_t batch,
                                          int64_t max_window, int64_t kv_capacity, int64_t n_heads,
                                          int64_t n_kv_heads, int64_t head_dim, int64_t q_rows,
                                          int64_t k_rows, int64_t rope_len, int32_t pairs, float norm_eps) {
  Check check = sjd2::check_rope(sequences, batch, max_window, kv_capacity, n_heads, n_kv_heads, head_dim,
                                 q_weight, q_bias, k_weight, k_bias, q_rows, k_rows, rope_len, pairs);
  check.not_null(stream, q, k_cache, v_cache, qkv, rope).not_negative("norm_eps", norm_eps);
  if (!check.ok()) return check.status();
  return ops().rope_append_bf16(stream, q, k_cache, v_cache, qkv, q_weight, q_bias, k_weight, k_bias, rope,
                                sequences, batch, max_window, kv_capacity, n_heads, n_kv_heads, head_dim,
                                q_rows, k_rows, rope_len, pairs, norm_eps);
}

SJD2_EXPORT int32_t sjd2_attention_f32(sjd2_stream stream, float* out, const float* q, const float* k,
                                       const float* v, const sjd2_sequence* sequences, int64_t batch,
                                       int64_t max_window, int64_t kv_capacity, int64_t n_heads,
                                       int64_t n_kv_heads, int64_t head_dim, float scale) {
  Check check =
      sjd2::check_attention(sequences, batch, max_window, kv_capacity, n_heads, n_kv_heads, head_dim, scale);
  check.not_null(stream, out, q, k, v);
  if (!check.ok()) return check.status();
  return ops().attention_f32(stream, out, q, k, v, sequences, batch, max_window, kv_capacity, n_heads,
                             n_kv_heads, head_dim, scale);
}

SJD2_EXPORT int32_t sjd2_attention_bf16(sjd2_stream stream, uint16_t* out, const uint16_t* q,
                                        const uint16_t* k, const uint16_t* v, const sjd2_sequence* sequences,
                                        int64_t batch, int64_t max_window, int64_t kv_capacity,
                                        int64_t n_heads, int64_t n_kv_heads, int64_t head_dim, float scale) {
  Check check =
      sjd2::check_attention(sequences, batch, max_window, kv_capacity, n_heads, n_kv_heads, head_dim, scale);
  check.not_null(stream, out, q, k, v);
  if (!check.ok()) return check.status();
  return ops().attention_bf16(stream, out, q, k, v, sequences, batch, max_window, kv_capacity, n_heads,
                              n_kv_heads, head_dim, scale);
}

SJD2_EXPORT int32_t sjd2_swiglu_f32(sjd2_stream stream, float* out, const float* gate_up,
                                    const sjd2_sequence* sequences, int64_t batch, int64_t max_window,
                                    int64_t intermediate) {
  Check check =
      check_rows("swiglu", batch, max_window, "intermediate", intermediate).not_null(stream, out, gate_up);
  if (!check.ok()) return check.status();
  return ops().swiglu_f32(stream, out, gate_up, sequences, batch, max_window, intermediate);
}

SJD2_EXPORT int32_t sjd2_swiglu_bf16(sjd2_stream stream, uint16_t* out, const float* gate_up,
                                     const sjd2_sequence* sequences, int64_t batch, int64_t max_window,
                                     int64_t intermediate) {
  Check check =
      check_rows("swiglu", batch, max_window, "intermediate", intermediate).not_null(stream, out, gate_up);
  if (!check.ok()) return check.status();
  return ops().swiglu_bf16(stream, out, gate_up, sequences, batch, max_window, intermediate);
}

SJD2_EXPORT int32_t sjd2_gelu_f32(sjd2_stream stream, float* out, const float* x,
                                  const sjd2_sequence* sequences, int64_t batch, int64_t max_window,
                                  int64_t n, int32_t tanh_form) {
  Check check = check_rows("gelu", batch, max_window, "n", n).not_null(stream, out, x);
  return check.ok() ? ops().gelu_f32(stream, out, x, sequences, batch, max_window, n, tanh_form)
                    : check.status();
}

SJD2_EXPORT int32_t sjd2_gelu_bf16(sjd2_stream stream, uint16_t* out, const float* x,
                                   const sjd2_sequence* sequences, int64_t batch, int64_t max_window,
                                   int64_t n, int32_t tanh_form) {
  Check check = check_rows("gelu", batch, max_window, "n", n).not_null(stream, out, x);
  return check.ok() ? ops().gelu_bf16(stream, out, x, sequences, batch, max_window, n, tanh_form)
                    : check.status();
}
