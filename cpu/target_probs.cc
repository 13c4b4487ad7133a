#include <atomic>
#include <limits>

#include "decode.h"
#include "vec.h"

namespace sjd2::SJD2_ISA {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// f(vector) for every vector of a row, in place; lanes beyond the end hold `fill` and are dropped.
template <typename F>
SJD2_INLINE void transform(float* row, int64_t n, float fill, F&& f) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(row + i, f(load(row + i)));
  if (i == n) return;
  float tail[kLanes];
  for (int64_t j = 0; j < kLanes; ++j) tail[j] = i + j < n ? row[i + j] : fill;
  store(tail, f(load(tail)));
  for (int64_t j = 0; i + j < n; ++j) row[i + j] = tail[j];
}

// Guided logits over temperature; false if one is NaN or +infinity, or none is finite.
bool scores(float* out, const float* cond, const float* uncond, const sjd2_image& image, int64_t codes, float* max_out) {
  if (uncond == nullptr) {
    std::memcpy(out, cond, static_cast<size_t>(codes) * sizeof(float));
  } else {
    const float guidance = image.guidance;
    for (int64_t c = 0; c < codes; ++c) out[c] = uncond[c] + guidance * (cond[c] - uncond[c]);
  }
  const vf temperature = splat(image.temperature);
  vf highest = splat(-kInfinity);
  vi nan = {};
  transform(out, codes, -kInfinity, [&](vf s) {
    s = s / temperature;
    nan |= s != s;
    highest = max(s, highest);
    return s;
  });
  *max_out = max_lanes(highest);
  int32_t any = 0;
  for (int64_t j = 0; j < kLanes; ++j) any |= nan[j];
  return any == 0 && *max_out < kInfinity && *max_out > -kInfinity;
}

int64_t count_at_least(const float* x, int64_t n, float limit) {
  const vf bound = splat(limit);
  int64_t count = 0;
  int64_t i = 0;
  vi found = {};
  for (; i + kLanes <= n; i += kLanes) found -= (vi)(load(x + i) >= bound);
  for (int64_t j = 0; j < kLanes; ++j) count += found[j];
  for (; i < n; ++i) count += x[i] >= limit ? 1 : 0;
  return count;
}

// Copies what lies in [low, high); out may be x. Returns how many.
int64_t keep_between(float* out, const float* x, int64_t n, float low, float high) {
  int64_t kept = 0;
  int64_t i = 0;
#if defined(__AVX512F__)
  const __m512 lower = _mm512_set1_ps(low), upper = _mm512_set1_ps(high);
  for (; i + 16 <= n; i += 16) {
    const __m512 v = _mm512_loadu_ps(x + i);
    const __mmask16 inside = _mm512_cmp_ps_mask(v, lower, _CMP_GE_OQ) & _mm512_cmp_ps_mask(v, upper, _CMP_LT_OQ);
    _mm512_storeu_ps(out + kept, _mm512_maskz_compress_ps(inside, v));
    kept += __builtin_popcount(inside);
  }
#endif
  for (; i < n; ++i) {
    const float v = x[i];
    out[kept] = v;
    kept += v >= low && v < high ? 1 : 0;
  }
  return kept;
}

// Floats in an order that counts every representable value.
int32_t to_ordinal(float value) {
  const auto bits = static_cast<int32_t>(float_to_bits(value));
  return bits ^ ((bits >> 31) & 0x7FFFFFFF);
}
float from_ordinal(int32_t ordinal) {
  return bits_to_float(static_cast<uint32_t>(ordinal ^ ((ordinal >> 31) & 0x7FFFFFFF)));
}

