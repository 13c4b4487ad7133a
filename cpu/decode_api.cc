// The decode operations as the C ABI has them: arguments are checked here, once, for every instruction set.
#include <cmath>
#include <initializer_list>

#include "ops.h"

namespace sjd2 {
namespace {

using Extent = long long;

int32_t null_pointer(const char* operation) {
  return fail(SJD2_BAD_ARGUMENT, "%s: a required pointer is NULL", operation);
}

template <typename... Pointers>
bool any_null(Pointers... pointers) {
  return (... || (pointers == nullptr));
}

struct Named {
  const char* name;
  int64_t value;
};

// SJD2_OK, or the first extent that is below 1.
int32_t check_extents(const char* operation, std::initializer_list<Named> extents) {
  for (const Named& extent : extents) {
    if (extent.value < 1) {
      return fail(SJD2_BAD_SHAPE, "%s: %s is %lld, expected at least 1", operation, extent.name,
                  static_cast<Extent>(extent.value));
    }
  }
  return SJD2_OK;
}

// An image's own numbers, as far as they reach into memory.
int32_t check_images(const char* operation, const sjd2_image* images, int64_t n_images, int64_t max_window,
                     int64_t max_length) {
  for (int64_t i = 0; i < n_images; ++i) {
    const sjd2_image& image = images[i];
    if (image.window < 1 || image.window > max_window) {
      return fail(SJD2_BAD_ARGUMENT, "%s: image %lld has window %d, expected 1..max_window=%lld", operation,
                  static_cast<Extent>(i), image.window, static_cast<Extent>(max_window));
    }
    if (image.committed < 0 || image.committed > image.length || (max_length >= 0 && image.length > max_length)) {
      return fail(SJD2_BAD_ARGUMENT, "%s: image %lld has %d of %d positions, expected at most max_length=%lld", operation,
                  static_cast<Extent>(i), image.committed, image.length, static_cast<Extent>(max_length));
    }
  }
  return SJD2_OK;
}

template <typename T>
int32_t check_window_input(const float* input, const float* noisy, const sjd2_draft* drafts, const sjd2_image* images,
                           const int32_t* tokens, const T* table, const float* mean, const float* std,
                           const float* level_embed, const float* lambda, const float* alpha, int64_t n_images,
                           int64_t max_window, int64_t max_length, int64_t hidden, int64_t table_rows, int64_t codes,
                           int64_t n_levels) {
  const char* operation = "window_input";
  if (any_null(input, drafts, images, tokens, table)) return null_pointer(operation);
  int32_t status = check_extents(operation, {{"n_images", n_images}, {"max_window", max_window},
                                 {"max_length", max_length}, {"hidden", hidden},
                                 {"table_rows", table_rows}, {"codes", codes}});
  if (status == SJD2_OK) status = check_images(operation, images, n_images, max_window, max_length);
  for (int64_t i = 0; status == SJD2_OK && i < n_images; ++i) {
    if (images[i].levels == 0) continue;
    if (any_null(noisy, mean, std, level_embed, lambda, alpha)) {
      return fail(SJD2_BAD_ARGUMENT, "%s: image %lld has %d levels, but no noise tensors are given", operation,
                  static_cast<Extent>(i), images[i].levels);
    }
    if (images[i].levels < 0 || images[i].levels > n_levels) {
      return fail(SJD2_BAD_ARGUMENT, "%s: image %lld has %d levels, expected 0..n_levels=%lld", operation,
                  static_cast<Extent>(i), images[i].levels, static_cast<Extent>(n_levels));
    }
  }
  return status;
}

}  // namespace
}  // namespace sjd2

using sjd2::any_null;
using sjd2::check_extents;
using sjd2::check_images;
using sjd2::null_pointer;
using sjd2::ops;

SJD2_EXPORT int32_t sjd2_window_input_f32(sjd2_stream stream, float* input, float* noisy, sjd2_draft* drafts,
                                          const sjd2_image* images, const int32_t* tokens, const float* table,
                                          const int32_t* token_rows, const float* mean, const float* std,
                                          const float* level_embed, const float* lambda, const float* alpha,
                                          const int32_t* forced, int64_t n_images, int64_t max_window,
                                          int64_t max_length, int64_t hidden, int64_t table_rows, int64_t codes,
                                          int64_t n_levels) {
  if (stream == nullptr) return null_pointer("window_input");
  const int32_t status =
      sjd2::check_window_input(input, noisy, drafts, images, tokens, table, mean, std, level_embed, lambda, alpha,
                               n_images, max_window, max_length, hidden, table_rows, codes, n_levels);
  if (status != SJD2_OK) return status;
  return ops().window_input_f32(stream, input, noisy, drafts, images, tokens, table, token_rows, mean, std, level_embed,
                                lambda, alpha, forced, n_images, max_window, max_length, hidden, table_rows, codes,
                                n_levels);
}

SJD2_EXPORT int32_t sjd2_window_input_bf16(sjd2_stream stream, float* input, float* noisy, sjd2_draft* drafts,
                                           const sjd2_image* images, const int32_t* tokens, const uint16_t* table,
                                           const int32_t* token_rows, const float* mean, const float* std,
                                           const float* level_embed, const float* lambda, const float* alpha,
                                           const int32_t* forced, int64_t n_images, int64_t max_window,
                                           int64_t max_length, int64_t hidden, int64_t table_rows, int64_t codes,
                                           int64_t n_levels) {
  if (stream == nullptr) return null_pointer("window_input");
  const int32_t status =
      sjd2::check_window_input(input, noisy, drafts, images, tokens, table, mean, std, level_embed, lambda, alpha,
                               n_images, max_window, max_length, hidden, table_rows, codes, n_levels);
  if (status != SJD2_OK) return status;
  return ops().window_input_bf16(stream, input, noisy, drafts, images, tokens, table, token_rows, mean, std, level_embed,
                                 lambda, alpha, forced, n_images, max_window, max_length, hidden, table_rows, codes,
                                 n_levels);
}

