#include <atomic>

#include "decode.h"

namespace sjd2::SJD2_ISA {
namespace {

template <typename T>
struct WindowInput {
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
  // The first token whose embedding is not in the table, or -1.
  std::atomic<int32_t> bad_token{-1};

  const T* embedding(int32_t token) {
    const int64_t row = token_rows == nullptr ? token : token_rows[token];
    if (token < 0 || row < 0 || row >= table_rows) {
      bad_token.store(token < 0 ? 0 : token, std::memory_order_relaxed);
      return table;
    }
    return table + row * hidden;
  }

  void copy_embedding(float* out, int32_t token) {
    const T* SJD2_RESTRICT from = embedding(token);
    for (int64_t d = 0; d < hidden; ++d) out[d] = load_as_float(from + d);
  }

  // The slot's state comes first, then the input row that shows it to the next position.
  void slot(int64_t i, int64_t slot, int64_t rows) {
    const sjd2_image& image = images[i];
    const int64_t position = image.committed + slot;
    const int64_t ring = i * max_window + position % max_window;
    sjd2_draft& draft = drafts[ring];
    float* z = noisy == nullptr ? nullptr : noisy + ring * hidden;
    if (draft.kind == SJD2_DRAFT_NONE) {
      start(image, position, slot < rows - 1, draft, z);
    } else if (draft.kind == SJD2_DRAFT_ROW && draft.level > 0) {
      denoise(draft, z);
    }
    float* window = input + i * max_window * hidden;
    if (slot == 0 && image.committed > 0) {
      copy_embedding(window, tokens[i * max_length + image.committed - 1]);
    }
    if (slot + 1 < rows) show(window + (slot + 1) * hidden, draft, z);
  }

  void start(const sjd2_image& image, int64_t position, bool is_input, sjd2_draft& draft, float* z) {
    const int32_t structural = forced_token(forced, position);
    if (structural >= 0) {
      draft.token = structural;
      draft.kind = SJD2_DRAFT_FORCED;
      draft.level = 0;
    } else if (image.levels > 0) {
      draft.level = image.levels;
      philox_normals(z, key_of(image), image.index, static_cast<uint32_t>(position), stream_high(SJD2_PURPOSE_NOISE, 0),
                     hidden);
      const float scale = lambda[image.levels];
      for (int64_t d = 0; d < hidden; ++d) z[d] *= scale;
    } else if (is_input) {
      const uint32_t high = stream_high(SJD2_PURPOSE_INIT, 0);
      const uint32_t word = philox(key_of(image), 0, image.index, static_cast<uint32_t>(position), high).word[0];
      draft.token = static_cast<int32_t>(static_cast<uint64_t>(word) * static_cast<uint64_t>(codes) >> 32);
      draft.kind = SJD2_DRAFT_UNIFORM;
    }
  }

  // z' = r z + (1 - r) norm(E[token]). docs/decoding.md, "z-path".
  void denoise(const sjd2_draft& draft, float* SJD2_RESTRICT z) {
    const double keep = static_cast<double>(lambda[draft.level]) / lambda[draft.level + 1];
    const double take = 1 - keep;
    const T* SJD2_RESTRICT from = embedding(draft.token);
    for (int64_t d = 0; d < hidden; ++d) {
      const double clean = (static_cast<double>(load_as_float(from + d)) - mean[d]) / std[d];
      z[d] = static_cast<float>(keep * z[d] + take * clean);
    }
  }

  void show(float* SJD2_RESTRICT out, const sjd2_draft& draft, const float* SJD2_RESTRICT z) {
    if (draft.level == 0) {
      copy_embedding(out, draft.token);
      return;
    }
    const double a = alpha[draft.level];
    const float* SJD2_RESTRICT level = level_embed + draft.level * hidden;
    for (int64_t d = 0; d < hidden; ++d) {
      const double mixed = mean[d] + std[d] * (a * z[d]);
      out[d] = static_cast<float>(mixed + level[d]);
    }
  }
};

template <typename T>
int32_t window_input(sjd2_stream stream, WindowInput<T>& work, int64_t n_images) {
  // Normals cost some 20 ns each; the other elements next to nothing.
  const int64_t width = work.hidden * (work.noisy != nullptr ? 8 : 1);
  for_image_rows(stream, work.images, n_images, work.max_window, width, [&](int64_t image, int64_t row) {
    work.slot(image, row, live_rows(work.images[image], work.max_window));
  });
  const int32_t bad = work.bad_token.load(std::memory_order_relaxed);
  if (bad < 0) return SJD2_OK;
  return fail(SJD2_BAD_ARGUMENT, "window_input: token %d has no row in a table of %lld", bad,
              static_cast<long long>(work.table_rows));
}

}  // namespace

int32_t window_input_f32(sjd2_stream stream, float* input, float* noisy, sjd2_draft* drafts, const sjd2_image* images,
                         const int32_t* tokens, const float* table, const int32_t* token_rows, const float* mean,
                         const float* std, const float* level_embed, const float* lambda, const float* alpha,
                         const int32_t* forced, int64_t n_images, int64_t max_window, int64_t max_length, int64_t hidden,
                         int64_t table_rows, int64_t codes, int64_t n_levels) {
  WindowInput<float> work{input,       noisy,  drafts, images, tokens,     table,      token_rows, mean,       std,
                          level_embed, lambda, alpha,  forced, max_window, max_length, hidden,     table_rows, codes,
                          n_levels};
  return window_input(stream, work, n_images);
}

int32_t window_input_bf16(sjd2_stream stream, float* input, float* noisy, sjd2_draft* drafts, const sjd2_image* images,
                          const int32_t* tokens, const uint16_t* table, const int32_t* token_rows, const float* mean,
                          const float* std, const float* level_embed, const float* lambda, const float* alpha,
                          const int32_t* forced, int64_t n_images, int64_t max_window, int64_t max_length,
                          int64_t hidden, int64_t table_rows, int64_t codes, int64_t n_levels) {
  WindowInput<uint16_t> work{input,       noisy,  drafts, images, tokens,     table,      token_rows, mean,       std,
                             level_embed, lambda, alpha,  forced, max_window, max_length, hidden,     table_rows, codes,
                             n_levels};
  return window_input(stream, work, n_images);
}

}  // namespace sjd2::SJD2_ISA
