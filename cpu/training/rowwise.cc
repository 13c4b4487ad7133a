// Operations that see one row at a time: norms, rotary positions, activation, loss; and the sums over rows that their
// weights need. Sums over rows go through partial sums of 64 rows each, added in ascending order.

#include "../threads.h"
#include "product.h"
#include "training_table.h"

namespace sjd2::SJD2_ISA::training {

namespace {

constexpr int64_t kRowsPerItem = 32;
constexpr int64_t kRowsPerPartial = 64;

// f(first row, one past the last) over chunks of rows.
template <typename F>
void over_rows(sjd2_stream stream, int64_t m, int64_t chunk, F&& f) {
  parallel_for(stream, (m + chunk - 1) / chunk, [&](int64_t item) {
    int64_t last = (item + 1) * chunk;
    f(item * chunk, last < m ? last : m);
  });
}

// Per-chunk partial sums of `n` columns, filled by f(partial, first, last) and then added to `out` in order.
template <typename F>
int32_t reduce_rows(sjd2_stream stream, float* out, int64_t m, int64_t n, F&& f) {
  int64_t chunks = (m + kRowsPerPartial - 1) / kRowsPerPartial, np = round_up(n, kLanes);
  auto* partials = static_cast<float*>(scratch(kSlotB, chunks * np * 4));
  if (partials == nullptr) return SJD2_OUT_OF_MEMORY;
  parallel_for(stream, chunks, [&](int64_t c) {
    int64_t last = (c + 1) * kRowsPerPartial;
    std::memset(partials + c * np, 0, static_cast<size_t>(np) * 4);
    f(partials + c * np, c * kRowsPerPartial, last < m ? last : m);
  });
  over_row(n, [&](int64_t i, int64_t lanes) {
    Vec s = load_at(out + i, lanes);
    for (int64_t c = 0; c < chunks; ++c) s = s + load(partials + c * np + i);
    store_at(out + i, s, lanes);
  });
  return SJD2_OK;
}

template <typename T>
int32_t rms_forward(sjd2_stream stream, T* y, float* rstd, const float* x, const float* weight,
                    const int32_t* rows, int64_t m, int64_t d, float eps) {
  over_rows(stream, m, kRowsPerItem, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const float* xr = x + (rows == nullptr ? i : rows[i]) * d;
      Vec squares = {};
      over_row(d, [&](int64_t j, int64_t n) {
        Vec v = load_at(xr + j, n);
        squares = fma(v, v, squares);
      });
      float s = 1.0f / std::sqrt(sum(squares) / static_cast<float>(d) + eps);
      rstd[i] = s;
      over_row(d, [&](int64_t j, int64_t n) {
        store_at(y + i * d + j, load_at(xr + j, n) * s * load_at(weight + j, n), n);
      });
    }
  });
  return SJD2_OK;
}

template <typename T>
int32_t rms_backward(sjd2_stream stream, float* dx, float* dweight, const T* dy, const float* x,
                     const float* weight, const float* rstd, const int32_t* rows, int64_t m, int64_t d) {
  return reduce_rows(stream, dweight, m, d, [&](float* partial, int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      int64_t r = rows == nullptr ? i : rows[i];
      const float* xr = x + r * d;
      const T* g = dy + i * d;
      float* out = dx + r * d;
      Vec dot = {};
      over_row(d, [&](int64_t j, int64_t n) {
        dot = fma(load_at(g + j, n) * load_at(weight + j, n), load_at(xr + j, n), dot);
      });
      float s = rstd[i];
      float shift = sum(dot) * s * s / static_cast<float>(d);
      over_row(d, [&](int64_t j, int64_t n) {
        Vec v = load_at(xr + j, n), gv = load_at(g + j, n);
        Vec direct = fma(gv, load_at(weight + j, n), v * -shift);
        store_at(out + j, fma(direct, splat(s), load_at(out + j, n)), n);
        store(partial + j, fma(gv, v * s, load(partial + j)));
      });
    }
  });
}

// Where the parameters of head h of the q (or k) part lie.
inline int64_t norm_row(int64_t h, int64_t heads, int64_t norm_rows) { return h / (heads / norm_rows); }

