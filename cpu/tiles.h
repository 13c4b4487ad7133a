// AMX tiles: their configuration, and what is loaded where. Only for sources compiled with tiles.
#ifndef SJD2_CPU_TILES_H
#define SJD2_CPU_TILES_H

#include "vec.h"

#if defined(__AMX_BF16__)

namespace sjd2::SJD2_ISA {

// GCC declares that these intrinsics read the pointer, not what it points to: stores before them would be
// dropped or moved.
SJD2_INLINE void publish(const void* memory) { asm volatile("" : : "r"(memory) : "memory"); }

// Tiles 0..5 hold sums and tile 6 the left factor, all of `rows` rows; tile 7 holds 16 pairs of the right
// factor. Lives as long as a task: configured tiles slow down a thread's context switches.
class Tiles {
 public:
  explicit Tiles(int64_t rows) {
    struct alignas(64) {
      uint8_t palette, start, reserved[14];
      uint16_t row_bytes[16];
      uint8_t rows[16];
    } config = {};
    config.palette = 1;
    for (int i = 0; i < 8; ++i) {
      config.row_bytes[i] = 64;
      config.rows[i] = i == 7 ? 16 : static_cast<uint8_t>(rows);
    }
    publish(&config);
    _tile_loadconfig(&config);
  }
  ~Tiles() { _tile_release(); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
};

}  // namespace sjd2::SJD2_ISA

#endif

#endif  // SJD2_CPU_TILES_H
