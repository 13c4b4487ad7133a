#include "rows.h"
#include "vec.h"

namespace sjd2::SJD2_ISA {

int32_t sequence_input_f32(sjd2_stream stream, float* x, const float* window_input, const float* last_prompt,
                           const float* row_embed, const float* col_embed, const sjd2_sequence* sequences,
                           const sjd2_image* images, int64_t batch, int64_t n_images, int64_t max_window,
                           int64_t hidden, int64_t grid_height, int64_t grid_width) {
  for (int64_t b = 0; b < batch; ++b) {
    if (sequences[b].rows <= 0) continue;
    const int32_t image = sequences[b].image;
    if (image < 0 || image >= n_images) {
      return fail(SJD2_BAD_ARGUMENT,
                  "sequence_input: sequence %lld belongs to image %d, expected 0..%lld exclusive",
                  static_cast<long long>(b), image, static_cast<long long>(n_images));
    }
    const int64_t end = static_cast<int64_t>(images[image].committed) + sequences[b].rows;
    if (images[image].committed < 0 || (row_embed != nullptr && end > grid_height * grid_width)) {
      return fail(SJD2_BAD_SHAPE, "sequence_input: image %d predicts up to position %lld of a grid of %lld",
                  image, static_cast<long long>(end), static_cast<long long>(grid_height * grid_width));
    }
  }
  return for_live_rows(stream, sequences, batch, max_window, hidden, [&](int64_t r) {
    const int64_t b = r / max_window, w = r % max_window;
    const int64_t image = sequences[b].image;
    const int64_t t = images[image].committed + w;
    const float* source =
        t == 0 ? last_prompt + b * hidden : window_input + (image * max_window + w) * hidden;
    float* target = x + r * hidden;
    if (row_embed == nullptr) {
      for (int64_t i = 0; i < hidden; i += kLanes) {
        store_upto(target + i, load_upto(source + i, hidden - i), hidden - i);
      }
      return;
    }
    const float* row = row_embed + t / grid_width * hidden;
    const float* col = col_embed + t % grid_width * hidden;
    for (int64_t i = 0; i < hidden; i += kLanes) {
      const int64_t n = hidden - i;
      store_upto(target + i, load_upto(source + i, n) + load_upto(row + i, n) + load_upto(col + i, n), n);
    }
  });
}

}  // namespace sjd2::SJD2_ISA