template <typename T>
int32_t qk_forward(sjd2_stream stream, T* y, float* stats, const T* x, const float* qw, const float* qb,
                   const float* kw, const float* kb, int64_t m, int64_t nh, int64_t nkv, int64_t hd,
                   int64_t q_norm_rows, int64_t k_norm_rows, float eps) {
  int64_t ld = (nh + 2 * nkv) * hd;
  over_rows(stream, m, kRowsPerItem, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      for (int64_t h = 0; h < nh + nkv; ++h) {
        bool is_q = h < nh;
        int64_t row = is_q ? norm_row(h, nh, q_norm_rows) : norm_row(h - nh, nkv, k_norm_rows);
        const float* w = (is_q ? qw : kw) + row * hd;
        const float* b = (is_q ? qb : kb) + row * hd;
        const T* xr = x + i * ld + h * hd;
        T* yr = y + i * ld + h * hd;
        Vec total = {};
        over_row(hd, [&](int64_t j, int64_t n) { total = total + load_at(xr + j, n); });
        float mean = sum(total) / static_cast<float>(hd);
        Vec squares = {};
        over_row(hd, [&](int64_t j, int64_t n) {
          Vec v = load_at(xr + j, n) - mean;
          if (n < kLanes)
            v = select(reinterpret_cast<IVec>(lane_index() < static_cast<float>(n)), v, splat(0.0f));
          squares = fma(v, v, squares);
        });
        float s = 1.0f / std::sqrt(sum(squares) / static_cast<float>(hd) + eps);
        stats[(i * (nh + nkv) + h) * 2] = mean;
        stats[(i * (nh + nkv) + h) * 2 + 1] = s;
        over_row(hd, [&](int64_t j, int64_t n) {
          store_at(yr + j, fma((load_at(xr + j, n) - mean) * s, load_at(w + j, n), load_at(b + j, n)), n);
        });
      }
      std::memcpy(y + i * ld + (nh + nkv) * hd, x + i * ld + (nh + nkv) * hd,
                  static_cast<size_t>(nkv * hd) * sizeof(T));
    }
  });
  return SJD2_OK;
}

template <typename T>
int32_t qk_backward(sjd2_stream stream, T* dy, float* d_params, const T* x, const float* stats,
                    const float* qw, const float* kw, int64_t m, int64_t nh, int64_t nkv, int64_t hd,
                    int64_t q_norm_rows, int64_t k_norm_rows) {
  int64_t ld = (nh + 2 * nkv) * hd, q_block = q_norm_rows * hd, k_block = k_norm_rows * hd;
  return reduce_rows(stream, d_params, m, 2 * (q_block + k_block), [&](float* partial, int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      for (int64_t h = 0; h < nh + nkv; ++h) {
        bool is_q = h < nh;
        int64_t row = is_q ? norm_row(h, nh, q_norm_rows) : norm_row(h - nh, nkv, k_norm_rows);
        const float* w = (is_q ? qw : kw) + row * hd;
        float* dw = partial + (is_q ? 0 : 2 * q_block) + row * hd;
        float* db = dw + (is_q ? q_block : k_block);
        const T* xr = x + i * ld + h * hd;
        T* g = dy + i * ld + h * hd;
        float mean = stats[(i * (nh + nkv) + h) * 2], s = stats[(i * (nh + nkv) + h) * 2 + 1];
        Vec total = {}, dot = {};
        over_row(hd, [&](int64_t j, int64_t n) {
          Vec gw = load_at(g + j, n) * load_at(w + j, n);
          total = total + gw;
          dot = fma(gw, (load_at(xr + j, n) - mean) * s, dot);
        });
        float mean_g = sum(total) / static_cast<float>(hd), mean_gx = sum(dot) / static_cast<float>(hd);
        over_row(hd, [&](int64_t j, int64_t n) {
          Vec gv = load_at(g + j, n), hat = (load_at(xr + j, n) - mean) * s;
          store_at(dw + j, fma(gv, hat, load_at(dw + j, n)), n);
          store_at(db + j, gv + load_at(db + j, n), n);
          store_at(g + j, (gv * load_at(w + j, n) - mean_g - hat * mean_gx) * s, n);
        });
      }
    }
  });
}

template <typename T>
int32_t rotate(sjd2_stream stream, T* x, const float* cos, const float* sin, const int32_t* position,
               int64_t m, int64_t heads, int64_t hd, int64_t ld, int32_t inverse) {
  int64_t half = hd / 2;
  float sign = inverse != 0 ? -1.0f : 1.0f;
  over_rows(stream, m, kRowsPerItem, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const float* c = cos + position[i] * half;
      const float* s = sin + position[i] * half;
      for (int64_t h = 0; h < heads; ++h) {
        T* lo = x + i * ld + h * hd;
        T* hi = lo + half;
        over_row(half, [&](int64_t j, int64_t n) {
          Vec a = load_at(lo + j, n), b = load_at(hi + j, n), cv = load_at(c + j, n),
              sv = load_at(s + j, n) * sign;
          store_at(lo + j, a * cv - b * sv, n);
          store_at(hi + j, b * cv + a * sv, n);
        });
      }
    }
  });
  return SJD2_OK;
}

template <typename T>
int32_t swiglu_up(sjd2_stream stream, T* act, const T* gate_up, int64_t m, int64_t width) {
  over_rows(stream, m, kRowsPerItem / 2, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const T* gate = gate_up + i * 2 * width;
      over_row(width, [&](int64_t j, int64_t n) {
        Vec g = load_at(gate + j, n);
        store_at(act + i * width + j, g * sigmoid(g) * load_at(gate + width + j, n), n);
      });
    }
  });
  return SJD2_OK;
}

