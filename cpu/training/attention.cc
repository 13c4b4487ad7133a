// Causal attention of whole sequences, forward and backward, with grouped key/value heads.
//
// One item is one (sequence, key/value head). Its keys and values are packed once, then blocks of 32 queries meet the
// keys up to their own diagonal. The backward pass recomputes probabilities from the stored log-sum-exp, keeps them and
// the score gradients of one head in scratch (each [seq_len, seq_len]), and sums key and value gradients over the
// queries in ascending order, so that nothing depends on the number of threads.
// Source: arXiv:2205.14135, the recomputation of Algorithm 4 without its tiling over keys, since a head's scores fit in
// cache at image lengths.

#include "../threads.h"
#include "product.h"
#include "training_table.h"

namespace sjd2::SJD2_ISA::training {

namespace {

// Carves aligned arrays out of one scratch allocation; a first pass with base == nullptr only measures.
class Carver {
 public:
  explicit Carver(char* base) : base_(base) {}
  template <typename T>
  T* take(int64_t n) {
    T* p = base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + used_);
    used_ += round_up(n * static_cast<int64_t>(sizeof(T)), 64);
    return p;
  }
  int64_t used() const { return used_; }

 private:
  char* base_;
  int64_t used_ = 0;
};

// Rows [r0, r1) of a head, which lie far apart: asked for together, they arrive together.
template <typename T>
void fetch_rows(const T* data, int64_t ld, int64_t r0, int64_t r1, int64_t head_dim) {
  constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(T));
  for (int64_t r = r0; r < r1; ++r) {
    for (int64_t j = 0; j < head_dim; j += kLine) prefetch_to_second_level(data + r * ld + j);
  }
}

template <class P, typename T>
void pack_all(typename P::Elem* out, const Matrix<T>& b) {
  int64_t stride = packed_panel<P>(b.rows);
  for (int64_t c = 0; c < b.cols; c += kBlock) P::pack_panels(out + c / kPanel * stride, stride, b, c);
}

// A block of 32 rows, in place where its layout allows it, otherwise packed into `space`.
template <class P, typename T>
const typename P::Elem* rows_of(const Matrix<T>& a, int64_t r0, typename P::Elem* space, int64_t* ld) {
  const typename P::Elem* p = P::direct(a, r0);
  if (p != nullptr) {
    *ld = a.ld;
    return p;
  }
  P::pack_a(space, a, r0);
  *ld = round_up(a.cols, P::kDepth);
  return space;
}

// Writes 32 x columns of A times panels, scaled per row, to memory rows of which `live` exist.
template <class P, typename T>
void product_rows(T* out, int64_t ld, const typename P::Elem* a, int64_t lda, const typename P::Elem* panels,
                  int64_t stride, int64_t columns, int64_t k1, int64_t live, const float* row_scale) {
  row_block<P>(a, lda, panels, stride, columns, 0, k1, [&](int64_t c, const float* block) {
    int64_t n = columns - c < kBlock ? columns - c : kBlock;
    for (int64_t r = 0; r < live; ++r) {
      Vec s = splat(row_scale == nullptr ? 1.0f : row_scale[r]);
      over_row(n, [&](int64_t i, int64_t lanes) {
        store_at(out + r * ld + c + i, load(block + r * kBlock + i) * s, lanes);
      });
    }
  });
}

template <class P>
struct ForwardSpace {
  typename P::Elem *keys, *values, *query, *probs;
  float* scores;
  void carve(Carver& c, int64_t len, int64_t head_dim) {
    int64_t lp = round_up(len, kBlock);
    keys = c.take<typename P::Elem>(packed_elements<P>(len, head_dim));
    values = c.take<typename P::Elem>(packed_elements<P>(head_dim, len));
    query = c.take<typename P::Elem>(kBlock * round_up(head_dim, P::kDepth));
    probs = c.take<typename P::Elem>(kBlock * lp);
    scores = c.take<float>(kBlock * lp);
  }
};

