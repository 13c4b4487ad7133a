// sequence_input: the window's input, handed to every sequence of its image.
#include "check.h"
#include "device/rows.cuh"

namespace sjd2::cuda {
namespace {

constexpr uint32_t kThreads = 256;

// A block owns one row of x, a thread every blockDim.x-th element of it.
//   bytes      4 hidden read and written, twice more read from the caches with row and column embeddings;  FLOP  2 hidden
//   source     docs/decoding.md, "The loop"
__global__ void __launch_bounds__(kThreads)
    sequence_input_rows_kernel(float* x, const float* window_input, const float* last_prompt, const float* row_embed,
                               const float* col_embed, const sjd2_sequence* sequences, const sjd2_image* images,
                               int64_t n_images, int64_t max_window, int64_t hidden, int64_t grid_height, int64_t grid_width,
                               Fault* fault) {
  const int64_t b = blockIdx.x / max_window, w = blockIdx.x % max_window;
  const sjd2_sequence sequence = sequences[b];
  if (w >= sequence.rows) return;
  if (sequence.image < 0 || sequence.image >= n_images) {
    if (threadIdx.x == 0) raise(fault, kBadImage, b, sequence.image, n_images);
    return;
  }
  const int64_t committed = images[sequence.image].committed;
  const int64_t end = committed + sequence.rows, places = grid_height * grid_width;
  if (committed < 0 || (row_embed != nullptr && end > places)) {
    if (threadIdx.x == 0) raise(fault, kBeyondGrid, sequence.image, end, places);
    return;
  }
  const int64_t t = committed + w;
  const float* source = t == 0 ? last_prompt + b * hidden : window_input + (sequence.image * max_window + w) * hidden;
  float* target = x + static_cast<int64_t>(blockIdx.x) * hidden;
  const float* row = row_embed != nullptr ? row_embed + t / grid_width * hidden : nullptr;
  const float* col = row_embed != nullptr ? col_embed + t % grid_width * hidden : nullptr;
  for (int64_t i = threadIdx.x; i < hidden; i += blockDim.x) {
    target[i] = row != nullptr ? source[i] + row[i] + col[i] : source[i];
  }
}

}  // namespace
}  // namespace sjd2::cuda

SJD2_EXPORT int32_t sjd2_sequence_input_f32(sjd2_stream stream, float* x, const float* window_input, const float* last_prompt,
                                            const float* row_embed, const float* col_embed, const sjd2_sequence* sequences,
                                            const sjd2_image* images, int64_t batch, int64_t n_images, int64_t max_window,
                                            int64_t hidden, int64_t grid_height, int64_t grid_width) {
  using namespace sjd2::cuda;
  Check check("sequence_input");
  check.rows(batch, max_window).at_least("hidden", hidden, 1);
  check.not_null(stream, x, window_input, last_prompt, sequences, images).at_least("n_images", n_images, 0);
  if ((row_embed == nullptr) != (col_embed == nullptr)) check.not_null(row_embed, col_embed);
  if (row_embed != nullptr) check.at_least("grid_height", grid_height, 1).at_least("grid_width", grid_width, 1);
  if (!check.ok()) return check.status();
  SJD2_LAUNCH(sequence_input_rows_kernel, dim3(static_cast<uint32_t>(batch * max_window)),
              dim3(row_threads(hidden, kThreads)), 0, stream, x, window_input, last_prompt, row_embed, col_embed, sequences,
              images, n_images, max_window, hidden, grid_height, grid_width, stream->fault);
  return SJD2_OK;
}
