// Parameter updates and other passes over flat arrays.

#include "../threads.h"
#include "product.h"
#include "training_table.h"

namespace sjd2::SJD2_ISA::training {

namespace {

constexpr int64_t kChunk = 16384;

// f(offset, lanes) over vectors of a flat array, chunk by chunk.
template <typename F>
void over_flat(sjd2_stream stream, int64_t n, F&& f) {
  parallel_for(stream, (n + kChunk - 1) / kChunk, [&](int64_t item) {
    int64_t first = item * kChunk, count = n - first < kChunk ? n - first : kChunk;
    over_row(count, [&](int64_t i, int64_t lanes) { f(first + i, lanes); });
  });
}

// out[c, r] = in[r, c] * scale for a [rows, cols] matrix.
void transpose(float* out, int64_t ldo, const float* in, int64_t ldi, int64_t rows, int64_t cols,
               float scale) {
  constexpr int64_t kTile = 16;
  for (int64_t r = 0; r < rows; r += kTile) {
    int64_t nr = rows - r < kTile ? rows - r : kTile;
    for (int64_t c = 0; c < cols; c += kTile) {
      int64_t nc = cols - c < kTile ? cols - c : kTile;
#if defined(__AVX512F__)
      if (nr == kTile && nc == kTile) {
        __m512i t[kTile];
        for (int64_t i = 0; i < kTile; ++i)
          t[i] = reinterpret_cast<__m512i>(load(in + (r + i) * ldi + c) * scale);
        transpose16(t);
        for (int64_t i = 0; i < kTile; ++i) store(out + (c + i) * ldo + r, reinterpret_cast<Vec>(t[i]));
        continue;
      }
#endif
      for (int64_t i = 0; i < nr; ++i) {
        for (int64_t j = 0; j < nc; ++j) out[(c + j) * ldo + r + i] = in[(r + i) * ldi + c + j] * scale;
      }
    }
  }
}

// Newton-Schulz iteration on X [r, c], r <= c, kept in f32 and as operands of products. All extents are whole blocks,
// zero beyond the matrix: no product has an edge. Gram matrix and polynomial are symmetric, bit for bit, for either
// half sums the same products in the same order; blocks below the diagonal are copied.
template <class P>
class NewtonSchulz {
  using Elem = typename P::Elem;

 public:
  NewtonSchulz(int64_t r, int64_t c) : r_(round_up(r, kBlock)), c_(round_up(c, kBlock)) {
    int64_t larger = packed_elements<P>(r_, c_) > packed_elements<P>(c_, r_) ? packed_elements<P>(r_, c_)
                                                                             : packed_elements<P>(c_, r_);
    int64_t floats = r_ * c_ + r_ * r_, elems = r_ * c_ + 2 * r_ * r_ + larger;
    base_ = static_cast<char*>(scratch(kSlotTask, floats * 4 + elems * static_cast<int64_t>(sizeof(Elem))));
    x = reinterpret_cast<float*>(base_);
    gram_ = x + r_ * c_;
    operand_ = reinterpret_cast<Elem*>(gram_ + r_ * r_);
    gram_operand_ = operand_ + r_ * c_;
    poly_ = gram_operand_ + r_ * r_;
    panels_ = poly_ + r_ * r_;
  }
  bool has_memory() const { return base_ != nullptr; }
  int64_t ld() const { return c_; }

  void run(int32_t steps) {
    TileScope tiles;
    for (int64_t i = 0; i < r_ * c_; i += kBlock) P::put(operand_ + i, load(x + i), load(x + i + kLanes));
    for (int32_t step = 0; step < steps; ++step) {
      pack(Matrix<Elem>{operand_, c_, r_, c_, true});
      product(operand_, c_, r_, true, [&](int64_t i, int64_t j, const float* sums) {
        put(gram_, gram_operand_, r_, i, j,
            [&](int64_t r, int64_t k) { return load(sums + r * kBlock + k); });
      });
      pack(Matrix<Elem>{gram_operand_, r_, r_, r_, false});
      product(gram_operand_, r_, r_, true, [&](int64_t i, int64_t j, const float* sums) {
        put(nullptr, poly_, r_, i, j, [&](int64_t r, int64_t k) {
          Vec squared = load(sums + r * kBlock + k) * 2.0315f;
          return fma(load(gram_ + (i + r) * r_ + j + k), splat(-4.7750f), squared);
        });
      });
      pack(Matrix<Elem>{operand_, r_, c_, c_, false});
      product(poly_, r_, c_, false, [&](int64_t i, int64_t j, const float* sums) {
        put(x, operand_, c_, i, j, [&](int64_t r, int64_t k) {
          return fma(load(x + (i + r) * c_ + j + k), splat(3.4445f), load(sums + r * kBlock + k));
        });
      });
    }
  }