// One row of softmax without its denominator: exp(scale*score - *top) goes to `probs`, zero beyond `live` of `width`.
// Returns the sum.
template <typename E>
float softmax_row(E* probs, const float* scores, int64_t live, int64_t width, float scale, float* top_out) {
  Vec high = splat(-INFINITY);
  int64_t full = live / kLanes * kLanes, rest = live - full;
  IVec tail = reinterpret_cast<IVec>(lane_index() < static_cast<float>(rest));
  for (int64_t i = 0; i < full; i += kLanes) high = vmax(high, load(scores + i));
  if (rest > 0) high = vmax(high, select(tail, load(scores + full), splat(-INFINITY)));
  float top = max_of(high) * scale;
  Vec total = {};
  for (int64_t i = 0; i < full; i += kLanes) {
    Vec p = exp(fma(load(scores + i), splat(scale), splat(-top)));
    total = total + p;
    store(probs + i, p);
  }
  int64_t i = full;
  if (rest > 0) {
    Vec p = select(tail, exp(fma(load(scores + full), splat(scale), splat(-top))), splat(0.0f));
    total = total + p;
    store(probs + full, p);
    i += kLanes;
  }
  for (; i < width; i += kLanes) store(probs + i, splat(0.0f));
  *top_out = top;
  return sum(total);
}

template <class P, typename T>
int32_t forward(sjd2_stream stream, T* out, float* lse, const T* q, const T* k, const T* v,
                const int32_t* offsets, int64_t sequences, int64_t n_heads, int64_t n_kv_heads,
                int64_t head_dim, int64_t ld, float scale) {
  using Elem = typename P::Elem;
  int64_t group = n_heads / n_kv_heads, out_ld = n_heads * head_dim;
  bool failed = false;
  parallel_for(stream, sequences * n_kv_heads, [&](int64_t item) {
    int64_t s = item / n_kv_heads, kv = item % n_kv_heads;
    int64_t row = offsets[s], len = offsets[s + 1] - row;
    if (len <= 0) return;
    ForwardSpace<P> w;
    Carver measure(nullptr);
    w.carve(measure, len, head_dim);
    auto* base = static_cast<char*>(scratch(kSlotTask, measure.used()));
    if (base == nullptr) {
      __atomic_store_n(&failed, true, __ATOMIC_RELAXED);
      return;
    }
    Carver carver(base);
    w.carve(carver, len, head_dim);
    TileScope tiles;
    fetch_rows(k + row * ld + kv * head_dim, ld, 0, len, head_dim);
    fetch_rows(v + row * ld + kv * head_dim, ld, 0, len, head_dim);
    pack_all<P>(w.keys, Matrix<T>{k + row * ld + kv * head_dim, head_dim, len, ld, true});
    pack_all<P>(w.values, Matrix<T>{v + row * ld + kv * head_dim, len, head_dim, ld, false});
    int64_t lp = round_up(len, kBlock), depth = round_up(head_dim, P::kDepth),
            key_depth = round_up(len, P::kDepth);
    int64_t key_stride = packed_panel<P>(head_dim), value_stride = packed_panel<P>(len);
    for (int64_t h = kv * group; h < (kv + 1) * group; ++h) {
      Matrix<T> queries{q + row * ld + h * head_dim, len, head_dim, ld, false};
      for (int64_t t0 = 0; t0 < len; t0 += kBlock) {
        int64_t width = t0 + kBlock, live = len - t0 < kBlock ? len - t0 : kBlock, a_ld;
        const Elem* a = rows_of<P>(queries, t0, w.query, &a_ld);
        for (int64_t c = 0; c < width; c += kBlock) {
          const Elem* b = w.keys + c / kPanel * key_stride;
          P::block(w.scores + c, lp, a, a_ld, b, b + key_stride, 0, depth);
        }
        alignas(64) float inverse[kBlock], tops[kBlock], sums[kBlock];
        for (int64_t r = 0; r < live; ++r) {
          sums[r] = softmax_row(w.probs + r * lp, w.scores + r * lp, t0 + r + 1, width, scale, tops + r);
        }
        for (int64_t r = live; r < kBlock; ++r) tops[r] = sums[r] = 1.0f;
        for (int64_t r = 0; r < kBlock; r += kLanes) {
          store(tops + r, load(tops + r) + log(load(sums + r)));
          store(inverse + r, 1.0f / load(sums + r));
        }
        for (int64_t r = 0; r < live; ++r) lse[(row + t0 + r) * n_heads + h] = tops[r];
        for (int64_t r = live; r < kBlock; ++r) {
          std::memset(w.probs + r * lp, 0, static_cast<size_t>(width) * sizeof(Elem));
        }
        product_rows<P>(out + (row + t0) * out_ld + h * head_dim, out_ld, w.probs, lp, w.values, value_stride,
                        head_dim, width < key_depth ? width : key_depth, live, inverse);
      }
    }
  });
  return failed ? SJD2_OUT_OF_MEMORY : SJD2_OK;
}

