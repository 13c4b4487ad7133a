// Matrix products of the trainer: packing of weights, and C = [addend +] op(A) op(B).
//
// Work is split over parts of C; every element sums over all of K on one thread in ascending order.

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

// One product: C = [addend +] A panels.
template <class P, typename TA, typename TC>
struct Product {
  using Elem = typename P::Elem;
  Matrix<TA> a;
  const Elem* panels;
  int64_t n;
  TC* c;
  int64_t ldc;
  const TC* addend;
  int64_t ldd;
  int64_t depth = round_up(a.cols, P::kDepth), stride = packed_panel<P>(a.cols);

  int64_t live_rows(int64_t r) const { return a.rows - r < kBlock ? a.rows - r : kBlock; }
  int64_t live_columns(int64_t col) const { return n - col < kBlock ? n - col : kBlock; }
  const TC* addend_at(int64_t r, int64_t col) const {
    return addend == nullptr ? nullptr : addend + r * ldd + col;
  }

  // Rows [r, r + 32) of A as a block.
  const Elem* block(int64_t r, int64_t* ld) const {
    *ld = a.ld;
    const Elem* block = P::direct(a, r);
    if (block != nullptr) return block;
    *ld = depth;
    auto* space = static_cast<Elem*>(scratch(kSlotA, kBlock * depth * static_cast<int64_t>(sizeof(Elem))));
    if (space != nullptr) P::pack_a(space, a, r);
    return space;
  }

#if defined(__AMX_BF16__)
  bool on_tiles(int64_t r, int64_t first, int64_t last) const {
    int64_t ld, live = live_rows(r);
    const Elem* rows = block(r, &ld);
    if (rows == nullptr) return false;
    TileScope tiles;
    alignas(64) float out[2][kBlock * kBlock];
    int turn = 0;
    Pending<TC> pending;
    for (int64_t col = first; col < last; col += kBlock) {
      const Elem* b0 = panels + col / kPanel * stride;
      TC* target = c + r * ldc + col;
      const TC* extra = addend_at(r, col);
      if constexpr (std::is_same_v<TC, float>) {
        if (live == kBlock && live_columns(col) == kBlock) {
          P::tiles(target, ldc, extra, ldd, rows, ld, b0, b0 + stride, 0, depth, [] {});
          continue;
        }
      }
      P::tiles(out[turn], kBlock, nullptr, 0, rows, ld, b0, b0 + stride, 0, depth, [&] { pending.some(4); });
      pending.finish();
      pending.start(target, ldc, extra, ldd, out[turn], live, live_columns(col));
      turn ^= 1;
    }
    pending.finish();
    return true;
  }
#endif

  // C's lines are fetched while the sums for them are taken: a row of a block is a line or two, far from the next.
  void expect(int64_t r, int64_t col, int64_t live) const {
    for (int64_t i = 0; i < live; ++i) {
      const TC* target = c + (r + i) * ldc + col;
      prefetch_to_write(target);
      if (sizeof(TC) == 4) prefetch_to_write(target + kLanes);
      if (addend != nullptr && addend != c) {
        __builtin_prefetch(addend + (r + i) * ldd + col);
        if (sizeof(TC) == 4) __builtin_prefetch(addend + (r + i) * ldd + col + kLanes);
      }
    }
  }

  // C = [extra +] rows x two panels in columns [col, col + 32), from registers to C.
  template <class A>
  void store_block(const A& rows, int64_t r, int64_t col, const Elem* b0, const Elem* b1, int64_t k,
                   const TC* extra, int64_t ld_extra) const {
    alignas(64) float space[kBlock * kBlock];
    int64_t live = live_rows(r);
    TC* target = c + r * ldc + col;
    if (live_columns(col) == kBlock) {
      block_by_panels<P>(rows, live, b0, b1, k, space, [&](int64_t i, Vec low, Vec high) {
        if (i >= live) return;
        if (extra != nullptr) {
          low = low + load(extra + i * ld_extra);
          high = high + load(extra + i * ld_extra + kLanes);
        }
        store_pair(target + i * ldc, low, high);
      });
    } else {
      block_by_panels<P>(rows, live, b0, b1, k, space, [&](int64_t i, Vec low, Vec high) {
        store(space + i * kBlock, low);
        store(space + i * kBlock + kLanes, high);
      });
      Pending<TC> pending;
      pending.start(target, ldc, extra, ld_extra, space, live, live_columns(col));
      pending.finish();
    }
  }