template <typename T>
int32_t swiglu_down(sjd2_stream stream, T* d_gate_up, const T* d_act, const T* gate_up, int64_t m,
                    int64_t width) {
  over_rows(stream, m, kRowsPerItem / 2, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const T* gate = gate_up + i * 2 * width;
      T* out = d_gate_up + i * 2 * width;
      over_row(width, [&](int64_t j, int64_t n) {
        Vec g = load_at(gate + j, n), u = load_at(gate + width + j, n), d = load_at(d_act + i * width + j, n);
        Vec s = sigmoid(g), silu = g * s;
        store_at(out + j, d * u * fma(silu, 1.0f - s, s), n);
        store_at(out + width + j, d * silu, n);
      });
    }
  });
  return SJD2_OK;
}

template <typename T>
int32_t loss_rows(sjd2_stream stream, float* losses, T* dlogits, const float* logits, const int32_t* target,
                  int64_t m, int64_t n, float scale) {
  constexpr int64_t kRows = 8;
  int64_t np = round_up(n, kLanes);
  bool failed = false;
  over_rows(stream, m, kRows, [&](int64_t first, int64_t last) {
    auto* exps = static_cast<float*>(scratch(kSlotTask, np * 4));
    if (exps == nullptr) {
      __atomic_store_n(&failed, true, __ATOMIC_RELAXED);
      return;
    }
    for (int64_t i = first; i < last; ++i) {
      const float* row = logits + i * n;
      auto masked = [&](int64_t j, int64_t lanes) {
        Vec v = load_at(row + j, lanes);
        return lanes == kLanes ? v
                               : select(reinterpret_cast<IVec>(lane_index() < static_cast<float>(lanes)), v,
                                        splat(-INFINITY));
      };
      Vec high = splat(-INFINITY);
      over_row(n, [&](int64_t j, int64_t lanes) { high = vmax(high, masked(j, lanes)); });
      float top = max_of(high);
      Vec total = {};
      over_row(n, [&](int64_t j, int64_t lanes) {
        Vec e = exp(masked(j, lanes) - top);
        if (lanes < kLanes)
          e = select(reinterpret_cast<IVec>(lane_index() < static_cast<float>(lanes)), e, splat(0.0f));
        store(exps + j, e);
        total = total + e;
      });
      float denominator = sum(total);
      losses[i] = std::log(denominator) + (top - row[target[i]]);
      if (dlogits == nullptr) continue;
      float factor = scale / denominator;
      T* out = dlogits + i * n;
      exps[target[i]] -= denominator;
      over_row(n, [&](int64_t j, int64_t lanes) { store_at(out + j, load(exps + j) * factor, lanes); });
    }
  });
  return failed ? SJD2_OUT_OF_MEMORY : SJD2_OK;
}

}  // namespace

int32_t rms_norm_forward_f32(sjd2_stream stream, float* y, float* rstd, const float* x, const float* weight,
                             const int32_t* rows, int64_t m, int64_t hidden_size, float eps) {
  return rms_forward(stream, y, rstd, x, weight, rows, m, hidden_size, eps);
}

int32_t rms_norm_forward_bf16(sjd2_stream stream, uint16_t* y, float* rstd, const float* x,
                              const float* weight, const int32_t* rows, int64_t m, int64_t hidden_size,
                              float eps) {
  return rms_forward(stream, y, rstd, x, weight, rows, m, hidden_size, eps);
}

int32_t rms_norm_backward_f32(sjd2_stream stream, float* dx, float* dweight, const float* dy, const float* x,
                              const float* weight, const float* rstd, const int32_t* rows, int64_t m,
                              int64_t hidden_size) {
  return rms_backward(stream, dx, dweight, dy, x, weight, rstd, rows, m, hidden_size);
}

int32_t rms_norm_backward_bf16(sjd2_stream stream, float* dx, float* dweight, const uint16_t* dy,
                               const float* x, const float* weight, const float* rstd, const int32_t* rows,
                               int64_t m, int64_t hidden_size) {
  return rms_backward(stream, dx, dweight, dy, x, weight, rstd, rows, m, hidden_size);
}

int32_t qk_norm_forward_f32(sjd2_stream stream, float* y, float* stats, const float* x, const float* q_weight,
                            const float* q_bias, const float* k_weight, const float* k_bias, int64_t m,
                            int64_t n_heads, int64_t n_kv_heads, int64_t head_dim, int64_t q_norm_rows,
                            int64_t k_norm_rows, float eps) {
  return qk_forward(stream, y, stats, x, q_weight, q_bias, k_weight, k_bias, m, n_heads, n_kv_heads, head_dim,
                    q_norm_rows, k_norm_rows, eps);
}