// Smallest of the k largest values of x, -infinity if fewer than k are finite. Halves the range of values that can hold
// it and drops what falls outside, so that the whole row is read a few times only: no sort, no dependence on order.
// `buffer` has room for n + 16.
float kth_largest(const float* x, int64_t n, int64_t k, float max, float* buffer) {
  constexpr int64_t kSmall = 24;
  constexpr int kValueSteps = 24;
  vf smallest = splat(kInfinity);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const vf v = load(x + i);
    smallest = min(v > -kInfinity ? v : splat(kInfinity), smallest);
  }
  float low = kInfinity;
  for (int64_t j = 0; j < kLanes; ++j) low = smallest[j] < low ? smallest[j] : low;
  for (; i < n; ++i) low = x[i] > -kInfinity && x[i] < low ? x[i] : low;
  if (count_at_least(x, n, low) < k) return -kInfinity;
  if (low == max) return low;

  float high = from_ordinal(to_ordinal(max) + 1);
  int64_t rank = k;
  const float* active = x;
  for (int step = 0; n > kSmall; ++step) {
    // Halving values suits logits; a row with a wild outlier falls back to halving representable numbers.
    float middle = 0.5f * low + 0.5f * high;
    if (step >= kValueSteps) {
      const int64_t between = static_cast<int64_t>(to_ordinal(low)) + to_ordinal(high);
      middle = from_ordinal(static_cast<int32_t>(between >> 1));
    }
    if (!(middle > low && middle < high)) {
      if (from_ordinal(to_ordinal(low) + 1) >= high) return low;
      middle = from_ordinal(to_ordinal(low) + 1);
    }
    const int64_t above = count_at_least(active, n, middle);
    if (above >= rank) {
      low = middle;
    } else {
      high = middle;
      rank -= above;
    }
    n = keep_between(buffer, active, n, low, high);
    active = buffer;
  }
  if (active == x) {
    n = keep_between(buffer, x, n, low, high);
  }
  for (int64_t a = 1; a < n; ++a) {
    const float value = buffer[a];
    int64_t b = a;
    for (; b > 0 && buffer[b - 1] < value; --b) buffer[b] = buffer[b - 1];
    buffer[b] = value;
  }
  return buffer[rank - 1];
}

double sum_of(const float* row, int64_t n) {
  return total_of([row](int64_t i) { return static_cast<double>(row[i]); }, n);
}

// Weights in (0, 1] by the upper bits of their representation: eighths of a power of two.
constexpr int kBucketShift = 20;
constexpr int64_t kBuckets = (0x3F800000 >> kBucketShift) + 1;

// Max-heap of keys: the weight's bits above, the complement of its id below, so that ties go to the lower id.
void sift_down(uint64_t* heap, int64_t n, int64_t at) {
  const uint64_t key = heap[at];
  for (int64_t child = 2 * at + 1; child < n; child = 2 * at + 1) {
    if (child + 1 < n && heap[child + 1] > heap[child]) ++child;
    if (heap[child] <= key) break;
    heap[at] = heap[child];
    at = child;
  }
  heap[at] = key;
}

// Zeroes every weight that has at least share * total before it in descending order. Only the bucket in which the mass
// crosses that limit is put in order. `mass` has kBuckets, `heap` n entries.
void keep_nucleus(float* weights, int64_t n, float share, double* mass, uint64_t* heap) {
  std::memset(mass, 0, kBuckets * sizeof *mass);
  for (int64_t i = 0; i < n; ++i) mass[float_to_bits(weights[i]) >> kBucketShift] += weights[i];
  double total = 0;
  for (int64_t b = 0; b < kBuckets; ++b) total += mass[b];
  const double limit = share * total;
  double before = 0;
  int64_t bucket = kBuckets - 1;
  while (bucket > 0 && before + mass[bucket] < limit) before += mass[bucket--];
  const uint32_t floor = static_cast<uint32_t>(bucket) << kBucketShift;
  int64_t size = 0;
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t bits = float_to_bits(weights[i]);
    if (bits < floor) {
      weights[i] = 0;
    } else if (bits >> kBucketShift == static_cast<uint32_t>(bucket) && bits != 0) {
      heap[size++] = static_cast<uint64_t>(bits) << 32 | (0xFFFFFFFFu - static_cast<uint32_t>(i));
    }
  }
  for (int64_t at = size / 2 - 1; at >= 0; --at) sift_down(heap, size, at);
  // The first of all is kept whatever the limit; it sits in this bucket when nothing lies before.
  bool keep = before == 0 && size > 0;
  while (size > 0 && (keep || before < limit)) {
    keep = false;
    before += bits_to_float(static_cast<uint32_t>(heap[0] >> 32));
    heap[0] = heap[--size];
    if (size > 0) sift_down(heap, size, 0);
  }
  for (int64_t at = 0; at < size; ++at) weights[0xFFFFFFFFu - static_cast<uint32_t>(heap[at])] = 0;
}