SJD2_EXPORT int32_t sjd2_target_probs_f32(sjd2_stream stream, float* probs, const float* logits, sjd2_image* images,
                                          const int32_t* forced, int64_t n_images, int64_t batch, int64_t max_window,
                                          int64_t codes) {
  const char* operation = "target_probs";
  if (any_null(stream, probs, logits, images)) return null_pointer(operation);
  int32_t status = check_extents(operation, {{"n_images", n_images}, {"batch", batch},
                                 {"max_window", max_window}, {"codes", codes}});
  if (status == SJD2_OK) status = check_images(operation, images, n_images, max_window, -1);
  for (int64_t i = 0; status == SJD2_OK && i < n_images; ++i) {
    if (!(images[i].temperature > 0) || !std::isfinite(images[i].temperature)) {
      return sjd2::fail(SJD2_BAD_ARGUMENT, "%s: image %lld has temperature %g, expected a number > 0", operation,
                        static_cast<long long>(i), static_cast<double>(images[i].temperature));
    }
  }
  if (status != SJD2_OK) return status;
  return ops().target_probs_f32(stream, probs, logits, images, forced, n_images, batch, max_window, codes);
}

SJD2_EXPORT int32_t sjd2_verify_f32(sjd2_stream stream, int32_t* tokens, sjd2_draft* drafts, sjd2_image* images,
                                    sjd2_sequence* sequences, const float* probs, const int32_t* forced,
                                    int64_t n_images, int64_t batch, int64_t max_window, int64_t max_length,
                                    int64_t codes) {
  const char* operation = "verify";
  if (any_null(stream, tokens, drafts, images, sequences, probs)) return null_pointer(operation);
  int32_t status =
      check_extents(operation, {{"n_images", n_images}, {"batch", batch}, {"max_window", max_window},
                    {"max_length", max_length}, {"codes", codes}});
  if (status == SJD2_OK) status = check_images(operation, images, n_images, max_window, max_length);
  for (int64_t i = 0; status == SJD2_OK && i < n_images; ++i) {
    if (images[i].decoder < SJD2_SEQUENTIAL || images[i].decoder > SJD2_EXACT) {
      return sjd2::fail(SJD2_BAD_ARGUMENT, "%s: image %lld has decoder %d, expected 0..%d", operation,
                        static_cast<long long>(i), images[i].decoder, SJD2_EXACT);
    }
  }
  if (status != SJD2_OK) return status;
  return ops().verify_f32(stream, tokens, drafts, images, sequences, probs, forced, n_images, batch, max_window,
                          max_length, codes);
}

SJD2_EXPORT int32_t sjd2_verify_given_f32(sjd2_stream stream, int32_t* result, float* residual, const int32_t* draft,
                                          const float* q, const float* p, const float* uniforms, float resample_uniform,
                                          int64_t rows, int64_t codes) {
  if (any_null(stream, result, residual, draft, q, p, uniforms)) return null_pointer("verify_given");
  const int32_t status = check_extents("verify_given", {{"rows", rows}, {"codes", codes}});
  if (status != SJD2_OK) return status;
  return ops().verify_given_f32(stream, result, residual, draft, q, p, uniforms, resample_uniform, rows, codes);
}

SJD2_EXPORT int32_t sjd2_draw_given_f32(sjd2_stream stream, int32_t* out, const float* p, const float* uniforms,
                                        int64_t rows, int64_t codes) {
  if (any_null(stream, out, p, uniforms)) return null_pointer("draw_given");
  const int32_t status = check_extents("draw_given", {{"rows", rows}, {"codes", codes}});
  if (status != SJD2_OK) return status;
  return ops().draw_given_f32(stream, out, p, uniforms, rows, codes);
}

SJD2_EXPORT int32_t sjd2_log_likelihood_f32(sjd2_stream stream, float* out, const float* logits, const int32_t* targets,
                                            int64_t rows, int64_t codes) {
  if (any_null(stream, out, logits, targets)) return null_pointer("log_likelihood");
  const int32_t status = check_extents("log_likelihood", {{"rows", rows}, {"codes", codes}});
  if (status != SJD2_OK) return status;
  return ops().log_likelihood_f32(stream, out, logits, targets, rows, codes);
}

SJD2_EXPORT int32_t sjd2_philox_words(sjd2_stream stream, uint32_t* out, uint32_t seed_lo, uint32_t seed_hi,
                                      uint32_t image, uint32_t stream_lo, uint32_t stream_hi, int64_t n) {
  if (any_null(stream, out)) return null_pointer("philox_words");
  if (n < 0) return check_extents("philox_words", {{"n", n}});
  return ops().philox_words(stream, out, seed_lo, seed_hi, image, stream_lo, stream_hi, n);
}

SJD2_EXPORT int32_t sjd2_philox_normals_f32(sjd2_stream stream, float* out, uint32_t seed_lo, uint32_t seed_hi,
                                            uint32_t image, uint32_t stream_lo, uint32_t stream_hi, int64_t n) {
  if (any_null(stream, out)) return null_pointer("philox_normals");
  if (n < 0) return check_extents("philox_normals", {{"n", n}});
  return ops().philox_normals_f32(stream, out, seed_lo, seed_hi, image, stream_lo, stream_hi, n);
}