  bool on_vectors(int64_t r, int64_t first, int64_t last) const {
    int64_t ld;
    const Elem* rows = block(r, &ld);
    if (rows == nullptr) return false;
    for (int64_t col = first; col < last; col += kBlock) {
      const Elem* b0 = panels + col / kPanel * stride;
      expect(r, col, live_rows(r));
      store_block(BlockOfA<P>{rows, ld}, r, col, b0, b0 + stride, depth, addend_at(r, col), ldd);
    }
    return true;
  }
};

template <class P, typename TA, typename TC>
int32_t multiply(sjd2_stream stream, Matrix<TA> a, const typename P::Elem* panels, int64_t n, TC* c,
                 int64_t ldc, const TC* addend, int64_t ldd) {
  const Product<P, TA, TC> product{a, panels, n, c, ldc, addend, ldd};
  int64_t blocks = round_up(a.rows, kBlock) / kBlock;
  bool failed = false;
  // One block of rows per item: it stays in the first-level cache, the panels stream by, and C is written row by row.
  // Taking more blocks along, to reuse each panel, was slower. A block that need not be packed is two items, so that
  // threads finish together.
  int64_t parts = !P::kOnTiles && n >= 8 * kBlock && P::direct(a, 0) != nullptr ? 2 : 1;
  parallel_for(stream, blocks * parts, [&](int64_t item) {
    int64_t row = item / parts * kBlock;
    Part columns = part_of(round_up(n, kBlock) / kBlock, item % parts, parts);
    bool done;
#if defined(__AMX_BF16__)
    if constexpr (P::kOnTiles) {
      done = product.on_tiles(row, 0, n);
    } else {
      done = product.on_vectors(row, columns.begin * kBlock, columns.end * kBlock);
    }
#else
    done = product.on_vectors(row, columns.begin * kBlock, columns.end * kBlock);
#endif
    if (!done) __atomic_store_n(&failed, true, __ATOMIC_RELAXED);
  });
  return failed ? SJD2_OUT_OF_MEMORY : SJD2_OK;
}

template <class P, typename TB>
void pack_panels(sjd2_stream stream, typename P::Elem* out, Matrix<TB> b) {
  int64_t stride = packed_panel<P>(b.rows);
  parallel_for(stream, round_up(b.cols, kBlock) / kBlock, [&](int64_t pair) {
    P::pack_panels(out + 2 * pair * stride, stride, b, pair * kBlock);
  });
}

// The product whose sums are many and whose result is small, a weight's gradient: C = [C +] A^T B, A [k, m], B [k, n], C
// f32. A task owns a part of C. For one stretch of k after the other it packs the operands of its part into its own
// second-level cache, and adds their product to C. That an operand is packed by several tasks costs less than fetching
// what another core packed.
template <class P, typename TA, typename TB>
class Accumulation {
  using Elem = typename P::Elem;
  // Blocks of 32 rows and columns whose operands are packed at a time.
  static constexpr int64_t kRows = 8, kColumns = 16;

 public:
  Accumulation(Matrix<TA> a, Matrix<TB> b, float* c, int64_t ldc, bool from_zero)
      : product_{a, nullptr, b.cols, c, ldc, nullptr, ldc},
        b_(b),
        from_zero_(from_zero),
        row_blocks_(round_up(a.rows, kBlock) / kBlock),
        column_blocks_(round_up(b.cols, kBlock) / kBlock),
        stretch_(max64(1, stretch_of<P>(product_.depth))) {}

  int32_t run(sjd2_stream stream) {
    // The most square parts of C have the least to pack.
    int64_t threads = thread_count(stream), across = 1, best = INT64_MAX;
    for (int64_t n = 1; n <= threads; ++n) {
      int64_t rows = part_size(row_blocks_, threads / n), columns = part_size(column_blocks_, n);
      if (threads % n == 0 && rows + columns < best) {
        best = rows + columns;
        across = n;
      }
    }
    int64_t down = threads / across;
    bool failed = false;
    parallel_for(stream, threads, [&](int64_t task) {
      Part rows = part_of(row_blocks_, task / across, down);
      Part columns = part_of(column_blocks_, task % across, across);
      auto* space = static_cast<Elem*>(scratch(
          kSlotTask, (kRows + kColumns) * kBlock * stretch_ * static_cast<int64_t>(sizeof(Elem))));
      if (space == nullptr) {
        __atomic_store_n(&failed, true, __ATOMIC_RELAXED);
        return;
      }
      for (int64_t first = columns.begin; first < columns.end; first += kColumns) {
        int64_t last = first + kColumns < columns.end ? first + kColumns : columns.end;
        part(rows.begin, rows.end, first, last, space, space + kColumns * kBlock * stretch_);
      }
    });
    return failed ? SJD2_OUT_OF_MEMORY : SJD2_OK;
  }

