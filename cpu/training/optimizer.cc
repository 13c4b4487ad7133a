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

// out[r,c] = beta * addend[r,c] + alpha * (A B), on the running thread alone.
template <class P>
void small_product(float* out, const Matrix<float>& a, const Matrix<float>& b, float alpha,
                   const float* addend, float beta, typename P::Elem* panels, typename P::Elem* rows) {
  int64_t stride = packed_panel<P>(b.rows), count = round_up(b.cols, kBlock) / kPanel;
  int64_t depth = round_up(a.cols, P::kDepth);
  for (int64_t p = 0; p < count; ++p) {
    if (p * kPanel >= b.cols) {
      std::memset(panels + p * stride, 0, static_cast<size_t>(stride) * sizeof(*panels));
    } else {
      P::pack_b(panels + p * stride, b, p * kPanel);
    }
  }
  for (int64_t r0 = 0; r0 < a.rows; r0 += kBlock) {
    P::pack_a(rows, a, r0);
    int64_t live = a.rows - r0 < kBlock ? a.rows - r0 : kBlock;
    row_block<P>(rows, depth, panels, stride, b.cols, 0, depth, [&](int64_t c, const float* block) {
      int64_t n = b.cols - c < kBlock ? b.cols - c : kBlock;
      for (int64_t r = 0; r < live; ++r) {
        int64_t at = (r0 + r) * b.cols + c;
        over_row(n, [&](int64_t i, int64_t lanes) {
          Vec v = load(block + r * kBlock + i) * alpha;
          if (addend != nullptr) v = fma(load_at(addend + at + i, lanes), splat(beta), v);
          store_at(out + at + i, v, lanes);
        });
      }
    });
  }
}

// Orthogonalises u in place. The shorter side leads, so that the Gram matrix is the small one.
template <class P>
bool newton_schulz(float* u, int64_t rows, int64_t cols, int32_t steps) {
  using Elem = typename P::Elem;
  bool tall = rows > cols;
  int64_t r = tall ? cols : rows, c = tall ? rows : cols;
  int64_t n = r * c;
  int64_t panel_elements = packed_elements<P>(c, r) > packed_elements<P>(r, c) ? packed_elements<P>(c, r)
                                                                               : packed_elements<P>(r, c);
  int64_t row_elements = kBlock * round_up(c, P::kDepth);
  int64_t floats = round_up(2 * n + 2 * r * r, kLanes);
  auto* base = static_cast<float*>(scratch(
      kSlotTask, floats * 4 + (panel_elements + row_elements) * static_cast<int64_t>(sizeof(Elem)) + 256));
  if (base == nullptr) return false;
  float *x = base, *next = x + n, *gram = next + n, *poly = gram + r * r;
  auto* panels = reinterpret_cast<Elem*>(base + floats);
  Elem* block = panels + round_up(panel_elements, kBlock);
  Vec squares = {};
  over_row(n, [&](int64_t i, int64_t lanes) {
    Vec v = load_at(u + i, lanes);
    squares = fma(v, v, squares);
  });
  float inverse = 1.0f / (std::sqrt(sum(squares)) + 1e-7f);
  for (int64_t i = 0; i < r; ++i) {
    for (int64_t j = 0; j < c; ++j) x[i * c + j] = inverse * (tall ? u[j * cols + i] : u[i * cols + j]);
  }
  TileScope tiles;
  for (int32_t step = 0; step < steps; ++step) {
    Matrix<float> m{x, r, c, c, false}, g{gram, r, r, r, false}, p{poly, r, r, r, false};
    small_product<P>(gram, m, flip(m), 1.0f, nullptr, 0.0f, panels, block);
    small_product<P>(poly, g, g, 2.0315f, gram, -4.7750f, panels, block);
    small_product<P>(next, p, m, 1.0f, x, 3.4445f, panels, block);
    float* t = x;
    x = next;
    next = t;
  }
  for (int64_t i = 0; i < r; ++i) {
    for (int64_t j = 0; j < c; ++j) (tall ? u[j * cols + i] : u[i * cols + j]) = x[i * c + j];
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
