// The operations of image tokenisers as the C ABI has them: arguments are checked here, once, for every instruction set.
#include <cmath>

#include "ops.h"
#include "vq_layout.h"

namespace sjd2 {
namespace {

using Extent = long long;

template <typename... Pointers>
int32_t require(const char* operation, Pointers... pointers) {
  const bool bad = (... || (pointers == nullptr));
  return bad ? fail(SJD2_BAD_ARGUMENT, "%s: a required pointer is NULL", operation) : SJD2_OK;
}

int32_t require_range(const char* operation, const char* name, int64_t value, int64_t least, int64_t most) {
  if (value >= least && value <= most) return SJD2_OK;
  return fail(SJD2_BAD_SHAPE, "%s: %s is %lld, expected %lld to %lld", operation, name, static_cast<Extent>(value),
              static_cast<Extent>(least), static_cast<Extent>(most));
}

constexpr int64_t kLongest = int64_t{1} << 40;

int32_t check_dtype(const char* operation, const char* name, int32_t value, bool allow_f16) {
  if (value == SJD2_F32 || value == SJD2_BF16 || (allow_f16 && value == SJD2_F16)) return SJD2_OK;
  return fail(SJD2_BAD_ARGUMENT, "%s: %s is %d, expected f32 (0)%s", operation, name, value,
              allow_f16 ? ", bf16 (1) or f16 (2)" : " or bf16 (1)");
}

int32_t check_packed(const char* operation, int64_t n_out, int64_t n_in, int64_t taps) {
  int32_t status = require_range(operation, "n_out", n_out, 1, 1 << 24);
  if (status == SJD2_OK) status = require_range(operation, "n_in", n_in, 1, 1 << 24);
  return status == SJD2_OK ? require_range(operation, "taps", taps, 1, 343) : status;
}

int32_t check_conv(const sjd2_conv_shape* shape, const float* norm, const float* map) {
  (void)norm;
  const sjd2_conv_shape& s = *shape;
  const struct {
    const char* name;
    int64_t value, least, most;
  } fields[] = {{"batch", s.batch, 0, kLongest},
                {"frames", s.frames, 1, 1 << 20},
                {"height", s.height, 1, 1 << 20},
                {"width", s.width, 1, 1 << 20},
                {"channels", s.channels, 1, 1 << 20},
                {"out_frames", s.out_frames, 0, 1 << 20},
                {"out_height", s.out_height, 0, 1 << 20},
                {"out_width", s.out_width, 0, 1 << 20},
                {"out_channels", s.out_channels, 1, 1 << 20},
                {"kernel_frames", s.kernel_frames, 1, 7},
                {"kernel_height", s.kernel_height, 1, 7},
                {"kernel_width", s.kernel_width, 1, 7},
                {"stride_frames", s.stride_frames, 1, 2},
                {"stride_height", s.stride_height, 1, 2},
                {"stride_width", s.stride_width, 1, 2},
                {"pad_frames", s.pad_frames, 0, 7},
                {"pad_height", s.pad_height, 0, 7},
                {"pad_width", s.pad_width, 0, 7},
                {"enlarge_frames", s.enlarge_frames, 1, 2},
                {"enlarge_space", s.enlarge_space, 1, 2},
                {"map_height", s.map_height, map != nullptr ? 1 : 0, 1 << 20},
                {"map_width", s.map_width, map != nullptr ? 1 : 0, 1 << 20}};
  for (const auto& field : fields) {
    const int32_t status = require_range("conv", field.name, field.value, field.least, field.most);
    if (status != SJD2_OK) return status;
  }
  return SJD2_OK;
}

int32_t check_attention(int64_t batch, int64_t positions, int64_t channels, float scale) {
  int32_t status = require_range("vq_attention", "batch", batch, 0, kLongest);
  if (status == SJD2_OK) status = require_range("vq_attention", "positions", positions, 0, 1 << 24);
  if (status == SJD2_OK) status = require_range("vq_attention", "channels", channels, 1, 1 << 20);
  if (status != SJD2_OK || (scale > 0.0f && std::isfinite(scale))) return status;
  return fail(SJD2_BAD_ARGUMENT, "vq_attention: scale is %g, expected a positive number", static_cast<double>(scale));
}

}  // namespace
}  // namespace sjd2

using sjd2::ops;

SJD2_EXPORT int32_t sjd2_packed_conv_elements(int64_t* out, int64_t n_out, int64_t n_in, int64_t taps,
                                              int32_t dst_dtype) {
  int32_t status = sjd2::require("packed_conv_elements", out);
  if (status == SJD2_OK) status = sjd2::check_packed("packed_conv_elements", n_out, n_in, taps);
  if (status == SJD2_OK) status = sjd2::check_dtype("packed_conv_elements", "dst_dtype", dst_dtype, false);
  if (status == SJD2_OK) *out = sjd2::round_up(n_out, sjd2::kPanel) * taps * sjd2::conv_depth(n_in);
  return status;
}

