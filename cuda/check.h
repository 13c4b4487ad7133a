// The checks of arguments that the host can see, with the CPU library's statuses and words.
#ifndef SJD2_CUDA_CHECK_H
#define SJD2_CUDA_CHECK_H

#include <cmath>

#include "stream.h"

namespace sjd2::cuda {

// The first thing wrong with a call; every check after it is skipped.
class Check {
 public:
  explicit Check(const char* operation) : operation_(operation) {}

  template <typename... Pointers>
  Check& not_null(Pointers... pointers) {
    const bool bad = (... || (pointers == nullptr));
    if (ok() && bad) status_ = fail(SJD2_BAD_ARGUMENT, "%s: a required pointer is NULL", operation_);
    return *this;
  }

  Check& at_least(const char* name, int64_t value, int64_t least, int32_t status = SJD2_BAD_ARGUMENT) {
    if (ok() && value < least) {
      status_ = fail(status, "%s: %s is %lld, expected at least %lld", operation_, name, static_cast<long long>(value),
                     static_cast<long long>(least));
    }
    return *this;
  }

  Check& within(const char* name, int64_t value, int64_t least, int64_t most) {
    if (ok() && (value < least || value > most)) {
      status_ = fail(SJD2_BAD_SHAPE, "%s: %s is %lld, expected %lld to %lld", operation_, name, static_cast<long long>(value),
                     static_cast<long long>(least), static_cast<long long>(most));
    }
    return *this;
  }

  // A launch's grid has at most 2^31 - 1 blocks along its first axis.
  Check& rows(int64_t batch, int64_t max_window) {
    at_least("batch", batch, 0).at_least("max_window", max_window, 0);
    if (ok() && max_window > 0 && batch > 0x7FFFFFFF / max_window) {
      status_ = fail(SJD2_BAD_SHAPE, "%s: %lld sequences of %lld rows are more than a launch can hold", operation_,
                     static_cast<long long>(batch), static_cast<long long>(max_window));
    }
    return *this;
  }

  Check& divides(const char* divisor_name, int64_t divisor, const char* name, int64_t value) {
    if (ok() && (divisor <= 0 || value % divisor != 0)) {
      status_ = fail(SJD2_BAD_SHAPE, "%s: %s=%lld does not divide %s=%lld", operation_, divisor_name,
                     static_cast<long long>(divisor), name, static_cast<long long>(value));
    }
    return *this;
  }

  Check& dtype(const char* name, int32_t value, bool allow_f16) {
    const bool known = value == SJD2_F32 || value == SJD2_BF16 || (allow_f16 && value == SJD2_F16);
    if (ok() && !known) {
      status_ = fail(SJD2_BAD_ARGUMENT, "%s: %s is %d, expected f32 (0)%s", operation_, name, value,
                     allow_f16 ? ", bf16 (1) or f16 (2)" : " or bf16 (1)");
    }
    return *this;
  }

  Check& positive(const char* name, float value) {
    if (ok() && !(value > 0.0f && std::isfinite(value))) {
      status_ = fail(SJD2_BAD_ARGUMENT, "%s: %s is %g, expected a positive number", operation_, name,
                     static_cast<double>(value));
    }
    return *this;
  }

  Check& not_negative(const char* name, float value) {
    if (ok() && !(value >= 0.0f && std::isfinite(value))) {
      status_ = fail(SJD2_BAD_ARGUMENT, "%s: %s is %g, expected a number >= 0", operation_, name, static_cast<double>(value));
    }
    return *this;
  }

  Check& head_dim(int64_t value) {
    if (ok() && (value <= 0 || value > 256 || value % 2 != 0)) {
      status_ = fail(SJD2_BAD_SHAPE, "%s: head_dim is %lld, expected an even number up to 256", operation_,
                     static_cast<long long>(value));
    }
    return *this;
  }

  int32_t status() const { return status_; }
  bool ok() const { return status_ == SJD2_OK; }

 private:
  const char* operation_;
  int32_t status_ = SJD2_OK;
};

}  // namespace sjd2::cuda

#endif  // SJD2_CUDA_CHECK_H
