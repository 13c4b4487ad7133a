#include "half.h"
#include "threads.h"

namespace sjd2::SJD2_ISA {

struct F32 {
  using Type = float;
  static float get(float v) { return v; }
  static float put(float v) { return v; }
};
struct Bf16 {
  using Type = uint16_t;
  static float get(uint16_t v) { return from_bf16(v); }
  static uint16_t put(float v) { return to_bf16(v); }
};
struct F16 {
  using Type = uint16_t;
  static float get(uint16_t v) { return from_f16(v); }
  static uint16_t put(float v) { return to_f16(v); }
};

template <typename To, typename From>
static void convert_all(sjd2_stream stream, void* dst, const void* src, int64_t n) {
  auto* target = static_cast<typename To::Type*>(dst);
  const auto* source = static_cast<const typename From::Type*>(src);
  const int64_t tasks = task_count(stream, n, 65536);
  parallel_for(stream, tasks, [&](int64_t task) {
    const Part part = part_of(n, task, tasks);
    for (int64_t i = part.begin; i < part.end; ++i) target[i] = To::put(From::get(source[i]));
  });
}

template <typename To>
static void convert_from(sjd2_stream stream, void* dst, const void* src, int64_t n, int32_t src_dtype) {
  switch (src_dtype) {
    case SJD2_F32:
      return convert_all<To, F32>(stream, dst, src, n);
    case SJD2_BF16:
      return convert_all<To, Bf16>(stream, dst, src, n);
    default:
      return convert_all<To, F16>(stream, dst, src, n);
  }
}

int32_t convert(sjd2_stream stream, void* dst, const void* src, int64_t n, int32_t dst_dtype,
                int32_t src_dtype) {
  switch (dst_dtype) {
    case SJD2_F32:
      convert_from<F32>(stream, dst, src, n, src_dtype);
      break;
    case SJD2_BF16:
      convert_from<Bf16>(stream, dst, src, n, src_dtype);
      break;
    default:
      convert_from<F16>(stream, dst, src, n, src_dtype);
      break;
  }
  return SJD2_OK;
}

}  // namespace sjd2::SJD2_ISA
