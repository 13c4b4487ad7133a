// Matrix products of the trainer: packing of weights, and C = [addend +] op(A) op(B).
//
// Work is split over blocks of 32 rows of C; every element sums over all of K on one thread in ascending order.

#include "../threads.h"
#include "product.h"
#include "training_table.h"

namespace sjd2::SJD2_ISA::training {

namespace {

struct Buffer {
  void* data = nullptr;
  int64_t bytes = 0;
  ~Buffer() { std::free(data); }
};

thread_local Buffer buffers[kSlots];

// A finished block of 32 x 32 sums on its way to C, a few rows at a time.
template <typename T>
class Pending {
 public:
  void start(T* c, int64_t ldc, const T* addend, int64_t ldd, const float* out, int64_t rows, int64_t cols) {
    c_ = c;
    ldc_ = ldc;
    addend_ = addend;
    ldd_ = ldd;
    out_ = out;
    rows_ = rows;
    cols_ = cols;
    next_ = 0;
  }

  void some(int64_t rows) {
    int64_t last = next_ + rows < rows_ ? next_ + rows : rows_;
    for (; next_ < last; ++next_)
      store_row(c_ + next_ * ldc_, addend_ == nullptr ? nullptr : addend_ + next_ * ldd_,
                out_ + next_ * kBlock);
  }

  void finish() { some(kBlock); }

 private:
  void store_row(T* c, const T* addend, const float* out) {
    if (cols_ == kBlock) {
      Vec low = load(out), high = load(out + kLanes);
      if (addend != nullptr) {
        low = low + load(addend);
        high = high + load(addend + kLanes);
      }
      store_pair(c, low, high);
    } else {
      over_row(cols_, [&](int64_t i, int64_t lanes) {
        Vec v = load(out + i);
        if (addend != nullptr) v = v + load_at(addend + i, lanes);
        store_at(c + i, v, lanes);
      });
    }
  }