template <class P>
struct BackwardSpace {
  typename P::Elem *keys_along, *keys_across, *values_along, *queries, *grads, *query, *grad, *side, *probs,
      *score_grads;
  float *key_sum, *value_sum;
  void carve(Carver& c, int64_t len, int64_t head_dim, int64_t group) {
    int64_t lp = round_up(len, kBlock), hp = round_up(head_dim, kBlock);
    using Elem = typename P::Elem;
    keys_along = c.take<Elem>(packed_elements<P>(len, head_dim));
    values_along = c.take<Elem>(packed_elements<P>(len, head_dim));
    keys_across = c.take<Elem>(packed_elements<P>(head_dim, len));
    queries = c.take<Elem>(packed_elements<P>(head_dim, len));
    grads = c.take<Elem>(packed_elements<P>(head_dim, len));
    query = c.take<Elem>(kBlock * hp);
    grad = c.take<Elem>(kBlock * hp);
    side = c.take<Elem>(kBlock * lp);
    probs = c.take<Elem>(lp * lp);
    score_grads = c.take<Elem>(lp * lp);
    key_sum = group > 1 ? c.take<float>(lp * hp) : nullptr;
    value_sum = group > 1 ? c.take<float>(lp * hp) : nullptr;
  }
};

// grad[t, :] += or = sum over queries of m[query, t] * panels[query, :], for all keys t, where m is lower triangular.
template <class P, typename T>
void key_side(T* grad, int64_t ld, float* running, bool first, bool last, const typename P::Elem* m,
              int64_t len, const typename P::Elem* panels, int64_t head_dim, typename P::Elem* space) {
  using Elem = typename P::Elem;
  int64_t lp = round_up(len, kBlock), hp = round_up(head_dim, kBlock), stride = packed_panel<P>(len);
  for (int64_t t0 = 0; t0 < len; t0 += kBlock) {
    int64_t depth = round_up(len - t0, P::kDepth), live = len - t0 < kBlock ? len - t0 : kBlock;
    Matrix<Elem> keys{m + t0 * lp + t0, kBlock, depth, lp, true};
    transposed_block<P>(space, keys, panels + t0 * kPanel, stride, head_dim,
                        [&](int64_t c, const float* block) {
                          int64_t n = head_dim - c < kBlock ? head_dim - c : kBlock;
                          for (int64_t r = 0; r < live; ++r) {
                            over_row(n, [&](int64_t i, int64_t lanes) {
                              Vec sum_so_far = load(block + r * kBlock + i);
                              float* keep = running == nullptr ? nullptr : running + (t0 + r) * hp + c + i;
                              if (!first) sum_so_far = sum_so_far + load(keep);
                              if (last) {
                                store_at(grad + (t0 + r) * ld + c + i, sum_so_far, lanes);
                              } else {
                                store(keep, sum_so_far);
                              }
                            });
                          }
                        });
  }
}