struct Scratch {
  float* values;
  double* mass;
  uint64_t* heap;

  static int64_t bytes(int64_t codes) { return round_up((codes + 16) * 4, 64) + kBuckets * 8 + codes * 8; }

  Scratch(void* memory, int64_t codes) {
    auto* bytes = static_cast<uint8_t*>(memory);
    values = reinterpret_cast<float*>(bytes);
    mass = reinterpret_cast<double*>(bytes + round_up((codes + 16) * 4, 64));
    heap = reinterpret_cast<uint64_t*>(mass + kBuckets);
  }
};

bool target_row(float* row, const float* cond, const float* uncond, const sjd2_image& image, int64_t codes,
                const Scratch& scratch) {
  float highest = 0;
  if (!scores(row, cond, uncond, image, codes, &highest)) return false;
  float threshold = -kInfinity;
  if (image.top_k > 0 && image.top_k < codes) threshold = kth_largest(row, codes, image.top_k, highest, scratch.values);
  const vf limit = splat(threshold);
  const vf offset = splat(highest);
  transform(row, codes, -kInfinity, [&](vf s) { return s >= limit ? exp(s - offset) : vf{}; });
  if (image.top_p < 1) keep_nucleus(row, codes, image.top_p, scratch.mass, scratch.heap);
  const vf scale = splat(static_cast<float>(1 / sum_of(row, codes)));
  transform(row, codes, 0, [&](vf weight) { return weight * scale; });
  return true;
}

}  // namespace

int32_t target_probs_f32(sjd2_stream stream, float* probs, const float* logits, sjd2_image* images,
                         const int32_t* forced, int64_t n_images, int64_t batch, int64_t max_window, int64_t codes) {
  for (int64_t i = 0; i < n_images; ++i) {
    if (live_rows(images[i], max_window) == 0) continue;
    if (images[i].cond < 0 || images[i].cond >= batch || images[i].uncond >= batch) {
      return fail(SJD2_BAD_ARGUMENT, "target_probs: image %lld has sequences %d and %d, expected some below %lld",
                  static_cast<long long>(i), images[i].cond, images[i].uncond, static_cast<long long>(batch));
    }
  }
  std::atomic<bool> no_memory{false};
  constexpr int64_t kPasses = 6;
  // An image's status is set behind the loop's back: rows still running must not see it, whatever thread they are on.
  auto* unusable = static_cast<uint8_t*>(call_scratch(stream, 0, n_images));
  if (unusable == nullptr) return fail(SJD2_OUT_OF_MEMORY, "target_probs: no memory for %lld images", static_cast<long long>(n_images));
  std::memset(unusable, 0, static_cast<size_t>(n_images));
  for_image_rows(stream, images, n_images, max_window, codes * kPasses, [&](int64_t i, int64_t row) {
    const sjd2_image& image = images[i];
    const int64_t position = static_cast<int64_t>(image.committed) + row;
    if (forced_token(forced, position) >= 0) return;
    void* memory = thread_scratch(stream, thread_index(), Scratch::bytes(codes));
    if (memory == nullptr) {
      no_memory.store(true, std::memory_order_relaxed);
      return;
    }
    const float* cond = logits + (image.cond * max_window + row) * codes;
    const float* uncond = image.uncond < 0 ? nullptr : logits + (image.uncond * max_window + row) * codes;
    float* target = probs + prob_row(images, i, position, max_window, 0) * codes;
    if (!target_row(target, cond, uncond, image, codes, Scratch(memory, codes))) {
      __atomic_store_n(&unusable[i], uint8_t{1}, __ATOMIC_RELAXED);
    }
  });
  if (no_memory.load()) return fail(SJD2_OUT_OF_MEMORY, "target_probs: no memory for rows of %lld", static_cast<long long>(codes));
  for (int64_t i = 0; i < n_images; ++i) {
    if (unusable[i] != 0) images[i].status = SJD2_IMAGE_NAN_LOGITS;
  }
  return SJD2_OK;
}

}  // namespace sjd2::SJD2_ISA
