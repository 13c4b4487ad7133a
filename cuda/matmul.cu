// matmul: out = x w^T for up to a few hundred rows over packed weights.
//
// Every output is one chain of multiply-adds along k in ascending order, in steps of 16 on the tensor cores: which tile an
// output falls into, and how many rows there are, does not show in its bits.
#include "check.h"
#include "device/rows.cuh"
#include "device/tensor_core.cuh"
#include "layout.h"

namespace sjd2::cuda {
namespace {

template <typename T>
struct MatmulCall {
  float* out;
  const T* x;
  const T* w;
  const float* bias;
  const sjd2_sequence* sequences;
  int64_t batch, max_window, n_out, n_in, depth;
  int32_t accumulate;
};

// The live rows in order: the index of live row i, or -1 behind the last.
template <typename T>
__device__ __forceinline__ int64_t live_row(const MatmulCall<T>& call, int64_t i) {
  if (call.sequences == nullptr) return i < call.batch * call.max_window ? i : -1;
  for (int64_t b = 0; b < call.batch; ++b) {
    const int64_t rows = call.sequences[b].rows;
    if (i < rows) return b * call.max_window + i;
    i -= rows > 0 ? rows : 0;
  }
  return -1;
}

template <typename T>
__device__ __forceinline__ void write_output(const MatmulCall<T>& call, int64_t row, int64_t column, float value) {
  if (row < 0 || column >= call.n_out) return;
  float* target = call.out + row * call.n_out + column;
  if (call.bias != nullptr) value += call.bias[column];
  if (call.accumulate != 0) value += *target;
  *target = value;
}

// ---------------------------------------------------------------------------------------------------------------------
// bf16: tensor cores
// ---------------------------------------------------------------------------------------------------------------------

constexpr int kWarps = 4;
constexpr int kStep = 64;     // inputs per stage of the pipeline
constexpr int kColumns = 16;  // outputs of a warp
constexpr int kBlockColumns = kWarps * kColumns;

template <int kRows, int kStages>
struct SkinnyShared {
  uint16_t x[kStages][kRows * kStep];
  uint16_t w[kStages][kBlockColumns * kStep];
  int64_t rows[kRows];
};

// A block owns kRows live rows times 64 outputs, a warp all of these rows times 16 outputs, a lane what mma.m16n8k16 gives it.
//   shared     kStages stages of x [kRows][64] and w [64][64], in swizzled rows of 128 bytes; the rows' indices
//   registers  sums: kRows / 16 x 2 fragments of 4
//   bytes      weights once per kRows rows: n_out depth 2; x n_out / 64 times, from the second-level cache
//   FLOP       2 rows n_out n_in
//   source     the sum of kernels.h; its order: docs/adr/0002. Fragments and swizzle: device/tensor_core.cuh
// A stage is fetched kStages - 1 steps ahead, so that some 30 KB a block are under way: what memory's latency asks for.
template <int kRows, int kStages>
__global__ void __launch_bounds__(32 * kWarps) matmul_skinny_kernel(const MatmulCall<uint16_t> call) {
  using Shared = SkinnyShared<kRows, kStages>;
  SJD2_SHARED(Shared, shared);
  constexpr int kThreads = 32 * kWarps, kRowTiles = kRows / 16;
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  const int64_t first_row = static_cast<int64_t>(blockIdx.y) * kRows;
  const int64_t first_column = static_cast<int64_t>(blockIdx.x) * kBlockColumns;
  if (live_row(call, first_row) < 0) return;
  for (int i = thread; i < kRows; i += kThreads) shared.rows[i] = live_row(call, first_row + i);
  __syncthreads();

  // Rows of x that do not start on 16 bytes, or end within them, are fetched element by element.
  const bool whole = call.n_in % 8 == 0 && reinterpret_cast<uintptr_t>(call.x) % 16 == 0;
  const auto fetch = [&](int64_t step, int stage) {
    const int64_t k = step * kStep;
    for (int i = thread; i < kBlockColumns * 8; i += kThreads) {
      const int column = i / 8, piece = i % 8;
      const bool present = first_column + column < call.n_out;
      const uint16_t* from = present ? call.w + (first_column + column) * call.depth + k + piece * 8 : call.w;
      copy_async(shared.w[stage] + swizzled(column, piece), from, present);
    }
    for (int i = thread; i < kRows * 8; i += kThreads) {
      const int row = i / 8, piece = i % 8;
      const int64_t index = shared.rows[row], at = k + piece * 8;
      uint16_t* to = shared.x[stage] + swizzled(row, piece);
      if (whole) {
        const bool present = index >= 0 && at < call.n_in;
        copy_async(to, present ? call.x + index * call.n_in + at : call.x, present);
      } else {
        for (int j = 0; j < 8; ++j) to[j] = index >= 0 && at + j < call.n_in ? call.x[index * call.n_in + at + j] : 0;
      }
    }
  };

  float sums[kRowTiles][2][4] = {};
  const int64_t steps = call.depth / kStep;
#pragma unroll
  for (int stage = 0; stage < kStages - 1; ++stage) {
    if (stage < steps) fetch(stage, stage);
    copy_commit();
  }
  for (int64_t step = 0; step < steps; ++step) {
    copy_wait<kStages - 2>();
    // Behind it this step's numbers are there for every thread, and nobody reads the stage that is filled next any more.
    __syncthreads();
    if (step + kStages - 1 < steps) fetch(step + kStages - 1, static_cast<int>((step + kStages - 1) % kStages));
    copy_commit();
    const uint16_t* x = shared.x[step % kStages];
    const uint16_t* w = shared.w[step % kStages];
#pragma unroll
    for (int k = 0; k < kStep / 16; ++k) {
      // Columns 0..7 and 8..15, each with the lower and the upper 8 of 16 inputs.
      uint32_t b[4];
      load_matrices(b, w + swizzled(warp * kColumns + lane % 8 + lane / 16 * 8, 2 * k + lane / 8 % 2));
#pragma unroll
      for (int tile = 0; tile < kRowTiles; ++tile) {
        uint32_t a[4];
        load_matrices(a, x + swizzled(tile * 16 + lane % 16, 2 * k + lane / 16));
        mma_bf16(sums[tile][0], a, b[0], b[1]);
        mma_bf16(sums[tile][1], a, b[2], b[3]);
      }
    }
  }
#pragma unroll
  for (int tile = 0; tile < kRowTiles; ++tile) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int row = tile * 16 + lane / 4 + (i >= 2 ? 8 : 0);
        const int64_t column = first_column + warp * kColumns + half * 8 + lane % 4 * 2 + i % 2;
        write_output(call, shared.rows[row], column, sums[tile][half][i]);
      }
    }
  }
}

