// window_input: fresh slots, one step of denoising, and the pass's input embeddings.
#include "check.h"
#include "device/decode.cuh"

namespace sjd2::cuda {
namespace {

constexpr uint32_t kThreads = 256;

template <typename T>
struct WindowCall {
  float* input;
  float* noisy;
  sjd2_draft* drafts;
  const sjd2_image* images;
  const int32_t* tokens;
  const T* table;
  const int32_t* token_rows;
  const float* mean;
  const float* std;
  const float* level_embed;
  const float* lambda;
  const float* alpha;
  const int32_t* forced;
  int64_t max_window, max_length, hidden, table_rows, codes, n_levels;
};

// The token's row, or the table's first after a fault.
template <typename T>
__device__ const T* embedding(const WindowCall<T>& call, int32_t token, Fault* fault) {
  const int64_t row = call.token_rows == nullptr || token < 0 ? token : call.token_rows[token];
  if (row >= 0 && row < call.table_rows) return call.table + row * call.hidden;
  if (threadIdx.x == 0) raise(fault, kBadToken, token, call.table_rows);
  return call.table;
}

// A block owns one slot of one image, a thread every blockDim.x-th four of its dimensions: a Philox block's normals. The
// slot's state comes first, then the input row that shows it to the next position.
//   registers  four normals of a fresh slot
//   bytes      hidden (sizeof(T) + 4 written), with noise 12 more and five rows of the noise tables from the caches
//   FLOP       hidden times: 1 to copy, some 8 in f64 to denoise, some 60 to draw noise
//   source     docs/decoding.md, "z-path" (after arXiv:2510.08994)
template <typename T>
__global__ void __launch_bounds__(kThreads) window_input_slots_kernel(const WindowCall<T> call, Fault* fault) {
  const int64_t i = blockIdx.x / call.max_window, slot = blockIdx.x % call.max_window, hidden = call.hidden;
  const sjd2_image image = call.images[i];
  if (!image_fits(kWindowInput, image, i, call.max_window, call.max_length, fault)) return;
  const bool noise = call.noisy != nullptr && call.mean != nullptr && call.std != nullptr && call.level_embed != nullptr &&
                     call.lambda != nullptr && call.alpha != nullptr;
  if (image.levels < 0 || (image.levels > 0 && (!noise || image.levels > call.n_levels))) {
    if (threadIdx.x == 0) raise(fault, kBadLevels, i, image.levels, call.n_levels);
    return;
  }
  const int64_t rows = live_rows(image, call.max_window);
  if (slot >= rows) return;
  const int64_t position = image.committed + slot, ring = i * call.max_window + position % call.max_window;
  const sjd2_draft before = call.drafts[ring];
  __syncthreads();  // every thread has read the slot that the first one writes
  sjd2_draft draft = before;
  bool fresh = false;
  if (before.kind == SJD2_DRAFT_NONE) {
    const int32_t structural = forced_token(call.forced, position);
    if (structural >= 0) {
      draft.token = structural;
      draft.kind = SJD2_DRAFT_FORCED;
      draft.level = 0;
    } else if (image.levels > 0) {
      draft.level = image.levels;
      fresh = true;
    } else if (slot < rows - 1) {
      const uint32_t high = stream_high(SJD2_PURPOSE_INIT, 0);
      const uint32_t word = philox(key_of(image), 0, image.index, static_cast<uint32_t>(position), high).word[0];
      draft.token = static_cast<int32_t>(static_cast<uint64_t>(word) * static_cast<uint64_t>(call.codes) >> 32);
      draft.kind = SJD2_DRAFT_UNIFORM;
    }
  }
  if (threadIdx.x == 0) call.drafts[ring] = draft;

  const bool stepped = before.kind == SJD2_DRAFT_ROW && before.level > 0;
  const bool shown = slot + 1 < rows;
  float* input = call.input + i * call.max_window * hidden;
  float* z = call.noisy != nullptr ? call.noisy + ring * hidden : nullptr;
  const T* token = stepped || (shown && draft.level == 0) ? embedding(call, draft.token, fault) : nullptr;
  const T* last = slot == 0 && image.committed > 0
                      ? embedding(call, call.tokens[i * call.max_length + image.committed - 1], fault)
                      : nullptr;
  // z' = r z + (1 - r) norm(E[token]). docs/decoding.md, "z-path".
  const double keep = stepped ? static_cast<double>(call.lambda[draft.level]) / call.lambda[draft.level + 1] : 0.0;
  const double take = 1 - keep;
  const uint32_t noise_high = stream_high(SJD2_PURPOSE_NOISE, 0);
  for (int64_t first = threadIdx.x * 4; first < hidden; first += blockDim.x * 4) {
    float normals[4] = {};
    if (fresh) {
      philox_normals(normals, philox(key_of(image), static_cast<uint32_t>(first / 4), image.index,
                                     static_cast<uint32_t>(position), noise_high));
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int64_t d = first + j;
      if (d >= hidden) continue;
      if (last != nullptr) input[d] = load_as_float(last + d);
      float state = 0.0f;
      if (fresh) {
        state = normals[j] * call.lambda[image.levels];
        z[d] = state;
      } else if (stepped) {
        const double clean = (static_cast<double>(load_as_float(token + d)) - call.mean[d]) / call.std[d];
        state = static_cast<float>(keep * z[d] + take * clean);
        z[d] = state;
      } else if (shown && draft.level > 0) {
        state = z[d];
      }
      if (!shown) continue;
      float* out = input + (slot + 1) * hidden + d;
      if (draft.level == 0) {
        *out = load_as_float(token + d);
      } else {
        const double mixed = call.mean[d] + call.std[d] * (static_cast<double>(call.alpha[draft.level]) * state);
        *out = static_cast<float>(mixed + call.level_embed[draft.level * hidden + d]);
      }
    }
  }
}

template <typename T>
int32_t launch_window_input(sjd2_stream stream, const WindowCall<T>& call, int64_t n_images) {
  Check check("window_input");
  check.not_null(stream, call.input, call.drafts, call.images, call.tokens, call.table);
  check.at_least("n_images", n_images, 1, SJD2_BAD_SHAPE).at_least("max_window", call.max_window, 1, SJD2_BAD_SHAPE);
  check.at_least("max_length", call.max_length, 1, SJD2_BAD_SHAPE).at_least("hidden", call.hidden, 1, SJD2_BAD_SHAPE);
  check.at_least("table_rows", call.table_rows, 1, SJD2_BAD_SHAPE).at_least("codes", call.codes, 1, SJD2_BAD_SHAPE);
  if (check.ok()) check.rows(n_images, call.max_window);
  if (!check.ok()) return check.status();
  SJD2_LAUNCH(window_input_slots_kernel<T>, dim3(static_cast<uint32_t>(n_images * call.max_window)),
              dim3(row_threads(call.hidden, kThreads)), 0, stream, call, stream->fault);
  return SJD2_OK;
}

}  // namespace
}  // namespace sjd2::cuda