int32_t qk_norm_forward_bf16(sjd2_stream stream, uint16_t* y, float* stats, const uint16_t* x,
                             const float* q_weight, const float* q_bias, const float* k_weight,
                             const float* k_bias, int64_t m, int64_t n_heads, int64_t n_kv_heads,
                             int64_t head_dim, int64_t q_norm_rows, int64_t k_norm_rows, float eps) {
  return qk_forward(stream, y, stats, x, q_weight, q_bias, k_weight, k_bias, m, n_heads, n_kv_heads, head_dim,
                    q_norm_rows, k_norm_rows, eps);
}

int32_t qk_norm_backward_f32(sjd2_stream stream, float* dy, float* d_params, const float* x,
                             const float* stats, const float* q_weight, const float* k_weight, int64_t m,
                             int64_t n_heads, int64_t n_kv_heads, int64_t head_dim, int64_t q_norm_rows,
                             int64_t k_norm_rows) {
  return qk_backward(stream, dy, d_params, x, stats, q_weight, k_weight, m, n_heads, n_kv_heads, head_dim,
                     q_norm_rows, k_norm_rows);
}

int32_t qk_norm_backward_bf16(sjd2_stream stream, uint16_t* dy, float* d_params, const uint16_t* x,
                              const float* stats, const float* q_weight, const float* k_weight, int64_t m,
                              int64_t n_heads, int64_t n_kv_heads, int64_t head_dim, int64_t q_norm_rows,
                              int64_t k_norm_rows) {
  return qk_backward(stream, dy, d_params, x, stats, q_weight, k_weight, m, n_heads, n_kv_heads, head_dim,
                     q_norm_rows, k_norm_rows);
}

int32_t rope_f32(sjd2_stream stream, float* x, const float* cos, const float* sin, const int32_t* position,
                 int64_t m, int64_t n_heads, int64_t head_dim, int64_t ld, int32_t inverse) {
  return rotate(stream, x, cos, sin, position, m, n_heads, head_dim, ld, inverse);
}

int32_t rope_bf16(sjd2_stream stream, uint16_t* x, const float* cos, const float* sin,
                  const int32_t* position, int64_t m, int64_t n_heads, int64_t head_dim, int64_t ld,
                  int32_t inverse) {
  return rotate(stream, x, cos, sin, position, m, n_heads, head_dim, ld, inverse);
}

int32_t swiglu_forward_f32(sjd2_stream stream, float* act, const float* gate_up, int64_t m,
                           int64_t intermediate_size) {
  return swiglu_up(stream, act, gate_up, m, intermediate_size);
}

int32_t swiglu_forward_bf16(sjd2_stream stream, uint16_t* act, const uint16_t* gate_up, int64_t m,
                            int64_t intermediate_size) {
  return swiglu_up(stream, act, gate_up, m, intermediate_size);
}

int32_t swiglu_backward_f32(sjd2_stream stream, float* d_gate_up, const float* d_act, const float* gate_up,
                            int64_t m, int64_t intermediate_size) {
  return swiglu_down(stream, d_gate_up, d_act, gate_up, m, intermediate_size);
}

int32_t swiglu_backward_bf16(sjd2_stream stream, uint16_t* d_gate_up, const uint16_t* d_act,
                             const uint16_t* gate_up, int64_t m, int64_t intermediate_size) {
  return swiglu_down(stream, d_gate_up, d_act, gate_up, m, intermediate_size);
}

int32_t cross_entropy_f32(sjd2_stream stream, float* losses, float* dlogits, const float* logits,
                          const int32_t* target, int64_t m, int64_t n, float scale) {
  return loss_rows(stream, losses, dlogits, logits, target, m, n, scale);
}

int32_t cross_entropy_bf16(sjd2_stream stream, float* losses, uint16_t* dlogits, const float* logits,
                           const int32_t* target, int64_t m, int64_t n, float scale) {
  return loss_rows(stream, losses, dlogits, logits, target, m, n, scale);
}

int32_t add_bias(sjd2_stream stream, float* x, const float* bias, int64_t m, int64_t n) {
  over_rows(stream, m, kRowsPerItem, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      over_row(n, [&](int64_t j, int64_t l) {
        store_at(x + i * n + j, load_at(x + i * n + j, l) + load_at(bias + j, l), l);
      });
    }
  });
  return SJD2_OK;
}

int32_t column_sum(sjd2_stream stream, float* out, const float* x, int64_t m, int64_t n) {
  return reduce_rows(stream, out, m, n, [&](float* partial, int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      over_row(n, [&](int64_t j, int64_t l) {
        store(partial + j, load(partial + j) + load_at(x + i * n + j, l));
      });
    }
  });
}

}  // namespace sjd2::SJD2_ISA::training
