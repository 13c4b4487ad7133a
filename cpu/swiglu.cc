#include "rows.h"
#include "vec.h"

namespace sjd2::SJD2_ISA {

template <typename T>
static int32_t swiglu(sjd2_stream stream, T* out, const float* gate_up, const sjd2_sequence* sequences,
                      int64_t batch, int64_t max_window, int64_t intermediate) {
  return for_live_rows(stream, sequences, batch, max_window, 4 * intermediate, [&](int64_t r) {
    const float* gate = gate_up + r * 2 * intermediate;
    const float* up = gate + intermediate;
    for (int64_t i = 0; i < intermediate; i += kLanes) {
      const int64_t n = intermediate - i;
      const vf g = load_upto(gate + i, n);
      store_upto(out + r * intermediate + i, g / (1.0f + exp(-g)) * load_upto(up + i, n), n);
    }
  });
}

int32_t swiglu_f32(sjd2_stream stream, float* out, const float* gate_up, const sjd2_sequence* sequences,
                   int64_t batch, int64_t max_window, int64_t intermediate) {
  return swiglu(stream, out, gate_up, sequences, batch, max_window, intermediate);
}

int32_t swiglu_bf16(sjd2_stream stream, uint16_t* out, const float* gate_up, const sjd2_sequence* sequences,
                    int64_t batch, int64_t max_window, int64_t intermediate) {
  return swiglu(stream, out, gate_up, sequences, batch, max_window, intermediate);
}

}  // namespace sjd2::SJD2_ISA
