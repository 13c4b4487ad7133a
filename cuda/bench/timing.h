// How long an operation takes on a device, by the device's own events; on the emulated device nothing is timed.
#ifndef SJD2_CUDA_BENCH_TIMING_H
#define SJD2_CUDA_BENCH_TIMING_H

#include <string>
#include <vector>

#include "bench.h"

namespace sjd2::bench {

// Microseconds: the median of many runs, and the quarters around it.
struct Time {
  double median = 0.0, low = 0.0, high = 0.0;
  int runs = 0;
};

struct DeviceInfo {
  std::string name, architecture;
  int multiprocessors = 0;
  int64_t memory_bytes = 0, l2_bytes = 0;
  int driver = 0, runtime = 0;  // CUDA versions: 13000 is 13.0
};

class Device {
 public:
  // Opens device 0 and the stream of all operations. False, with a message, where there is none.
  static bool open(DeviceInfo* info);
  static void close();
  static constexpr bool emulated() {
#if defined(SJD2_GPU)
    return false;
#else
    return true;
#endif
  }

#if defined(SJD2_GPU)
  // Nothing that the operation reads or writes is in the second-level cache: it is flushed before each run.
  static Time cold(const Case& c, int runs);
  // Run after run in one graph, as decoding replays them: what fits the cache is in it, and no launch is waited for.
  static Time warm(const Case& c, int runs);
  // The same product by NVIDIA's library, warm; false where no cuBLAS can be loaded.
  static bool library_product(const Product& product, int runs, Time* time);
  // Operations per second of a large bf16 product by that library; 0 without one.
  static double library_peak();
  // Which library that is; empty without one.
  static std::string library_name();
#endif
};

}  // namespace sjd2::bench

#endif  // SJD2_CUDA_BENCH_TIMING_H