  T* c_ = nullptr;
  const T* addend_ = nullptr;
  const float* out_ = nullptr;
  int64_t ldc_ = 0, ldd_ = 0, rows_ = 0, cols_ = 0, next_ = 0;
};

template <class P, typename TA, typename TC>
int32_t multiply(sjd2_stream stream, Matrix<TA> a, const typename P::Elem* panels, int64_t n, TC* c,
                 int64_t ldc, const TC* addend, int64_t ldd) {
  using Elem = typename P::Elem;
  int64_t kp = round_up(a.cols, P::kDepth), stride = packed_panel<P>(a.cols);
  int64_t blocks = round_up(a.rows, kBlock) / kBlock;
  bool failed = false;
  // One block of rows per item: it stays in the first-level cache, the panels stream by, and C is written row by row.
  // Taking more blocks along, to reuse each panel, was slower.
  parallel_for(stream, blocks, [&](int64_t item) {
    int64_t r = item * kBlock, live_rows = a.rows - r < kBlock ? a.rows - r : kBlock, ld = a.ld;
    const Elem* block = P::direct(a, r);
    if (block == nullptr) {
      auto* space = static_cast<Elem*>(scratch(kSlotA, kBlock * kp * static_cast<int64_t>(sizeof(Elem))));
      if (space == nullptr) {
        __atomic_store_n(&failed, true, __ATOMIC_RELAXED);
        return;
      }
      P::pack_a(space, a, r);
      block = space;
      ld = kp;
    }
    TileScope tiles;
    alignas(64) float out[2][kBlock * kBlock];
    int turn = 0;
    Pending<TC> pending;
    for (int64_t col = 0; col < n; col += kBlock) {
      const Elem* b0 = panels + col / kPanel * stride;
      int64_t live_cols = n - col < kBlock ? n - col : kBlock;
      TC* target = c + r * ldc + col;
      const TC* extra = addend == nullptr ? nullptr : addend + r * ldd + col;
#if defined(__AMX_BF16__)
      if constexpr (std::is_same_v<P, Bf16Product>) {
        if constexpr (std::is_same_v<TC, float>) {
          if (live_rows == kBlock && live_cols == kBlock) {
            P::tiles(target, ldc, extra, ldd, block, ld, b0, b0 + stride, 0, kp, [] {});
            continue;
          }
        }
        P::tiles(out[turn], kBlock, nullptr, 0, block, ld, b0, b0 + stride, 0, kp, [&] { pending.some(4); });
      } else {
        P::block(out[turn], kBlock, block, ld, b0, b0 + stride, 0, kp);
      }
#else
      P::block(out[turn], kBlock, block, ld, b0, b0 + stride, 0, kp);
#endif
      pending.finish();
      pending.start(target, ldc, extra, ldd, out[turn], live_rows, live_cols);
      turn ^= 1;
    }
    pending.finish();
  });
  return failed ? SJD2_OUT_OF_MEMORY : SJD2_OK;
}

template <class P, typename TB>
void pack_panels(sjd2_stream stream, typename P::Elem* out, Matrix<TB> b) {
  int64_t panels = round_up(b.cols, kBlock) / kPanel;
  int64_t stride = packed_panel<P>(b.rows);
  int64_t group = 4;
  parallel_for(stream, (panels + group - 1) / group, [&](int64_t item) {
    for (int64_t p = item * group; p < panels && p < (item + 1) * group; ++p) {
      if (p * kPanel >= b.cols) {
        std::memset(out + p * stride, 0, static_cast<size_t>(stride) * sizeof(*out));
      } else {
        P::pack_b(out + p * stride, b, p * kPanel);
      }
    }
  });
}

// Picks the element types and calls f(Matrix<TA>, TC*).
template <typename F>
int32_t with_types(const void* a, int32_t a_dtype, void* c, int32_t c_dtype, F&& f) {
  if (a_dtype == SJD2_F32 && c_dtype == SJD2_F32)
    return f(static_cast<const float*>(a), static_cast<float*>(c));
  if (a_dtype == SJD2_F32 && c_dtype == SJD2_BF16)
    return f(static_cast<const float*>(a), static_cast<uint16_t*>(c));
  if (a_dtype == SJD2_BF16 && c_dtype == SJD2_F32)
    return f(static_cast<const uint16_t*>(a), static_cast<float*>(c));
  if (a_dtype == SJD2_BF16 && c_dtype == SJD2_BF16)
    return f(static_cast<const uint16_t*>(a), static_cast<uint16_t*>(c));
  return SJD2_UNSUPPORTED;
}

template <class P>
int32_t gemm_packed_as(sjd2_stream stream, void* c, const void* addend, const void* a, const void* packed,
                       int64_t m, int64_t n, int64_t k, int64_t ldc, int64_t ldd, int64_t lda,
                       int32_t c_dtype, int32_t a_dtype) {
  return with_types(a, a_dtype, c, c_dtype, [&](auto* a_typed, auto* c_typed) {
    using TC = std::remove_pointer_t<decltype(c_typed)>;
    Matrix<std::remove_const_t<std::remove_pointer_t<decltype(a_typed)>>> matrix{a_typed, m, k, lda, false};
    return multiply<P>(stream, matrix, static_cast<const typename P::Elem*>(packed), n, c_typed, ldc,
                       static_cast<const TC*>(addend), ldd);
  });
}

template <class P>
int32_t gemm_as(sjd2_stream stream, void* c, const void* addend, const void* a, const void* b, int64_t m,
                int64_t n, int64_t k, int64_t ldc, int64_t ldd, int64_t lda, int64_t ldb, int32_t c_dtype,
                int32_t a_dtype, int32_t b_dtype, int32_t a_transposed, int32_t b_transposed) {
  using Elem = typename P::Elem;
  auto* panels =
      static_cast<Elem*>(scratch(kSlotB, packed_elements<P>(n, k) * static_cast<int64_t>(sizeof(Elem))));
  if (panels == nullptr) return SJD2_OUT_OF_MEMORY;
  if (b_dtype == SJD2_F32) {
    pack_panels<P>(stream, panels, Matrix<float>{static_cast<const float*>(b), k, n, ldb, b_transposed != 0});
  } else if (b_dtype == SJD2_BF16) {
    pack_panels<P>(stream, panels,
                   Matrix<uint16_t>{static_cast<const uint16_t*>(b), k, n, ldb, b_transposed != 0});
  } else {
    return SJD2_UNSUPPORTED;
  }
  return with_types(a, a_dtype, c, c_dtype, [&](auto* a_typed, auto* c_typed) {
    using TC = std::remove_pointer_t<decltype(c_typed)>;
    Matrix<std::remove_const_t<std::remove_pointer_t<decltype(a_typed)>>> matrix{a_typed, m, k, lda,
                                                                                 a_transposed != 0};
    return multiply<P>(stream, matrix, panels, n, c_typed, ldc, static_cast<const TC*>(addend), ldd);
  });
}

}  // namespace

void* scratch(Slot slot, int64_t bytes) {
  Buffer& b = buffers[slot];
  if (b.bytes < bytes) {
    std::free(b.data);
    b.bytes = round_up(bytes, 4096);
    b.data = std::aligned_alloc(64, static_cast<size_t>(b.bytes));
    if (b.data == nullptr) b.bytes = 0;
  }
  return b.data;
}

int32_t packed_bytes(sjd2_stream, int64_t* out, int64_t n, int64_t k, int32_t product) {
  *out = product == SJD2_BF16
             ? packed_elements<Bf16Product>(n, k) * static_cast<int64_t>(sizeof(Bf16Product::Elem))
             : packed_elements<F32Product>(n, k) * static_cast<int64_t>(sizeof(float));
  return SJD2_OK;
}

int32_t pack(sjd2_stream stream, void* packed, const float* b, int64_t n, int64_t k, int64_t ldb,
             int32_t transposed, int32_t product) {
  Matrix<float> matrix{b, k, n, ldb, transposed != 0};
  if (product == SJD2_BF16) {
    pack_panels<Bf16Product>(stream, static_cast<Bf16Product::Elem*>(packed), matrix);
  } else {
    pack_panels<F32Product>(stream, static_cast<float*>(packed), matrix);
  }
  return SJD2_OK;
}

int32_t gemm_packed(sjd2_stream stream, void* c, const void* addend, const void* a, const void* packed,
                    int64_t m, int64_t n, int64_t k, int64_t ldc, int64_t ldd, int64_t lda, int32_t c_dtype,
                    int32_t a_dtype, int32_t product) {
  if (product == SJD2_BF16) {
    return gemm_packed_as<Bf16Product>(stream, c, addend, a, packed, m, n, k, ldc, ldd, lda, c_dtype,
                                       a_dtype);
  }
  return gemm_packed_as<F32Product>(stream, c, addend, a, packed, m, n, k, ldc, ldd, lda, c_dtype, a_dtype);
}

int32_t gemm(sjd2_stream stream, void* c, const void* addend, const void* a, const void* b, int64_t m,
             int64_t n, int64_t k, int64_t ldc, int64_t ldd, int64_t lda, int64_t ldb, int32_t c_dtype,
             int32_t a_dtype, int32_t b_dtype, int32_t a_transposed, int32_t b_transposed, int32_t product) {
  if (product == SJD2_BF16) {
    return gemm_as<Bf16Product>(stream, c, addend, a, b, m, n, k, ldc, ldd, lda, ldb, c_dtype, a_dtype,
                                b_dtype, a_transposed, b_transposed);
  }
  return gemm_as<F32Product>(stream, c, addend, a, b, m, n, k, ldc, ldd, lda, ldb, c_dtype, a_dtype, b_dtype,
                             a_transposed, b_transposed);
}

}  // namespace sjd2::SJD2_ISA::training
