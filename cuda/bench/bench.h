// What sjd2_cuda_bench measures: cases of one operation at one shape, each with the answer it must give.
#ifndef SJD2_CUDA_BENCH_H
#define SJD2_CUDA_BENCH_H

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/check.h"

namespace sjd2::bench {

using test::Guarded;
using test::Parity;
using test::Place;
using test::Random;
using test::dtype;
using test::dtype_name;
using test::expect;
using test::narrow;
using test::ok;
using test::stream;
using test::widen;

// The shapes that operations are measured at: a model's, or small ones of the same kind for a device that is emulated.
struct Shapes {
  const char* name;
  int64_t hidden, heads, kv_heads, head_dim, intermediate, codes;
  int64_t kv_len;                // entries of the cache before the pass
  int64_t max_length;            // positions of a picture
  std::vector<int64_t> windows;  // rows of a sequence
  int64_t channels, side;        // of the image tokeniser's widest feature map
};

// A product to compare with the library's: out [rows, n_out] = x [rows, n_in] w [n_out, stride]^T, bf16 in, f32 out.
struct Product {
  void *out, *x, *w;
  int64_t rows, n_out, n_in, stride;
};

struct Case {
  std::string operation, dtype, shape;
  double bytes = 0.0, flop = 0.0;      // moved to and from memory once each; computed
  bool tensor_cores = false;           // which peak the operations are held against
  std::function<int32_t()> enqueue;    // hands the operation to the stream
  std::function<void()> prepare;       // puts back what the operation changes; may be empty
  std::function<void()> check;         // looks at the answer of one run
  std::shared_ptr<Product> product;    // may be empty
};

// A case is made when its turn comes, so that one case's memory is there at a time.
struct Maker {
  std::string operation;
  std::function<Case()> make;
};

std::vector<Maker> pass_cases(const Shapes& shapes);
std::vector<Maker> decode_cases(const Shapes& shapes);
std::vector<Maker> picture_cases(const Shapes& shapes);

// How many answers of a case are compared: enough that a wrong tile, row or slice of the sum is met.
constexpr int64_t kSamples = 512;

inline std::string text(const char* format, ...) __attribute__((format(printf, 1, 2)));
inline std::string text(const char* format, ...) {
  char buffer[256];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(buffer, sizeof buffer, format, arguments);
  va_end(arguments);
  return buffer;
}

template <typename T>
void expect_near(const Parity<T>& parity, const char* operation) {
  expect(parity.holds(), "%s %s: error %g, allowed %g", operation, dtype_name<T>(), parity.error(), parity.allowed());
}

}  // namespace sjd2::bench

#endif  // SJD2_CUDA_BENCH_H
