// How a convolution is cut into pieces of its output, and how pack_conv lays out weights: as pack_weights a matrix of
// [n_out, taps * depth], where depth is the number of input channels rounded up to 32 and k = tap * depth + channel.
#ifndef SJD2_CPU_VQ_LAYOUT_H
#define SJD2_CPU_VQ_LAYOUT_H

#include "layout.h"

namespace sjd2 {

constexpr int64_t kChannelBlock = 32;  // channels of one pixel that lie together: a tile's depth, in f32 two cache lines
constexpr int64_t kPieceColumns = 48;  // three tiles, or four blocks of 12 rows
constexpr int64_t kPieceRows = 16;
constexpr int64_t kStagedBytes = 640 * 1024;  // of a piece's input: leaves room for weights in the second-level cache

static inline int64_t conv_depth(int64_t n_in) { return round_up(n_in, kChannelBlock); }

// Pieces of the output: rectangles of one frame. They depend on the shape alone, so that sums over a piece do too.
struct Pieces {
  Blocks bands, strips;
  int64_t frames, per_picture, count;

  Pieces(const sjd2_conv_shape& s, int64_t element_bytes)
      : bands(s.out_height, band_height(s, element_bytes)), strips(s.out_width, kPieceColumns), frames(s.out_frames),
        per_picture(frames * bands.count * strips.count), count(s.batch * per_picture) {}

  static int64_t band_height(const sjd2_conv_shape& s, int64_t element_bytes) {
    const int64_t line = (min64(s.out_width, kPieceColumns) * s.stride_width + s.kernel_width) * conv_depth(s.channels) *
                         element_bytes * s.kernel_frames;
    const int64_t lines = kStagedBytes / max64(line, 1);
    const int64_t rows = (lines - s.kernel_height) / s.stride_height;
    return rows < 1 ? 1 : min64(rows, kPieceRows);
  }
};

}  // namespace sjd2

#endif  // SJD2_CPU_VQ_LAYOUT_H
