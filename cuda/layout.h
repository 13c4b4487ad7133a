// How pack_weights and pack_conv lay out matrices: row-major, [n_out][depth], rows filled up with zeros.
#ifndef SJD2_CUDA_LAYOUT_H
#define SJD2_CUDA_LAYOUT_H

#include <cstdint>

namespace sjd2::cuda {

constexpr int64_t kDepthStep = 64;  // elements: what one step of the pipeline brings, 128 bytes in bf16

constexpr int64_t padded_depth(int64_t n_in) { return (n_in + kDepthStep - 1) / kDepthStep * kDepthStep; }

// pack_conv: [n_out][taps][conv_depth].
constexpr int64_t kChannelStep = 32;  // channels of one tap that a step of conv multiplies, 64 bytes in bf16

constexpr int64_t conv_depth(int64_t n_in) { return (n_in + kChannelStep - 1) / kChannelStep * kChannelStep; }

}  // namespace sjd2::cuda

#endif  // SJD2_CUDA_LAYOUT_H
