// Streams, status and error text.
#include "stream.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

#include "device/platform.cuh"

namespace sjd2::cuda {
namespace {

thread_local char error_text[512] = "";

#if defined(__CUDACC__)

const char* describe(int32_t error) { return cudaGetErrorString(static_cast<cudaError_t>(error)); }

// What leaves the context unusable: the caller has to close the backend.
bool loses_device(int32_t error) {
  switch (static_cast<cudaError_t>(error)) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorMisalignedAddress:
    case cudaErrorIllegalInstruction:
    case cudaErrorHardwareStackError:
    case cudaErrorInvalidPc:
    case cudaErrorAssert:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorDevicesUnavailable:
    case cudaErrorContextIsDestroyed:
    case cudaErrorCudartUnloading:
    case cudaErrorUnknown:
      return true;
    default:
      return false;
  }
}

int32_t wait(void* native) { return static_cast<int32_t>(cudaStreamSynchronize(static_cast<cudaStream_t>(native))); }

int32_t allocate(sjd2_stream_t* stream) {
  void *workspace = nullptr, *fault = nullptr;
  cudaError_t status = cudaMalloc(&workspace, static_cast<size_t>(kWorkspaceBytes));
  if (status == cudaSuccess) status = cudaHostAlloc(&fault, sizeof(Fault), cudaHostAllocMapped | cudaHostAllocPortable);
  if (status != cudaSuccess) cudaFree(workspace);
  stream->workspace = static_cast<char*>(workspace);
  stream->fault = static_cast<Fault*>(fault);
  return static_cast<int32_t>(status);
}

void release(sjd2_stream_t* stream) {
  cudaFree(stream->workspace);
  cudaFreeHost(stream->fault);
}

#else

const char* describe(int32_t) { return emulation::last_message(); }

bool loses_device(int32_t error) { return error >= 700; }

int32_t wait(void* native) { return emulation::synchronize(native); }

int32_t allocate(sjd2_stream_t* stream) {
  emulation::find_driver();
  stream->workspace = static_cast<char*>(std::aligned_alloc(256, static_cast<size_t>(kWorkspaceBytes)));
  stream->fault = static_cast<Fault*>(std::malloc(sizeof(Fault)));
  return stream->workspace != nullptr && stream->fault != nullptr ? 0 : 2;
}

void release(sjd2_stream_t* stream) {
  std::free(stream->workspace);
  std::free(stream->fault);
}

#endif

int32_t failed(const char* what, int32_t error) {
  return fail(loses_device(error) ? SJD2_DEVICE_LOST : SJD2_LAUNCH_FAILED, "%s: CUDA error %d: %s", what, error,
              describe(error));
}

const char* name_of(int32_t operation) {
  switch (operation) {
    case kAttention:
      return "attention";
    case kRopeAppend:
      return "rope_append";
    case kWindowInput:
      return "window_input";
    case kTargetProbs:
      return "target_probs";
    default:
      return "verify";
  }
}

float float_of(int64_t bits) {
  const auto word = static_cast<uint32_t>(bits);
  float value;
  std::memcpy(&value, &word, sizeof value);
  return value;
}

// What a kernel saw, in words.
int32_t report(const Fault& fault) {
  const auto a = static_cast<long long>(fault.values[0]), b = static_cast<long long>(fault.values[1]),
             c = static_cast<long long>(fault.values[2]);
  const char* const operation = name_of(fault.operation);
  switch (fault.kind) {
    case kBadId:
      return fail(SJD2_BAD_ARGUMENT, "embed: ids[%lld] is %lld, expected 0..vocab=%lld exclusive", a, b, c);
    case kBadImage:
      return fail(SJD2_BAD_ARGUMENT, "sequence_input: sequence %lld belongs to image %lld, expected 0..%lld exclusive", a, b,
                  c);
    case kBeyondGrid:
      return fail(SJD2_BAD_SHAPE, "sequence_input: image %lld predicts up to position %lld of a grid of %lld", a, b, c);
    case kBadRows:
      return fail(SJD2_BAD_ARGUMENT, "%s: sequence %lld has %lld rows, expected 0..max_window=%lld", operation, a, b, c);
    case kBeyondCache:
      return fail(SJD2_BAD_SHAPE, "%s: sequence %lld has rows up to entry %lld, the cache has %lld", operation, a, b, c);
    case kBeyondRope:
      return fail(SJD2_BAD_SHAPE, "%s: sequence %lld has rows up to position %lld, the rotary table has %lld", operation, a,
                  b, c);
    case kBadWindow:
      return fail(SJD2_BAD_ARGUMENT, "%s: image %lld has window %lld, expected 1..max_window=%lld", operation, a, b, c);
    case kBadProgress:
      return fail(SJD2_BAD_ARGUMENT, "%s: image %lld has %lld of %lld positions, expected at most max_length", operation, a,
                  b, c);
    case kBadLevels:
      return fail(SJD2_BAD_ARGUMENT,
                  "window_input: image %lld has %lld levels, expected 0..n_levels=%lld, above 0 only with noise tensors", a, b,
                  c);
    case kBadToken:
      return fail(SJD2_BAD_ARGUMENT, "window_input: token %lld has no row in a table of %lld", a, b);
    case kBadTemperature:
      return fail(SJD2_BAD_ARGUMENT, "target_probs: image %lld has temperature %g, expected a number > 0", a,
                  static_cast<double>(float_of(fault.values[1])));
    case kBadSequences:
      return fail(SJD2_BAD_ARGUMENT, "target_probs: image %lld has sequences %lld and %lld, expected some of the batch", a, b,
                  c);
    case kBadDecoder:
      return fail(SJD2_BAD_ARGUMENT, "verify: image %lld has decoder %lld, expected 0..%lld", a, b, c);
    case kBadDraft:
      return fail(SJD2_BAD_ARGUMENT, "verify_given: draft %lld is %lld, expected a code below %lld", a, b, c);
    default:
      return fail(SJD2_BAD_ARGUMENT, "log_likelihood: target %lld is %lld, expected a code below %lld", a, b, c);
  }
}

}  // namespace

