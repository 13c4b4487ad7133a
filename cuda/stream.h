// A stream of the CUDA library: the caller's CUstream, a workspace, and the word in which kernels report what they found.
#ifndef SJD2_CUDA_STREAM_H
#define SJD2_CUDA_STREAM_H

#include <cstdint>

#include "sjd2/kernels.h"

#define SJD2_EXPORT extern "C" __attribute__((visibility("default")))

namespace sjd2::cuda {

// What only a kernel can see: state and ids live in the device's memory. Each has one message, in stream.cu.
enum FaultKind : int32_t {
  kNoFault,
  kBadId,              // embed: row, id, vocab
  kBadImage,           // sequence_input: sequence, image, n_images
  kBeyondGrid,         // sequence_input: image, end, grid
  kBadRows,            // rope_append, attention: sequence, rows, max_window
  kBeyondCache,        // rope_append, attention: sequence, end, capacity
  kBeyondRope,         // rope_append: sequence, end, rope_len
  kBadWindow,          // the decode operations: image, window, max_window
  kBadProgress,        // the decode operations: image, committed, length
  kBadLevels,          // window_input: image, levels, n_levels
  kBadToken,           // window_input: token, table_rows
  kBadTemperature,     // target_probs: image, the temperature's bits
  kBadSequences,       // target_probs: image, cond, uncond
  kBadDecoder,         // verify: image, decoder
  kBadDraft,           // verify_given: row, draft, codes
  kBadTarget           // log_likelihood: row, target, codes
};

// Whose fault it is where several operations look for it.
enum FaultOperation : int32_t { kOneOperation, kAttention, kRopeAppend, kWindowInput, kTargetProbs, kVerify };

// In host memory that the device sees. The first fault stays until it is read.
struct Fault {
  int32_t kind;
  int32_t operation;
  int64_t values[3];
};

// Remembers a printf-formatted message for sjd2_last_error() of the calling thread and returns `status`.
int32_t fail(int32_t status, const char* format, ...) __attribute__((format(printf, 2, 3), cold));

// A launch that the device refused, as a status with its message.
int32_t launch_failed(const char* kernel, int32_t error);

constexpr int64_t kWorkspaceBytes = int64_t{64} << 20;

}  // namespace sjd2::cuda

struct sjd2_stream_t {
  void* native;
  sjd2::cuda::Fault* fault;
  char* workspace;  // kWorkspaceBytes, 256-byte aligned; nothing in it survives an operation
};

#endif  // SJD2_CUDA_STREAM_H
