// How rows are cut into blocks, and how pack_weights lays out a [n_out, n_in] matrix, in panels of 16
// outputs.
//   bf16  [n_out / 16][n_in / 2][16][2]   pairs along k, as tile and dot-product instructions read them; n_in
//   to 32 f32   [n_out / 16][n_in][16]
// What is padded is zero. One layout for every instruction set: a packed matrix does not depend on who packed
// it.
#ifndef SJD2_CPU_LAYOUT_H
#define SJD2_CPU_LAYOUT_H

#include "common.h"

namespace sjd2 {

constexpr int64_t kPanel = 16;      // outputs per panel
constexpr int64_t kTileDepth = 32;  // bf16 inputs per tile

static inline int64_t padded_depth(int64_t n_in, bool bf16) {
  return bf16 ? round_up(n_in, kTileDepth) : n_in;
}

static inline int64_t packed_elements(int64_t n_out, int64_t n_in, bool bf16) {
  return round_up(n_out, kPanel) * padded_depth(n_in, bf16);
}

// Rows in blocks of nearly equal height, so that no block is a sliver.
struct Blocks {
  int64_t rows, count;
  Blocks(int64_t n, int64_t highest) : rows(n), count(div_up(n, highest)) {}
  int64_t begin(int64_t i) const { return rows * i / count; }
  int64_t height(int64_t i) const { return begin(i + 1) - begin(i); }
};

}  // namespace sjd2

#endif  // SJD2_CPU_LAYOUT_H
