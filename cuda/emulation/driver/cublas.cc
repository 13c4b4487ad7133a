// cuBLAS on the CPU, as far as the CUDA backend uses it: handles, streams, workspaces and general products in
// f32. Column-major like the original. Sums are f32, in an order that depends on the number of columns, as the
// library's choice of an algorithm does: whoever needs a column's bits whatever stands beside it must not come here.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <set>

#include "fake_driver.h"

#ifndef SJD2_FAKE_CUBLAS_VERSION
#define SJD2_FAKE_CUBLAS_VERSION 120600
#endif

#define API extern "C" __attribute__((visibility("default"))) int32_t

extern "C" int32_t cuStreamIsCapturing(void* stream, int32_t* status);

namespace {

// cublasStatus_t
constexpr int32_t kSuccess = 0;
constexpr int32_t kNotInitialized = 1;
constexpr int32_t kInvalidValue = 7;
constexpr int32_t kExecutionFailed = 13;
constexpr int32_t kNotSupported = 15;

// cudaDataType, cublasComputeType_t
constexpr int32_t kReal32 = 0;
constexpr int32_t kRealBf16 = 14;
constexpr int32_t kCompute32 = 68;
constexpr int32_t kComputePedantic32 = 69;

struct Handle {
  void* stream = nullptr;
  uint64_t workspace = 0;
};

std::mutex lock;
std::set<Handle*> handles;

Handle* find(void* handle) {
  std::lock_guard<std::mutex> hold(lock);
  auto* wanted = static_cast<Handle*>(handle);
  return handles.count(wanted) == 0 ? nullptr : wanted;
}

struct Product {
  int64_t m, n, k, lda, ldb, ldc;
  uint64_t a, b, c;
  int32_t transpose_a, transpose_b, type, type_c;
  float alpha, beta;
};

float element(uint64_t base, int64_t index, int32_t type) {
  if (type == kReal32) {
    float value;
    std::memcpy(&value, reinterpret_cast<const char*>(base) + index * 4, 4);
    return value;
  }
  uint16_t half;
  std::memcpy(&half, reinterpret_cast<const char*>(base) + index * 2, 2);
  const uint32_t bits = static_cast<uint32_t>(half) << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

// [rows, columns] as it lies in memory, column-major.
uint64_t extent(int64_t rows, int64_t columns, int64_t leading, int32_t type) {
  return static_cast<uint64_t>((columns - 1) * leading + rows) * (type == kReal32 ? 4 : 2);
}

int32_t multiply(const void* arguments, char* message, size_t capacity) {
  Product p;
  std::memcpy(&p, arguments, sizeof p);
  const int64_t a_rows = p.transpose_a != 0 ? p.k : p.m;
  const int64_t b_rows = p.transpose_b != 0 ? p.n : p.k;
  // As late as the product itself: at a replay the memory may be gone.
  if (sjd2_emu_is_device_memory(p.a, extent(a_rows, p.m + p.k - a_rows, p.lda, p.type)) == 0 ||
      sjd2_emu_is_device_memory(p.b, extent(b_rows, p.n + p.k - b_rows, p.ldb, p.type)) == 0 ||
      sjd2_emu_is_device_memory(p.c, extent(p.m, p.n, p.ldc, p.type_c)) == 0) {
    std::snprintf(message, capacity, "an operand of m=%lld n=%lld k=%lld is outside of device memory",
                  static_cast<long long>(p.m), static_cast<long long>(p.n), static_cast<long long>(p.k));
    return 700;  // CUDA_ERROR_ILLEGAL_ADDRESS
  }
  auto* c = reinterpret_cast<char*>(p.c);
  // Parts of k, each summed upwards, the last one first: never the order of the backend's own product.
  const int64_t parts = 2 + p.n % 5, part = (p.k + parts - 1) / parts;
  for (int64_t j = 0; j < p.n; ++j) {
    for (int64_t i = 0; i < p.m; ++i) {
      float sum = 0;
      for (int64_t first = (parts - 1) * part; first >= 0; first -= part) {
        float partial = 0;
        for (int64_t l = first; l < first + part && l < p.k; ++l) {
          const float x = element(p.a, p.transpose_a != 0 ? i * p.lda + l : l * p.lda + i, p.type);
          const float y = element(p.b, p.transpose_b != 0 ? l * p.ldb + j : j * p.ldb + l, p.type);
          partial += x * y;
        }
        sum += partial;
      }
      float value = p.alpha * sum;
      const int64_t at = (j * p.ldc + i) * 4;
      if (p.beta != 0) {
        float before;
        std::memcpy(&before, c + at, 4);
        value += p.beta * before;
      }
      std::memcpy(c + at, &value, 4);
    }
  }
  return 0;
}

}  // namespace

API cublasCreate_v2(void** out) {
  auto* made = new Handle;
  std::lock_guard<std::mutex> hold(lock);
  handles.insert(made);
  *out = made;
  return kSuccess;
}

API cublasDestroy_v2(void* handle) {
  Handle* found = find(handle);
  if (found == nullptr) return kNotInitialized;
  std::lock_guard<std::mutex> hold(lock);
  handles.erase(found);
  delete found;
  return kSuccess;
}

API cublasGetVersion_v2(void*, int32_t* version) {
  *version = SJD2_FAKE_CUBLAS_VERSION;
  return kSuccess;
}

API cublasSetStream_v2(void* handle, void* stream) {
  Handle* found = find(handle);
  if (found == nullptr) return kNotInitialized;
  found->stream = stream;
  found->workspace = 0;  // as the library does: a new stream means its default workspace
  return kSuccess;
}

API cublasSetWorkspace_v2(void* handle, void* workspace, size_t bytes) {
  Handle* found = find(handle);
  if (found == nullptr) return kNotInitialized;
  const auto address = reinterpret_cast<uint64_t>(workspace);
  if (address % 256 != 0 || sjd2_emu_is_device_memory(address, bytes) == 0) return kInvalidValue;
  found->workspace = address;
  return kSuccess;
}

API cublasSetMathMode(void* handle, int32_t) { return find(handle) == nullptr ? kNotInitialized : kSuccess; }

API cublasGemmEx(void* handle, int32_t transpose_a, int32_t transpose_b, int32_t m, int32_t n, int32_t k,
                 const void* alpha, const void* a, int32_t type_a, int32_t lda, const void* b, int32_t type_b,
                 int32_t ldb, const void* beta, void* c, int32_t type_c, int32_t ldc, int32_t compute,
                 int32_t) {
  Handle* found = find(handle);
  if (found == nullptr) return kNotInitialized;
  if (m < 1 || n < 1 || k < 1 || transpose_a < 0 || transpose_a > 1 || transpose_b < 0 || transpose_b > 1 ||
      lda < (transpose_a != 0 ? k : m) || ldb < (transpose_b != 0 ? n : k) || ldc < m) {
    return kInvalidValue;
  }
  if (type_a != type_b || (type_a != kReal32 && type_a != kRealBf16) || type_c != kReal32 ||
      (compute != kCompute32 && compute != kComputePedantic32)) {
    return kNotSupported;
  }
  // The library would allocate one while the graph is captured, a different one each time; the backend must
  // not let it.
  int32_t capturing = 0;
  if (cuStreamIsCapturing(found->stream, &capturing) != 0) return kExecutionFailed;
  if (capturing != 0 && found->workspace == 0) return kExecutionFailed;
  Product p{m,
            n,
            k,
            lda,
            ldb,
            ldc,
            reinterpret_cast<uint64_t>(a),
            reinterpret_cast<uint64_t>(b),
            reinterpret_cast<uint64_t>(c),
            transpose_a,
            transpose_b,
            type_a,
            type_c,
            0,
            0};
  std::memcpy(&p.alpha, alpha, sizeof p.alpha);
  std::memcpy(&p.beta, beta, sizeof p.beta);
  return sjd2_emu_enqueue(found->stream, "cublasGemmEx", multiply, &p, sizeof p) == 0 ? kSuccess
                                                                                      : kExecutionFailed;
}

extern "C" __attribute__((visibility("default"))) const char* cublasGetStatusString(int32_t status) {
  switch (status) {
    case kSuccess:
      return "success";
    case kNotInitialized:
      return "the library was not initialized";
    case kInvalidValue:
      return "an unsupported value or parameter was passed to the function";
    case kExecutionFailed:
      return "the GPU program failed to execute";
    case kNotSupported:
      return "the functionality requested is not supported";
    default:
      return "unknown status";
  }
}