template <class P, typename T>
int32_t backward(sjd2_stream stream, T* dq, T* dk, T* dv, const T* d_out, const T* out, const float* lse,
                 const T* q, const T* k, const T* v, const int32_t* offsets, int64_t sequences,
                 int64_t n_heads, int64_t n_kv_heads, int64_t head_dim, int64_t ld, float scale) {
  using Elem = typename P::Elem;
  int64_t group = n_heads / n_kv_heads, out_ld = n_heads * head_dim;
  bool failed = false;
  parallel_for(stream, sequences * n_kv_heads, [&](int64_t item) {
    int64_t s = item / n_kv_heads, kv = item % n_kv_heads;
    int64_t row = offsets[s], len = offsets[s + 1] - row;
    if (len <= 0) return;
    BackwardSpace<P> w;
    Carver measure(nullptr);
    w.carve(measure, len, head_dim, group);
    auto* base = static_cast<char*>(scratch(kSlotTask, measure.used()));
    if (base == nullptr) {
      __atomic_store_n(&failed, true, __ATOMIC_RELAXED);
      return;
    }
    Carver carver(base);
    w.carve(carver, len, head_dim, group);
    TileScope tiles;
    const T* key = k + row * ld + kv * head_dim;
    const T* value = v + row * ld + kv * head_dim;
    fetch_rows(key, ld, 0, len, head_dim);
    fetch_rows(value, ld, 0, len, head_dim);
    pack_all<P>(w.keys_along, Matrix<T>{key, head_dim, len, ld, true});
    pack_all<P>(w.keys_across, Matrix<T>{key, len, head_dim, ld, false});
    pack_all<P>(w.values_along, Matrix<T>{value, head_dim, len, ld, true});
    int64_t lp = round_up(len, kBlock), depth = round_up(head_dim, P::kDepth),
            key_depth = round_up(len, P::kDepth);
    int64_t along = packed_panel<P>(head_dim), across = packed_panel<P>(len);
    for (int64_t g = 0; g < group; ++g) {
      int64_t h = kv * group + g;
      Matrix<T> queries{q + row * ld + h * head_dim, len, head_dim, ld, false};
      Matrix<T> grads{d_out + row * out_ld + h * head_dim, len, head_dim, out_ld, false};
      fetch_rows(queries.data, ld, 0, len, head_dim);
      fetch_rows(grads.data, out_ld, 0, len, head_dim);
      fetch_rows(out + row * out_ld + h * head_dim, out_ld, 0, len, head_dim);
      pack_all<P>(w.queries, queries);
      pack_all<P>(w.grads, grads);
      for (int64_t t0 = 0; t0 < len; t0 += kBlock) {
        int64_t width = t0 + kBlock, live = len - t0 < kBlock ? len - t0 : kBlock, query_ld, grad_ld;
        const Elem* query_rows = rows_of<P>(queries, t0, w.query, &query_ld);
        const Elem* grad_rows = rows_of<P>(grads, t0, w.grad, &grad_ld);
        alignas(64) float deltas[kBlock], shifts[kBlock];
        for (int64_t r = 0; r < live; ++r) {
          int64_t t = row + t0 + r;
          const T* o = out + t * out_ld + h * head_dim;
          const T* go = d_out + t * out_ld + h * head_dim;
          Vec dot = {};
          over_row(head_dim, [&](int64_t j, int64_t lanes) {
            dot = fma(load_at(o + j, lanes), load_at(go + j, lanes), dot);
          });
          deltas[r] = sum(dot);
          shifts[r] = -lse[t * n_heads + h];
        }
        // Block by block, so that scores never leave the first-level cache.
        for (int64_t c = 0; c < width; c += kBlock) {
          alignas(64) float scores[kBlock * kBlock], prob_grads[kBlock * kBlock];
          const Elem* b = w.keys_along + c / kPanel * along;
          P::block(scores, kBlock, query_rows, query_ld, b, b + along, 0, depth);
          b = w.values_along + c / kPanel * along;
          P::block(prob_grads, kBlock, grad_rows, grad_ld, b, b + along, 0, depth);
          for (int64_t r = 0; r < live; ++r) {
            Vec p[2], s[2];
            for (int64_t half = 0; half < 2; ++half) {
              int64_t i = r * kBlock + half * kLanes, unseen = c + half * kLanes - t0 - r;
              p[half] = exp(fma(load(scores + i), splat(scale), splat(shifts[r])));
              if (unseen + kLanes > 1) {
                IVec seen = reinterpret_cast<IVec>(lane_index() < static_cast<float>(1 - unseen));
                p[half] = select(seen, p[half], splat(0.0f));
              }
              s[half] = p[half] * (load(prob_grads + i) - splat(deltas[r])) * scale;
            }
            P::put(w.probs + (t0 + r) * lp + c, p[0], p[1]);
            P::put(w.score_grads + (t0 + r) * lp + c, s[0], s[1]);
          }
        }
        // Beyond a row's own block nothing is read for the queries' gradient; rows past the end must be zero.
        for (int64_t r = live; r < kBlock; ++r) {
          std::memset(w.probs + (t0 + r) * lp, 0, static_cast<size_t>(width) * sizeof(Elem));
          std::memset(w.score_grads + (t0 + r) * lp, 0, static_cast<size_t>(width) * sizeof(Elem));
        }
        product_rows<P>(dq + (row + t0) * ld + h * head_dim, ld, w.score_grads + t0 * lp, lp, w.keys_across,
                        across, head_dim, width < key_depth ? width : key_depth, live, nullptr);
      }
      bool first = g == 0, last = g == group - 1;
      key_side<P>(dk + row * ld + kv * head_dim, ld, w.key_sum, first, last, w.score_grads, len, w.queries,
                  head_dim, w.side);
      key_side<P>(dv + row * ld + kv * head_dim, ld, w.value_sum, first, last, w.probs, len, w.grads,
                  head_dim, w.side);
    }
  });
  return failed ? SJD2_OUT_OF_MEMORY : SJD2_OK;
}

}  // namespace