template <int kRows, int kStages>
int32_t launch_skinny(sjd2_stream stream, const MatmulCall<uint16_t>& call) {
  const dim3 grid(static_cast<uint32_t>(div_up(call.n_out, kBlockColumns)),
                  static_cast<uint32_t>(div_up(call.batch * call.max_window, kRows)));
  SJD2_LAUNCH((matmul_skinny_kernel<kRows, kStages>), grid, dim3(32 * kWarps), (sizeof(SkinnyShared<kRows, kStages>)), stream,
              call);
  return SJD2_OK;
}

int32_t launch_matmul(sjd2_stream stream, const MatmulCall<uint16_t>& call) {
  const int64_t rows = call.batch * call.max_window;
  if (rows <= 16) return launch_skinny<16, 4>(stream, call);
  if (rows <= 32) return launch_skinny<32, 4>(stream, call);
  if (rows <= 64) return launch_skinny<64, 4>(stream, call);
  return launch_skinny<128, 3>(stream, call);
}

// ---------------------------------------------------------------------------------------------------------------------
// f32: the plain path
// ---------------------------------------------------------------------------------------------------------------------

constexpr int kPlainThreads = 128;
constexpr int kPlainRows = 16, kPlainColumns = 64, kPlainStep = 32;
constexpr int kThreadRows = 4, kThreadColumns = 2;

struct PlainShared {
  // Transposed, and the rows one element longer than their content: a warp's stores meet different banks.
  float x[kPlainStep][kPlainRows + 1];
  float w[kPlainStep][kPlainColumns + 1];
  int64_t rows[kPlainRows];
};