SJD2_EXPORT int32_t sjd2_pack_conv(sjd2_stream stream, void* dst, const void* src, int64_t first_row, int64_t n_rows,
                                   int64_t n_out, int64_t n_in, int64_t taps, int32_t dst_dtype, int32_t src_dtype) {
  int32_t status = sjd2::require("pack_conv", stream, dst, src);
  if (status == SJD2_OK) status = sjd2::check_packed("pack_conv", n_out, n_in, taps);
  if (status == SJD2_OK) status = sjd2::check_dtype("pack_conv", "dst_dtype", dst_dtype, false);
  if (status == SJD2_OK) status = sjd2::check_dtype("pack_conv", "src_dtype", src_dtype, true);
  if (status == SJD2_OK) status = sjd2::require_range("pack_conv", "first_row", first_row, 0, n_out);
  if (status == SJD2_OK) status = sjd2::require_range("pack_conv", "n_rows", n_rows, 0, n_out - first_row);
  if (status != SJD2_OK) return status;
  return ops().pack_conv(stream, dst, src, first_row, n_rows, n_out, n_in, taps, dst_dtype, src_dtype);
}

SJD2_EXPORT int32_t sjd2_conv_f32(sjd2_stream stream, float* out, float* moments, const float* x, const float* norm,
                                  const float* map, const float* w, const float* bias, const sjd2_conv_shape* shape) {
  int32_t status = sjd2::require("conv", stream, out, x, w, shape);
  if (status == SJD2_OK) status = sjd2::check_conv(shape, norm, map);
  return status == SJD2_OK ? ops().conv_f32(stream, out, moments, x, norm, map, w, bias, shape) : status;
}

SJD2_EXPORT int32_t sjd2_conv_bf16(sjd2_stream stream, float* out, float* moments, const float* x, const float* norm,
                                   const float* map, const uint16_t* w, const float* bias,
                                   const sjd2_conv_shape* shape) {
  int32_t status = sjd2::require("conv", stream, out, x, w, shape);
  if (status == SJD2_OK) status = sjd2::check_conv(shape, norm, map);
  return status == SJD2_OK ? ops().conv_bf16(stream, out, moments, x, norm, map, w, bias, shape) : status;
}

SJD2_EXPORT int32_t sjd2_group_norm_f32(sjd2_stream stream, float* norm, const float* moments, const float* weight,
                                        const float* bias, int64_t batch, int64_t channels, int64_t groups, float eps) {
  int32_t status = sjd2::require("group_norm", stream, norm, moments, weight, bias);
  if (status == SJD2_OK) status = sjd2::require_range("group_norm", "batch", batch, 0, sjd2::kLongest);
  if (status == SJD2_OK) status = sjd2::require_range("group_norm", "channels", channels, 1, 1 << 24);
  if (status == SJD2_OK) status = sjd2::require_range("group_norm", "groups", groups, 1, channels);
  if (status != SJD2_OK) return status;
  if (channels % groups != 0) {
    return sjd2::fail(SJD2_BAD_SHAPE, "group_norm: groups=%lld does not divide channels=%lld",
                      static_cast<long long>(groups), static_cast<long long>(channels));
  }
  if (!(eps >= 0.0f && std::isfinite(eps))) {
    return sjd2::fail(SJD2_BAD_ARGUMENT, "group_norm: eps is %g, expected a number >= 0", static_cast<double>(eps));
  }
  return ops().group_norm_f32(stream, norm, moments, weight, bias, batch, channels, groups, eps);
}

SJD2_EXPORT int32_t sjd2_vq_attention_f32(sjd2_stream stream, float* out, const float* qkv, int64_t batch,
                                          int64_t positions, int64_t channels, float scale) {
  int32_t status = sjd2::require("vq_attention", stream, out, qkv);
  if (status == SJD2_OK) status = sjd2::check_attention(batch, positions, channels, scale);
  return status == SJD2_OK ? ops().vq_attention_f32(stream, out, qkv, batch, positions, channels, scale) : status;
}

SJD2_EXPORT int32_t sjd2_vq_attention_bf16(sjd2_stream stream, float* out, const float* qkv, int64_t batch,
                                           int64_t positions, int64_t channels, float scale) {
  int32_t status = sjd2::require("vq_attention", stream, out, qkv);
  if (status == SJD2_OK) status = sjd2::check_attention(batch, positions, channels, scale);
  return status == SJD2_OK ? ops().vq_attention_bf16(stream, out, qkv, batch, positions, channels, scale) : status;
}