  float* x;  // [r, c] in rows of ld()

 private:
  void pack(const Matrix<Elem>& b) {
    int64_t stride = packed_panel<P>(b.rows);
    for (int64_t c = 0; c < b.cols; c += kBlock) P::pack_panels(panels_ + c / kPanel * stride, stride, b, c);
  }

  // f(row, column, block[32][32]) for every block of A [r, depth] times the panels; of a symmetric product, for the
  // blocks on and above the diagonal, then for their mirror images below it.
  template <typename F>
  void product(const Elem* a, int64_t depth, int64_t columns, bool symmetric, F&& f) {
    alignas(64) float sums[kBlock * kBlock], mirrored[kBlock * kBlock];
    int64_t stride = packed_panel<P>(depth);
    for (int64_t i = 0; i < r_; i += kBlock) {
      for (int64_t j = symmetric ? i : 0; j < columns; j += kBlock) {
        const Elem* b = panels_ + j / kPanel * stride;
        P::block(sums, kBlock, a + i * depth, depth, b, b + stride, 0, depth);
        f(i, j, sums);
        if (symmetric && j > i) {
          transpose(mirrored, kBlock, sums, kBlock, kBlock, kBlock, 1.0f);
          f(j, i, mirrored);
        }
      }
    }
  }

  // One block of results, value(row, column) by 16 columns, to f32 memory and as operands.
  template <typename F>
  void put(float* wide, Elem* operands, int64_t ld, int64_t i, int64_t j, F&& value) {
    for (int64_t r = 0; r < kBlock; ++r) {
      Vec low = value(r, 0), high = value(r, kLanes);
      int64_t at = (i + r) * ld + j;
      if (wide != nullptr) store_pair(wide + at, low, high);
      P::put(operands + at, low, high);
    }
  }