int32_t fail(int32_t status, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(error_text, sizeof error_text, format, arguments);
  va_end(arguments);
  return status;
}

int32_t launch_failed(const char* kernel, int32_t error) { return failed(kernel, error); }

}  // namespace sjd2::cuda

using sjd2::cuda::fail;

SJD2_EXPORT int32_t sjd2_abi_version(void) { return SJD2_ABI_VERSION; }

SJD2_EXPORT const char* sjd2_last_error(void) { return sjd2::cuda::error_text; }

SJD2_EXPORT const char* sjd2_isa(void) {
#if defined(__CUDACC__)
  static char name[16] = "sm";
  int device = 0, major = 0, minor = 0;
  if (cudaGetDevice(&device) == cudaSuccess &&
      cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
      cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) == cudaSuccess) {
    std::snprintf(name, sizeof name, "sm%d%d", major, minor);
  }
  return name;
#else
  return "emulated";
#endif
}

SJD2_EXPORT int32_t sjd2_stream_create(sjd2_stream* out, int32_t, void* native) {
  if (out == nullptr) return fail(SJD2_BAD_ARGUMENT, "stream_create: a required pointer is NULL");
  auto* stream = new (std::nothrow) sjd2_stream_t{native, nullptr, nullptr};
  const int32_t error = stream != nullptr ? sjd2::cuda::allocate(stream) : 2;
  if (error != 0) {
    delete stream;
    constexpr int32_t kNoMemory = 2;  // of cudart and of the driver alike; anything else is no lack of memory
    if (error != kNoMemory) return sjd2::cuda::failed("stream_create", error);
    return fail(SJD2_OUT_OF_MEMORY, "stream_create: no memory for a workspace of %lld bytes: CUDA error %d: %s",
                static_cast<long long>(sjd2::cuda::kWorkspaceBytes), error, sjd2::cuda::describe(error));
  }
  *stream->fault = {};
  *out = stream;
  return SJD2_OK;
}

SJD2_EXPORT int32_t sjd2_stream_threads(sjd2_stream stream, int32_t* out) {
  if (stream == nullptr || out == nullptr) return fail(SJD2_BAD_ARGUMENT, "stream_threads: a required pointer is NULL");
  *out = 1;
  return SJD2_OK;
}

SJD2_EXPORT int32_t sjd2_stream_synchronize(sjd2_stream stream) {
  if (stream == nullptr) return fail(SJD2_BAD_ARGUMENT, "stream_synchronize: a required pointer is NULL");
  const int32_t error = sjd2::cuda::wait(stream->native);
  if (error != 0) return sjd2::cuda::failed("stream_synchronize", error);
  if (stream->fault->kind == sjd2::cuda::kNoFault) return SJD2_OK;
  const sjd2::cuda::Fault fault = *stream->fault;
  *stream->fault = {};
  return sjd2::cuda::report(fault);
}

SJD2_EXPORT int32_t sjd2_stream_destroy(sjd2_stream stream) {
  if (stream == nullptr) return SJD2_OK;
  const int32_t error = sjd2::cuda::wait(stream->native);
  sjd2::cuda::release(stream);
  delete stream;
  return error == 0 ? SJD2_OK : sjd2::cuda::failed("stream_destroy", error);
}
