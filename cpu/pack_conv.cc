#include "half.h"
#include "threads.h"
#include "vq_layout.h"

namespace sjd2::SJD2_ISA {

int32_t pack_conv(sjd2_stream stream, void* dst, const void* src, int64_t first_row, int64_t n_rows, int64_t n_out,
                  int64_t n_in, int64_t taps, int32_t dst_dtype, int32_t src_dtype) {
  (void)n_out;
  const int64_t depth = conv_depth(n_in);
  const int64_t first_panel = first_row / kPanel, last_panel = div_up(first_row + n_rows, kPanel);
  parallel_for(stream, last_panel - first_panel, [&](int64_t task) {
    const int64_t panel = first_panel + task, base = panel * kPanel * taps * depth;
    const int64_t begin = max64(panel * kPanel, first_row), end = min64((panel + 1) * kPanel, first_row + n_rows);
    for (int64_t n = begin; n < end; ++n) {
      const int64_t row = (n - first_row) * n_in * taps;
      for (int64_t tap = 0; tap < taps; ++tap) {
        for (int64_t c = 0; c < n_in; ++c) {
          const int64_t from = row + c * taps + tap, k = tap * depth + c;
          float value;
          if (src_dtype == SJD2_F32) {
            value = static_cast<const float*>(src)[from];
          } else {
            const uint16_t half = static_cast<const uint16_t*>(src)[from];
            value = src_dtype == SJD2_BF16 ? from_bf16(half) : from_f16(half);
          }
          if (dst_dtype == SJD2_BF16) {
            static_cast<uint16_t*>(dst)[base + (k / 2 * kPanel + n % kPanel) * 2 + k % 2] = to_bf16(value);
          } else {
            static_cast<float*>(dst)[base + k * kPanel + n % kPanel] = value;
          }
        }
      }
    }
  });
  return SJD2_OK;
}

}  // namespace sjd2::SJD2_ISA
