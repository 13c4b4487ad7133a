// What the tests of libsjd2_cuda share: seeded numbers, guarded device buffers, tolerances, and a count of what failed.
// Over the emulation the device's memory is the process's own; with SJD2_GPU it is a GPU's.
#ifndef SJD2_CUDA_TESTS_CHECK_H
#define SJD2_CUDA_TESTS_CHECK_H

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <vector>

#include "sjd2/kernels.h"

#if defined(SJD2_GPU)
#include <cuda_runtime_api.h>
#endif

namespace sjd2::test {

inline int failures = 0;
inline int checks = 0;

__attribute__((format(printf, 2, 3))) inline bool expect(bool condition, const char* format, ...) {
  ++checks;
  if (condition) return true;
  if (++failures <= 40) {
    std::printf("FAILED ");
    va_list arguments;
    va_start(arguments, format);
    std::vprintf(format, arguments);
    va_end(arguments);
    std::printf("\n");
  }
  return false;
}

// A seeded generator; the seed is part of each case's name, so every number can be had again.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15ull + 1) {}

  uint64_t word() {
    uint64_t z = (state_ += 0x9E3779B97F4A7C15ull);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
  }
  double uniform() { return static_cast<double>(word() >> 11) * 0x1p-53; }
  // Roughly normal: the sum of four uniforms, so that no value is extreme.
  double normal() { return (uniform() + uniform() + uniform() + uniform() - 2.0) * 1.7320508; }
  int64_t below(int64_t n) { return static_cast<int64_t>(word() % static_cast<uint64_t>(n)); }

 private:
  uint64_t state_;
};

inline float widen(float v) { return v; }
inline float widen(uint16_t v) {
  const uint32_t bits = static_cast<uint32_t>(v) << 16;
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}

template <typename T>
T narrow(float v) {
  if constexpr (std::is_same_v<T, float>) {
    return v;
  } else {
    uint32_t bits;
    std::memcpy(&bits, &v, 4);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<uint16_t>((bits | 0x400000u) >> 16);
    return static_cast<uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
  }
}

template <typename T>
const char* dtype_name() {
  return std::is_same_v<T, float> ? "f32" : "bf16";
}
template <typename T>
constexpr int32_t dtype() {
  return std::is_same_v<T, float> ? SJD2_F32 : SJD2_BF16;
}

// f32 or b16, by the first pointer's type.
template <typename T, typename F32, typename B16, typename... Arguments>
int32_t call(F32 f32, B16 b16, sjd2_stream stream, T* out, Arguments... arguments) {
  if constexpr (std::is_same_v<T, float>) {
    (void)b16;
    return f32(stream, out, arguments...);
  } else {
    (void)f32;
    return b16(stream, out, arguments...);
  }
}

#if defined(SJD2_GPU)
inline void cuda_ok(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  std::printf("%s: %s\n", what, cudaGetErrorString(status));
  std::exit(2);
}
inline void* device_allocate(size_t bytes) {
  void* p = nullptr;
  cuda_ok(cudaMalloc(&p, bytes), "cudaMalloc");
  return p;
}
inline void device_free(void* p) { cudaFree(p); }
inline void to_device(void* dst, const void* src, size_t bytes) {
  cuda_ok(cudaMemcpy(dst, src, bytes, cudaMemcpyHostToDevice), "copy to the device");
}
inline void to_host(void* dst, const void* src, size_t bytes) {
  cuda_ok(cudaMemcpy(dst, src, bytes, cudaMemcpyDeviceToHost), "copy to the host");
}
#else
inline void* device_allocate(size_t bytes) {
  void* p = nullptr;
  if (posix_memalign(&p, 256, bytes) != 0) std::exit(2);
  return p;
}
inline void device_free(void* p) { std::free(p); }
inline void to_device(void* dst, const void* src, size_t bytes) { std::memcpy(dst, src, bytes); }
inline void to_host(void* dst, const void* src, size_t bytes) { std::memcpy(dst, src, bytes); }
#endif

// Where a buffer's first element lies: as an allocation's, or aligned to the element and to nothing more.
enum class Place { kAligned, kAskew };

