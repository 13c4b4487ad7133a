#include "philox.h"

namespace sjd2::SJD2_ISA {

int32_t philox_words(sjd2_stream, uint32_t* out, uint32_t seed_lo, uint32_t seed_hi, uint32_t image, uint32_t stream_lo,
                     uint32_t stream_hi, int64_t n) {
  for (int64_t i = 0; i < n; i += 4) {
    const PhiloxBlock block = philox({seed_lo, seed_hi}, static_cast<uint32_t>(i / 4), image, stream_lo, stream_hi);
    for (int64_t j = 0; j < 4 && i + j < n; ++j) out[i + j] = block.word[j];
  }
  return SJD2_OK;
}

int32_t philox_normals_f32(sjd2_stream, float* out, uint32_t seed_lo, uint32_t seed_hi, uint32_t image,
                           uint32_t stream_lo, uint32_t stream_hi, int64_t n) {
  philox_normals(out, {seed_lo, seed_hi}, image, stream_lo, stream_hi, n);
  return SJD2_OK;
}

}  // namespace sjd2::SJD2_ISA
