#include "rows.h"
#include "vec.h"

namespace sjd2::SJD2_ISA {

template <typename T>
static int32_t embed(sjd2_stream stream, float* out, const T* table, const int32_t* ids, int64_t rows,
                     int64_t vocab, int64_t hidden) {
  // All ids first: a bad one must leave the output untouched.
  for (int64_t r = 0; r < rows; ++r) {
    if (ids[r] < 0 || ids[r] >= vocab) {
      return fail(SJD2_BAD_ARGUMENT, "embed: ids[%lld] is %d, expected 0..vocab=%lld exclusive",
                  static_cast<long long>(r), ids[r], static_cast<long long>(vocab));
    }
  }
  return for_live_rows(stream, nullptr, 1, rows, hidden, [&](int64_t r) {
    const T* source = table + ids[r] * hidden;
    float* target = out + r * hidden;
    for (int64_t i = 0; i < hidden; i += kLanes) {
      store_upto(target + i, load_upto(source + i, hidden - i), hidden - i);
    }
  });
}

int32_t embed_f32(sjd2_stream stream, float* out, const float* table, const int32_t* ids, int64_t rows,
                  int64_t vocab, int64_t hidden) {
  return embed(stream, out, table, ids, rows, vocab, hidden);
}

int32_t embed_bf16(sjd2_stream stream, float* out, const uint16_t* table, const int32_t* ids, int64_t rows,
                   int64_t vocab, int64_t hidden) {
  return embed(stream, out, table, ids, rows, vocab, hidden);
}

}  // namespace sjd2::SJD2_ISA