// Elements between two bands of a pattern, on the host and on the device: filled and read here, in() and at() hand the
// device's copy to an operation.
template <typename T>
class Guarded {
 public:
  explicit Guarded(int64_t n, Place place = Place::kAskew)
      : n_(n), offset_(kBand + (place == Place::kAskew ? 1 : 0)), all_(static_cast<size_t>(n + 2 * kBand + 1)) {
    std::memset(static_cast<void*>(all_.data()), kPattern, bytes());
    device_ = static_cast<T*>(device_allocate(bytes()));
    to_device(device_, all_.data(), bytes());
  }
  ~Guarded() { device_free(device_); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  T* data() { return all_.data() + offset_; }
  const T* data() const { return all_.data() + offset_; }
  T& operator[](int64_t i) { return data()[i]; }
  const T& operator[](int64_t i) const { return data()[i]; }
  int64_t size() const { return n_; }

  // The device's copy as it is.
  T* at(int64_t i = 0) { return device_ + offset_ + i; }
  // The device's copy, brought up to date.
  T* in() {
    to_device(device_, all_.data(), bytes());
    return at();
  }
  // Brings the host's copy up to date. The stream has to be idle.
  void fetch() { to_host(all_.data(), device_, bytes()); }

  void fill_normal(Random& random, double scale = 1.0) {
    for (int64_t i = 0; i < n_; ++i) data()[i] = narrow<T>(static_cast<float>(random.normal() * scale));
  }
  void fill(T value) {
    for (int64_t i = 0; i < n_; ++i) data()[i] = value;
  }

  bool untouched(int64_t i) const {
    const auto* bytes = reinterpret_cast<const unsigned char*>(data() + i);
    for (size_t j = 0; j < sizeof(T); ++j) {
      if (bytes[j] != kPattern) return false;
    }
    return true;
  }
  bool bands_intact() const {
    for (int64_t i = -offset_; i < static_cast<int64_t>(all_.size()) - offset_; ++i) {
      if ((i < 0 || i >= n_) && !untouched(i)) return false;
    }
    return true;
  }

 private:
  size_t bytes() const { return all_.size() * sizeof(T); }

  static constexpr int64_t kBand = 64;  // keeps an aligned buffer aligned
  static constexpr unsigned char kPattern = 0xE7;  // as f32 or bf16 a huge negative number: it shows if it is read
  int64_t n_, offset_;
  std::vector<T> all_;
  T* device_ = nullptr;
};

// err(kernel) <= 2 err(naive loop in the same dtype) + 1 ulp, ulp of T at the largest magnitude expected.
template <typename T>
class Parity {
 public:
  void add(T got, double naive, double exact) {
    const double value = widen(got);
    if (!std::isfinite(value) || !std::isfinite(exact)) {
      if (std::isnan(value) == std::isnan(exact) && (std::isnan(exact) || value == exact)) return;
      error_ = INFINITY;
      return;
    }
    error_ = std::fmax(error_, std::fabs(value - exact));
    naive_ = std::fmax(naive_, std::fabs(static_cast<double>(widen(narrow<T>(static_cast<float>(naive)))) - exact));
    largest_ = std::fmax(largest_, std::fabs(exact));
  }
  bool holds() const { return error_ <= allowed(); }
  double error() const { return error_; }
  double allowed() const {
    int exponent = 0;
    std::frexp(largest_, &exponent);
    const double ulp = std::ldexp(1.0, exponent - (std::is_same_v<T, float> ? 24 : 8));
    return 2.0 * naive_ + ulp;
  }

 private:
  double error_ = 0.0, naive_ = 0.0, largest_ = 0.0;
};

inline sjd2_stream stream = nullptr;

// The call was taken and the device found nothing wrong with it.
inline bool ok(int32_t status, const char* what) {
  if (status == SJD2_OK) status = sjd2_stream_synchronize(stream);
  return expect(status == SJD2_OK, "%s: status %d: %s", what, status, sjd2_last_error());
}

// The call, or the device, refused.
inline void refused(int32_t status, int32_t expected, const char* what) {
  if (status == SJD2_OK) status = sjd2_stream_synchronize(stream);
  expect(status == expected && std::strlen(sjd2_last_error()) > 10, "%s: status %d, message '%s'", what, status,
         sjd2_last_error());
}

template <typename Body>
int run(const char* name, Body&& body) {
#if defined(SJD2_GPU)
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::printf("%s: skipped, no CUDA device\n", name);
    return 77;
  }
#endif
  if (sjd2_stream_create(&stream, 0, nullptr) != SJD2_OK) {
    std::printf("%s: %s\n", name, sjd2_last_error());
    return 2;
  }
  body();
  expect(sjd2_stream_destroy(stream) == SJD2_OK, "stream_destroy: %s", sjd2_last_error());
  std::printf("%s: %d checks, %d failed\n", name, checks, failures);
  return failures == 0 ? 0 : 1;
}

}  // namespace sjd2::test

#endif  // SJD2_CUDA_TESTS_CHECK_H