// A block owns 16 live rows times 64 outputs, a thread 4 rows times 2 outputs that lie 32 apart.
//   shared     32 inputs of the rows and of the weights
//   registers  8 sums
//   bytes      weights once per 16 rows: 4 n_out depth;  FLOP  2 rows n_out n_in
//   source     the sum of kernels.h; its order: docs/adr/0002
__global__ void __launch_bounds__(kPlainThreads) matmul_plain_kernel(const MatmulCall<float> call) {
  SJD2_SHARED(PlainShared, shared);
  const int thread = static_cast<int>(threadIdx.x);
  const int64_t first_row = static_cast<int64_t>(blockIdx.y) * kPlainRows;
  const int64_t first_column = static_cast<int64_t>(blockIdx.x) * kPlainColumns;
  if (live_row(call, first_row) < 0) return;
  if (thread < kPlainRows) shared.rows[thread] = live_row(call, first_row + thread);
  const int column = thread % 32, row = thread / 32 * kThreadRows;
  float sums[kThreadRows][kThreadColumns] = {};
  for (int64_t k = 0; k < call.n_in; k += kPlainStep) {
    __syncthreads();
    for (int i = thread; i < kPlainRows * kPlainStep; i += kPlainThreads) {
      const int64_t index = shared.rows[i / kPlainStep], at = k + i % kPlainStep;
      shared.x[i % kPlainStep][i / kPlainStep] = index >= 0 && at < call.n_in ? call.x[index * call.n_in + at] : 0.0f;
    }
    for (int i = thread; i < kPlainColumns * kPlainStep; i += kPlainThreads) {
      const int64_t index = first_column + i / kPlainStep;
      const float value = index < call.n_out ? call.w[index * call.depth + k + i % kPlainStep] : 0.0f;
      shared.w[i % kPlainStep][i / kPlainStep] = value;
    }
    __syncthreads();
    const int inputs = static_cast<int>(min64(kPlainStep, call.n_in - k));
    for (int i = 0; i < inputs; ++i) {
#pragma unroll
      for (int r = 0; r < kThreadRows; ++r) {
#pragma unroll
        for (int c = 0; c < kThreadColumns; ++c) {
          sums[r][c] = fmaf(shared.x[i][row + r], shared.w[i][column + 32 * c], sums[r][c]);
        }
      }
    }
  }
#pragma unroll
  for (int r = 0; r < kThreadRows; ++r) {
#pragma unroll
    for (int c = 0; c < kThreadColumns; ++c) {
      write_output(call, shared.rows[row + r], first_column + column + 32 * c, sums[r][c]);
    }
  }
}

int32_t launch_matmul(sjd2_stream stream, const MatmulCall<float>& call) {
  const dim3 grid(static_cast<uint32_t>(div_up(call.n_out, kPlainColumns)),
                  static_cast<uint32_t>(div_up(call.batch * call.max_window, kPlainRows)));
  SJD2_LAUNCH(matmul_plain_kernel, grid, dim3(kPlainThreads), sizeof(PlainShared), stream, call);
  return SJD2_OK;
}

template <typename T>
int32_t matmul(sjd2_stream stream, const MatmulCall<T>& call) {
  Check check("matmul");
  check.rows(call.batch, call.max_window).at_least("n_out", call.n_out, 1).at_least("n_in", call.n_in, 1);
  check.not_null(stream, call.out, call.x, call.w);
  // 65535 blocks of rows along a grid's second axis.
  if (check.ok()) check.within("rows", call.batch * call.max_window, 0, int64_t{65535} * kPlainRows);
  return check.ok() ? launch_matmul(stream, call) : check.status();
}

}  // namespace
}  // namespace sjd2::cuda

SJD2_EXPORT int32_t sjd2_matmul_f32(sjd2_stream stream, float* out, const float* x, const float* w, const float* bias,
                                    const sjd2_sequence* sequences, int64_t batch, int64_t max_window, int64_t n_out,
                                    int64_t n_in, int32_t accumulate) {
  return sjd2::cuda::matmul<float>(stream, {out, x, w, bias, sequences, batch, max_window, n_out, n_in,
                                            sjd2::cuda::padded_depth(n_in), accumulate});
}

SJD2_EXPORT int32_t sjd2_matmul_bf16(sjd2_stream stream, float* out, const uint16_t* x, const uint16_t* w, const float* bias,
                                     const sjd2_sequence* sequences, int64_t batch, int64_t max_window, int64_t n_out,
                                     int64_t n_in, int32_t accumulate) {
  return sjd2::cuda::matmul<uint16_t>(stream, {out, x, w, bias, sequences, batch, max_window, n_out, n_in,
                                               sjd2::cuda::padded_depth(n_in), accumulate});
}