 private:
  static int64_t part_size(int64_t blocks, int64_t parts) { return (blocks + parts - 1) / parts; }

  // Blocks of C in rows [row, row_end) and columns [column, column_end).
  void part(int64_t row, int64_t row_end, int64_t column, int64_t column_end, Elem* panels,
            Elem* strips) const {
    int64_t depth = product_.depth;
    for (int64_t k = 0; k < depth || k == 0; k += stretch_) {
      int64_t end = k + stretch_ < depth ? k + stretch_ : depth, size = end - k, panel = size * kPanel;
      // Rows of memory as long as they go, not columns.
      for (int64_t i = k; i < end; i += kBlock) {
        int64_t n = end - i < kBlock ? end - i : kBlock;
        for (int64_t col = column; col < column_end; ++col) {
          Elem* low = panels + 2 * (col - column) * panel + (i - k) * kPanel;
          P::lines(low, low + panel, kPanel * P::kStep, b_, i, i + n, col * kBlock);
        }
      }
      for (int64_t first = row; first < row_end; first += kRows) {
        int64_t last = first + kRows < row_end ? first + kRows : row_end;
        for (int64_t i = k; i < end; i += kBlock) {
          int64_t n = end - i < kBlock ? end - i : kBlock;
          for (int64_t r = first; r < last; ++r)
            pack_strip<P>(strips + ((r - first) * size + i - k) * kBlock, product_.a, r * kBlock, i, i + n);
        }
        for (int64_t r = first; r < last; ++r) {
          for (int64_t col = column; col < column_end; ++col) {
            const Elem* b0 = panels + 2 * (col - column) * panel;
            const StripOfA<P> strip{strips + (r - first) * size * kBlock};
            const float* sums = product_.c + r * kBlock * product_.ldc + col * kBlock;
            product_.expect(r * kBlock, col * kBlock, product_.live_rows(r * kBlock));
            product_.store_block(strip, r * kBlock, col * kBlock, b0, b0 + panel, size,
                                 k == 0 && from_zero_ ? nullptr : sums, product_.ldc);
          }
        }
      }
    }
  }

  Product<P, TA, float> product_;
  Matrix<TB> b_;
  bool from_zero_;
  int64_t row_blocks_, column_blocks_, stretch_;
};

template <typename Void, typename T>
struct Typed {
  using type = std::conditional_t<std::is_const_v<Void>, const T, T>;
};

// Calls f with pointers of the element types.
template <typename X, typename Y, typename F>
int32_t with_types(X* x, int32_t x_dtype, Y* y, int32_t y_dtype, F&& f) {
  auto with_y = [&](auto* x_typed) -> int32_t {
    if (y_dtype == SJD2_F32) return f(x_typed, static_cast<typename Typed<Y, float>::type*>(y));
    if (y_dtype == SJD2_BF16) return f(x_typed, static_cast<typename Typed<Y, uint16_t>::type*>(y));
    return SJD2_UNSUPPORTED;
  };
  if (x_dtype == SJD2_F32) return with_y(static_cast<typename Typed<X, float>::type*>(x));
  if (x_dtype == SJD2_BF16) return with_y(static_cast<typename Typed<X, uint16_t>::type*>(x));
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
  if constexpr (!P::kOnTiles) {
    if (a_transposed != 0 && b_transposed == 0 && c_dtype == SJD2_F32 && (addend == nullptr || addend == c)) {
      auto* sums = static_cast<float*>(c);
      bool from_zero = addend == nullptr;
      if (from_zero || ldc == ldd) {
        return with_types(a, a_dtype, b, b_dtype, [&](auto* a_typed, auto* b_typed) {
          using TA = std::remove_const_t<std::remove_pointer_t<decltype(a_typed)>>;
          using TB = std::remove_const_t<std::remove_pointer_t<decltype(b_typed)>>;
          Accumulation<P, TA, TB> sum({a_typed, m, k, lda, true}, {b_typed, k, n, ldb, false}, sums, ldc,
                                      from_zero);
          return sum.run(stream);
        });
      }
    }
  }
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