  int64_t r_, c_;
  char* base_;
  float* gram_;
  Elem *operand_, *gram_operand_, *poly_, *panels_;
};

// Orthogonalises u in place. The shorter side leads, so that the Gram matrix is the small one.
template <class P>
bool newton_schulz(float* u, int64_t rows, int64_t cols, int32_t steps) {
  bool tall = rows > cols;
  int64_t r = tall ? cols : rows, c = tall ? rows : cols;
  NewtonSchulz<P> iteration(r, c);
  if (!iteration.has_memory()) return false;
  Vec squares = {};
  over_row(r * c, [&](int64_t i, int64_t lanes) {
    Vec v = load_at(u + i, lanes);
    squares = fma(v, v, squares);
  });
  float inverse = 1.0f / (std::sqrt(sum(squares)) + 1e-7f);
  float* x = iteration.x;
  int64_t ld = iteration.ld();
  if (r % kBlock != 0 || c % kBlock != 0)
    std::memset(x, 0, static_cast<size_t>(round_up(r, kBlock) * ld) * sizeof(float));
  if (tall) {
    transpose(x, ld, u, cols, rows, cols, inverse);
  } else {
    for (int64_t i = 0; i < r; ++i) {
      over_row(c, [&](int64_t j, int64_t lanes) {
        store_at(x + i * ld + j, load_at(u + i * c + j, lanes) * inverse, lanes);
      });
    }
  }
  iteration.run(steps);
  if (tall) {
    transpose(u, cols, x, ld, r, c, 1.0f);
  } else {
    for (int64_t i = 0; i < r; ++i)
      std::memcpy(u + i * c, x + i * ld, static_cast<size_t>(c) * sizeof(float));
  }
  return true;
}

}  // namespace

int32_t adamw(sjd2_stream stream, float* param, float* first, float* second, const float* grad, int64_t n,
              float lr, float beta1, float beta2, float eps, float decay, float correction1,
              float correction2, float grad_scale) {
  over_flat(stream, n, [&](int64_t i, int64_t l) {
    Vec g = load_at(grad + i, l) * grad_scale;
    Vec m = load_at(first + i, l) * beta1 + g * (1.0f - beta1);
    Vec v = load_at(second + i, l) * beta2 + g * g * (1.0f - beta2);
    store_at(first + i, m, l);
    store_at(second + i, v, l);
    Vec p = load_at(param + i, l);
    p = p - p * (lr * decay);
    Vec root = square_root(v * (1.0f / correction2));
    store_at(param + i, p - (m * (lr / correction1)) / (root + eps), l);
  });
  return SJD2_OK;
}

int32_t muon(sjd2_stream stream, float* param, float* momentum, const float* grad, const int64_t* offsets,
             const int64_t* rows, const int64_t* cols, int64_t count, float lr, float beta, float decay,
             float rms, float grad_scale, int32_t steps, int32_t product) {
  bool failed = false;
  parallel_for(stream, count, [&](int64_t item) {
    int64_t r = rows[item], c = cols[item], n = r * c;
    float* p = param + offsets[item];
    float* m = momentum + offsets[item];
    const float* g = grad + offsets[item];
    auto* u = static_cast<float*>(scratch(kSlotA, n * 4));
    bool done = u != nullptr;
    if (done) {
      over_row(n, [&](int64_t i, int64_t l) {
        Vec gv = load_at(g + i, l) * grad_scale;
        Vec mv = load_at(m + i, l) * beta + gv;
        store_at(m + i, mv, l);
        store_at(u + i, gv + mv * beta, l);
      });
      done = product == SJD2_BF16 ? newton_schulz<Bf16Product>(u, r, c, steps)
                                  : newton_schulz<F32Product>(u, r, c, steps);
    }
    if (!done) {
      __atomic_store_n(&failed, true, __ATOMIC_RELAXED);
      return;
    }
    float step = lr * rms * std::sqrt(static_cast<float>(r > c ? r : c)), keep = 1.0f - lr * decay;
    over_row(n, [&](int64_t i, int64_t l) {
      store_at(p + i, load_at(p + i, l) * keep - load_at(u + i, l) * step, l);
    });
  });
  return failed ? SJD2_OUT_OF_MEMORY : SJD2_OK;
}

int32_t ema(sjd2_stream stream, float* average, const float* param, int64_t n, float decay) {
  float w = 1.0f - decay;
  over_flat(stream, n, [&](int64_t i, int64_t l) {
    Vec a = load_at(average + i, l);
    store_at(average + i, fma(load_at(param + i, l) - a, splat(w), a), l);
  });
  return SJD2_OK;
}

int32_t sum_squares(sjd2_stream stream, double* out, const float* x, int64_t n) {
  int64_t chunks = (n + kChunk - 1) / kChunk;
  auto* partials = static_cast<double*>(scratch(kSlotB, chunks * 8));
  if (partials == nullptr) return SJD2_OUT_OF_MEMORY;
  parallel_for(stream, chunks, [&](int64_t item) {
    int64_t first = item * kChunk, count = n - first < kChunk ? n - first : kChunk;
    double total = 0;
    over_row(count, [&](int64_t i, int64_t l) {
      Vec v = load_at(x + first + i, l);
      total += sum(v * v);
    });
    partials[item] = total;
  });
  *out = 0;
  for (int64_t i = 0; i < chunks; ++i) *out += partials[i];
  return SJD2_OK;
}

int32_t fill(sjd2_stream stream, float* x, int64_t n, float value) {
  over_flat(stream, n, [&](int64_t i, int64_t l) { store_at(x + i, splat(value), l); });
  return SJD2_OK;
}

int32_t to_bf16(sjd2_stream stream, uint16_t* y, const float* x, int64_t n) {
  over_flat(stream, n, [&](int64_t i, int64_t l) { store_at(y + i, load_at(x + i, l), l); });
  return SJD2_OK;
}

int32_t silu_forward(sjd2_stream stream, float* y, const float* x, int64_t n) {
  over_flat(stream, n, [&](int64_t i, int64_t l) {
    Vec v = load_at(x + i, l);
    store_at(y + i, v * sigmoid(v), l);
  });
  return SJD2_OK;
}

int32_t silu_backward(sjd2_stream stream, float* dx, const float* dy, const float* x, int64_t n) {
  over_flat(stream, n, [&](int64_t i, int64_t l) {
    Vec v = load_at(x + i, l), s = sigmoid(v);
    store_at(dx + i, load_at(dy + i, l) * fma(v * s, 1.0f - s, s), l);
  });
  return SJD2_OK;
}

// Defined last of all: the table of everything that this instruction set offers.
const TrainingTable training_table = {
#define SJD2_ENTRY(name) &name,
    SJD2_TRAINING_OPERATIONS(SJD2_ENTRY)
#undef SJD2_ENTRY
};

}  // namespace sjd2::SJD2_ISA::training