SJD2_EXPORT int32_t sjd2_window_input_f32(sjd2_stream stream, float* input, float* noisy, sjd2_draft* drafts,
                                          const sjd2_image* images, const int32_t* tokens, const float* table,
                                          const int32_t* token_rows, const float* mean, const float* std,
                                          const float* level_embed, const float* lambda, const float* alpha,
                                          const int32_t* forced, int64_t n_images, int64_t max_window, int64_t max_length,
                                          int64_t hidden, int64_t table_rows, int64_t codes, int64_t n_levels) {
  return sjd2::cuda::launch_window_input<float>(stream,
                                                {input, noisy, drafts, images, tokens, table, token_rows, mean, std,
                                                 level_embed, lambda, alpha, forced, max_window, max_length, hidden,
                                                 table_rows, codes, n_levels},
                                                n_images);
}

SJD2_EXPORT int32_t sjd2_window_input_bf16(sjd2_stream stream, float* input, float* noisy, sjd2_draft* drafts,
                                           const sjd2_image* images, const int32_t* tokens, const uint16_t* table,
                                           const int32_t* token_rows, const float* mean, const float* std,
                                           const float* level_embed, const float* lambda, const float* alpha,
                                           const int32_t* forced, int64_t n_images, int64_t max_window, int64_t max_length,
                                           int64_t hidden, int64_t table_rows, int64_t codes, int64_t n_levels) {
  return sjd2::cuda::launch_window_input<uint16_t>(stream,
                                                   {input, noisy, drafts, images, tokens, table, token_rows, mean, std,
                                                    level_embed, lambda, alpha, forced, max_window, max_length, hidden,
                                                    table_rows, codes, n_levels},
                                                   n_images);
}
