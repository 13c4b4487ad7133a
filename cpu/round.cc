#include "rows.h"
#include "vec.h"

namespace sjd2::SJD2_ISA {

template <typename T>
static int32_t round_rows(sjd2_stream stream, T* out, const float* x, const sjd2_sequence* sequences,
                          int64_t batch, int64_t max_window, int64_t hidden) {
  return for_live_rows(stream, sequences, batch, max_window, hidden, [&](int64_t r) {
    for (int64_t i = 0; i < hidden; i += kLanes) {
      store_upto(out + r * hidden + i, load_upto(x + r * hidden + i, hidden - i), hidden - i);
    }
  });
}

int32_t round_f32(sjd2_stream stream, float* out, const float* x, const sjd2_sequence* sequences,
                  int64_t batch, int64_t max_window, int64_t hidden) {
  return round_rows(stream, out, x, sequences, batch, max_window, hidden);
}

int32_t round_bf16(sjd2_stream stream, uint16_t* out, const float* x, const sjd2_sequence* sequences,
                   int64_t batch, int64_t max_window, int64_t hidden) {
  return round_rows(stream, out, x, sequences, batch, max_window, hidden);
}

}  // namespace sjd2::SJD2_ISA
