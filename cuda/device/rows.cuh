// Which rows of a pass are live, and whether their sequences fit the cache.
#ifndef SJD2_CUDA_ROWS_CUH
#define SJD2_CUDA_ROWS_CUH

#include "device/arith.cuh"

namespace sjd2::cuda {

// `sequences` may be NULL: every row is live.
__device__ __forceinline__ bool row_is_live(const sjd2_sequence* sequences, int64_t row, int64_t max_window) {
  return sequences == nullptr || row % max_window < sequences[row / max_window].rows;
}

// Whether a live sequence's rows stay inside the cache and, where rope_len >= 0, inside the rotary table. One thread of the
// block tells.
__device__ __forceinline__ bool rows_fit(FaultOperation operation, const sjd2_sequence& s, int64_t b, int64_t max_window,
                                         int64_t capacity, int64_t rope_len, Fault* fault) {
  FaultKind kind = kNoFault;
  int64_t value = s.rows, limit = max_window;
  if (s.rows < 0 || s.rows > max_window) {
    kind = kBadRows;
  } else if (s.kv_len < 0 || s.kv_len + static_cast<int64_t>(s.rows) > capacity) {
    kind = kBeyondCache;
    value = s.kv_len + static_cast<int64_t>(s.rows);
    limit = capacity;
  } else if (rope_len >= 0 && (s.position < 0 || s.position + static_cast<int64_t>(s.rows) > rope_len)) {
    kind = kBeyondRope;
    value = s.position + static_cast<int64_t>(s.rows);
    limit = rope_len;
  }
  if (kind == kNoFault) return true;
  if (threadIdx.x == 0) raise(fault, kind, b, value, limit, operation);
  return false;
}

}  // namespace sjd2::cuda

#endif  // SJD2_CUDA_ROWS_CUH
