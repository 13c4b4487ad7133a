// What the decode operations share: which rows are live, where a position's slot is, and draws from a row.
#ifndef SJD2_CPU_DECODE_H
#define SJD2_CPU_DECODE_H

#include <cmath>

#include "philox.h"
#include "threads.h"

namespace sjd2::SJD2_ISA {

// Rows of the pass that an image takes part in: none once it is finished or failed.
static inline int64_t live_rows(const sjd2_image& image, int64_t max_window) {
  if (image.status != SJD2_IMAGE_OK) return 0;
  const int64_t left = static_cast<int64_t>(image.length) - image.committed;
  return max64(0, min64(min64(image.window, max_window), left));
}

static inline int32_t forced_token(const int32_t* forced, int64_t position) {
  return forced == nullptr ? -1 : forced[position];
}

static inline PhiloxKey key_of(const sjd2_image& image) { return {image.seed_lo, image.seed_hi}; }

static inline float position_uniform(const sjd2_image& image, int64_t position, sjd2_purpose purpose) {
  const uint32_t high = stream_high(purpose, image.iteration);
  return uniform24(philox(key_of(image), 0, image.index, static_cast<uint32_t>(position), high).word[0]);
}

// Row of `probs` [I, 2, M, C] that holds the targets of `position`; back = 1: those of the iteration before.
static inline int64_t prob_row(const sjd2_image* images, int64_t image, int64_t position, int64_t max_window, int back) {
  const int64_t half = (images[image].iteration + back) & 1;
  return (image * 2 + half) * max_window + position % max_window;
}

// f(image, row) for every live row of every image. `width`: elements that a row touches.
template <typename F>
static inline void for_image_rows(sjd2_stream stream, const sjd2_image* images, int64_t n_images, int64_t max_window,
                                  int64_t width, F&& f) {
  constexpr int64_t kGrain = 8192;  // elements: a microsecond or two, what waking a thread costs
  // Whole images share the range below, dead rows included; a lone image is cut at its live rows, so that parts are even.
  const int64_t span = n_images == 1 ? live_rows(images[0], max_window) : max_window;
  const int64_t total = n_images * span;
  const int64_t tasks = task_count(stream, total, div_up(kGrain, max64(width, 1)));
  parallel_for(stream, tasks, [&](int64_t task) {
    const Part part = part_of(total, task, tasks);
    for (int64_t i = part.begin; i < part.end; ++i) {
      const int64_t image = i / span, row = i % span;
      if (row < live_rows(images[image], max_window)) f(image, row);
    }
  });
}

// Sums in f64 run over blocks of eight interleaved lanes: one order for every row, and fast enough to be bound by memory.
constexpr int64_t kSumBlock = 64;

template <typename Weight>
static inline double block_sum(const Weight& weight, int64_t begin, int64_t end) {
  double lanes[8] = {};
  int64_t i = begin;
  for (; i + 8 <= end; i += 8) {
    for (int64_t j = 0; j < 8; ++j) lanes[j] += weight(i + j);
  }
  for (int64_t j = 0; i < end; ++i, ++j) lanes[j] += weight(i);
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

template <typename Weight>
static inline double total_of(const Weight& weight, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i += kSumBlock) sum += block_sum(weight, i, min64(n, i + kSumBlock));
  return sum;
}

// Smallest j whose running sum of weights exceeds `threshold`; the last positive one where rounding leaves the sum short.
template <typename Weight>
static inline int32_t inverse_cdf(const Weight& weight, int64_t n, double threshold) {
  double sum = 0;
  int64_t last = 0;
  for (int64_t begin = 0; begin < n; begin += kSumBlock) {
    const int64_t end = min64(n, begin + kSumBlock);
    const double block = block_sum(weight, begin, end);
    if (block == 0) continue;
    if (sum + block > threshold || end == n) {
      double running = sum;
      for (int64_t i = begin; i < end; ++i) {
        const double w = weight(i);
        running += w;
        if (running > threshold) return static_cast<int32_t>(i);
        if (w > 0) last = i;
      }
    } else {
      last = begin;
      for (int64_t i = begin; i < end; ++i) last = weight(i) > 0 ? i : last;
    }
    sum += block;
  }
  return static_cast<int32_t>(last);
}

static inline int32_t draw_from(const float* p, int64_t codes, float uniform) {
  return inverse_cdf([p](int64_t i) { return static_cast<double>(p[i]); }, codes, uniform);
}

// From norm(max(p - q, 0)); q = NULL stands for the uniform row. docs/decoding.md, "The rejection test".
static inline int32_t draw_residual(const float* p, const float* q, int64_t codes, float uniform) {
  const float flat = 1.0f / static_cast<float>(codes);
  const auto draw = [&](const auto& excess) {
    const double total = total_of(excess, codes);
    // p = q cannot fail the test; kept so that the operation is total.
    return total > 0 ? inverse_cdf(excess, codes, uniform * total) : draw_from(p, codes, uniform);
  };
  if (q == nullptr) {
    return draw([p, flat](int64_t i) {
      const double d = static_cast<double>(p[i]) - flat;
      return d > 0 ? d : 0.0;
    });
  }
  return draw([p, q](int64_t i) {
    const double d = static_cast<double>(p[i]) - q[i];
    return d > 0 ? d : 0.0;
  });
}

// u < min(1, p/q) without the division; the f64 product of two f32 numbers is exact.
static inline bool accepts(float p, float q, float uniform) { return static_cast<double>(uniform) * q < p; }

}  // namespace sjd2::SJD2_ISA

#endif  // SJD2_CPU_DECODE_H
