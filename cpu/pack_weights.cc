#include "half.h"
#include "layout.h"
#include "threads.h"

namespace sjd2::SJD2_ISA {

static inline float as_float(const void* src, int32_t dtype, int64_t i) {
  if (dtype == SJD2_F32) return static_cast<const float*>(src)[i];
  const uint16_t half = static_cast<const uint16_t*>(src)[i];
  return dtype == SJD2_BF16 ? from_bf16(half) : from_f16(half);
}

// Outputs are rows of the source but neighbours in the target: 16 source rows advance together, so that both
// sides are touched a cache line at a time.
int32_t pack_weights(sjd2_stream stream, void* dst, const void* src, int64_t first_row, int64_t n_rows,
                     int64_t n_out, int64_t n_in, int32_t dst_dtype, int32_t src_dtype) {
  (void)n_out;
  const bool bf16 = dst_dtype == SJD2_BF16;
  const int64_t depth = padded_depth(n_in, bf16);
  const int64_t first_panel = first_row / kPanel, last_panel = div_up(first_row + n_rows, kPanel);
  parallel_for(stream, last_panel - first_panel, [&](int64_t task) {
    const int64_t panel = first_panel + task;
    const int64_t begin = max64(panel * kPanel, first_row),
                  end = min64((panel + 1) * kPanel, first_row + n_rows);
    for (int64_t k = 0; k < n_in; ++k) {
      for (int64_t n = begin; n < end; ++n) {
        const float value = as_float(src, src_dtype, (n - first_row) * n_in + k);
        if (bf16) {
          static_cast<uint16_t*>(dst)[panel * kPanel * depth + (k / 2 * kPanel + n % kPanel) * 2 + k % 2] =
              to_bf16(value);
        } else {
          static_cast<float*>(dst)[panel * kPanel * depth + k * kPanel + n % kPanel] = value;
        }
      }
    }
  });
  return SJD2_OK;
}

}  // namespace sjd2::SJD2_ISA
