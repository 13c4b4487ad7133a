// embed: rows of a table.
#include "check.h"
#include "device/arith.cuh"

namespace sjd2::cuda {
namespace {

constexpr uint32_t kThreads = 256;

// A block owns one row of the output, a thread every blockDim.x-th element of it. Every block reads all ids first: a bad one
// must leave the output untouched, and a few thousand ids lie in the caches.
//   bytes      rows (4 rows + hidden (sizeof(T) + 4)), the ids from the caches
//   source     kernels.h
template <typename T>
__global__ void __launch_bounds__(kThreads)
    embed_rows_kernel(float* out, const T* table, const int32_t* ids, int64_t rows, int64_t vocab, int64_t hidden,
                      Fault* fault) {
  const int64_t row = blockIdx.x;
  for (int64_t i = 0; i < rows; ++i) {
    if (ids[i] >= 0 && ids[i] < vocab) continue;
    if (threadIdx.x == 0) raise(fault, kBadId, i, ids[i], vocab);
    return;
  }
  const T* source = table + ids[row] * hidden;
  for (int64_t i = threadIdx.x; i < hidden; i += blockDim.x) out[row * hidden + i] = load_as_float(source + i);
}

template <typename T>
int32_t launch_embed(sjd2_stream stream, float* out, const T* table, const int32_t* ids, int64_t rows, int64_t vocab,
                     int64_t hidden) {
  Check check("embed");
  check.rows(1, rows).at_least("hidden", hidden, 1).not_null(stream, out, table, ids);
  if (!check.ok()) return check.status();
  SJD2_LAUNCH(embed_rows_kernel<T>, dim3(static_cast<uint32_t>(rows)), dim3(row_threads(hidden, kThreads)), 0, stream, out,
              table, ids, rows, vocab, hidden, stream->fault);
  return SJD2_OK;
}

}  // namespace
}  // namespace sjd2::cuda

SJD2_EXPORT int32_t sjd2_embed_f32(sjd2_stream stream, float* out, const float* table, const int32_t* ids, int64_t rows,
                                   int64_t vocab, int64_t hidden) {
  return sjd2::cuda::launch_embed(stream, out, table, ids, rows, vocab, hidden);
}

SJD2_EXPORT int32_t sjd2_embed_bf16(sjd2_stream stream, float* out, const uint16_t* table, const int32_t* ids, int64_t rows,
                                    int64_t vocab, int64_t hidden) {
  return sjd2::cuda::launch_embed(stream, out, table, ids, rows, vocab, hidden);
}