int32_t attention_forward_f32(sjd2_stream stream, float* out, float* lse, const float* q, const float* k,
                              const float* v, const int32_t* offsets, int64_t sequences, int64_t n_heads,
                              int64_t n_kv_heads, int64_t head_dim, int64_t ld, float scale) {
  return forward<F32Product>(stream, out, lse, q, k, v, offsets, sequences, n_heads, n_kv_heads, head_dim, ld,
                             scale);
}

int32_t attention_forward_bf16(sjd2_stream stream, uint16_t* out, float* lse, const uint16_t* q,
                               const uint16_t* k, const uint16_t* v, const int32_t* offsets,
                               int64_t sequences, int64_t n_heads, int64_t n_kv_heads, int64_t head_dim,
                               int64_t ld, float scale) {
  return forward<Bf16Product>(stream, out, lse, q, k, v, offsets, sequences, n_heads, n_kv_heads, head_dim,
                              ld, scale);
}

int32_t attention_backward_f32(sjd2_stream stream, float* dq, float* dk, float* dv, const float* d_out,
                               const float* out, const float* lse, const float* q, const float* k,
                               const float* v, const int32_t* offsets, int64_t sequences, int64_t n_heads,
                               int64_t n_kv_heads, int64_t head_dim, int64_t ld, float scale) {
  return backward<F32Product>(stream, dq, dk, dv, d_out, out, lse, q, k, v, offsets, sequences, n_heads,
                              n_kv_heads, head_dim, ld, scale);
}

int32_t attention_backward_bf16(sjd2_stream stream, uint16_t* dq, uint16_t* dk, uint16_t* dv,
                                const uint16_t* d_out, const uint16_t* out, const float* lse,
                                const uint16_t* q, const uint16_t* k, const uint16_t* v,
                                const int32_t* offsets, int64_t sequences, int64_t n_heads,
                                int64_t n_kv_heads, int64_t head_dim, int64_t ld, float scale) {
  return backward<Bf16Product>(stream, dq, dk, dv, d_out, out, lse, q, k, v, offsets, sequences, n_heads,
                               n_kv_heads, head_dim, ld, scale);
}

}  // namespace sjd2::SJD2_ISA::training
