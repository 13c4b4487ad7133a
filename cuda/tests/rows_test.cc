// The operations that go row by row: against f64, live rows only, nothing outside.
#include "check.h"

using namespace sjd2::test;

namespace {

// Row lengths around every vector width, and primes.
const int64_t kWidths[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 256, 1000};

// What T stores of an exact value computed in f32.
template <typename T>
double rounded(float v) {
  return static_cast<double>(widen(narrow<T>(v)));
}

void make_ragged(Guarded<sjd2_sequence>& sequences, int64_t max_window, Random& random) {
  for (int64_t b = 0; b < sequences.size(); ++b) {
    sequences[b] = {};
    sequences[b].rows = static_cast<int32_t>(random.below(max_window + 1));
  }
}

// Runs `op(out, x, sequences, batch, max_window)` on ragged rows of `in_width` and compares each live row with `exact` and
// `naive`, functions of (row of x, index). Then runs each row alone: the same bits.
template <typename T, typename Op, typename Exact, typename Naive>
void check_rows_op(const char* what, int64_t in_width, int64_t out_width, double spread, uint64_t seed, Op&& op, Exact&& exact,
                   Naive&& naive) {
  constexpr int64_t kBatch = 3, kWindow = 5;
  Random random(seed);
  Guarded<float> x(kBatch * kWindow * in_width);
  Guarded<T> out(kBatch * kWindow * out_width), alone(out_width);
  Guarded<sjd2_sequence> sequences(kBatch);
  x.fill_normal(random, spread);
  make_ragged(sequences, kWindow, random);
  if (!ok(op(out.at(), x.in(), sequences.in(), kBatch, kWindow), what)) return;
  out.fetch();
  Parity<T> parity;
  bool kept = true, agree = true;
  for (int64_t r = 0; r < kBatch * kWindow; ++r) {
    const bool live = r % kWindow < sequences[r / kWindow].rows;
    for (int64_t i = 0; i < out_width; ++i) {
      if (live) {
        parity.add(out[r * out_width + i], naive(x.data() + r * in_width, i), exact(x.data() + r * in_width, i));
      } else {
        kept &= out.untouched(r * out_width + i);
      }
    }
    if (live) {
      ok(op(alone.at(), x.at(r * in_width), nullptr, 1, 1), what);
      alone.fetch();
      agree &= std::memcmp(alone.data(), out.data() + r * out_width, static_cast<size_t>(out_width) * sizeof(T)) == 0;
    }
  }
  expect(parity.holds(), "%s %s width %lld seed %llu: error %g, allowed %g", what, dtype_name<T>(),
         static_cast<long long>(in_width), static_cast<unsigned long long>(seed), parity.error(), parity.allowed());
  expect(kept, "%s: a row that is not live was written", what);
  expect(agree, "%s %s width %lld: a row alone differs", what, dtype_name<T>(), static_cast<long long>(in_width));
  expect(out.bands_intact() && alone.bands_intact(), "%s: written outside the output", what);
}

template <typename T>
void check_norms() {
  constexpr float kEps = 1e-5f;
  uint64_t seed = 1;
  for (const int64_t width : kWidths) {
    Random random(seed + 1000);
    Guarded<float> weight(width);
    weight.fill_normal(random);
    check_rows_op<T>(
        "rms_norm", width, width, 2.0, seed++,
        [&](T* out, const float* x, const sjd2_sequence* s, int64_t batch, int64_t m) {
          return call(sjd2_rms_norm_f32, sjd2_rms_norm_bf16, stream, out, x, weight.in(), s, batch, m, width, kEps);
        },
        [&](const float* x, int64_t i) {
          double sum = 0;
          for (int64_t j = 0; j < width; ++j) sum += static_cast<double>(x[j]) * static_cast<double>(x[j]);
          const double mean = sum / static_cast<double>(width);
          return static_cast<double>(x[i]) / std::sqrt(mean + static_cast<double>(kEps)) *
                 static_cast<double>(weight[i]);
        },
        [&](const float* x, int64_t i) {
          float sum = 0;
          for (int64_t j = 0; j < width; ++j) sum += x[j] * x[j];
          return x[i] * (1.0f / std::sqrt(sum / static_cast<float>(width) + kEps)) * weight[i];
        });
    check_rows_op<T>(
        "round", width, width, 2.0, seed++,
        [&](T* out, const float* x, const sjd2_sequence* s, int64_t batch, int64_t m) {
          return call(sjd2_round_f32, sjd2_round_bf16, stream, out, x, s, batch, m, width);
        },
        // Rounding is exact: what is compared is the rounded number itself.
        [](const float* x, int64_t i) { return rounded<T>(x[i]); },
        [](const float* x, int64_t i) { return x[i]; });
  }
}

void check_norm_add() {
  constexpr int64_t kRows = 4;
  for (const int64_t width : kWidths) {
    Random random(static_cast<uint64_t>(width));
    Guarded<float> x(kRows * width), before(kRows * width), delta(kRows * width), weight(width);
    before.fill_normal(random);
    delta.fill_normal(random);
    weight.fill_normal(random);
    for (int64_t i = 0; i < x.size(); ++i) x[i] = before[i];
    ok(sjd2_rms_norm_add_f32(stream, x.in(), delta.in(), weight.in(), nullptr, 1, kRows, width, 1e-6f), "rms_norm_add");
    x.fetch();
    Parity<float> parity;
    for (int64_t r = 0; r < kRows; ++r) {
      double sum = 0;
      float sum32 = 0;
      for (int64_t i = 0; i < width; ++i) {
        const float d = delta[r * width + i];
        sum += static_cast<double>(d) * static_cast<double>(d);
        sum32 += d * d;
      }
      const double scale = 1.0 / std::sqrt(sum / static_cast<double>(width) + static_cast<double>(1e-6f));
      const float scale32 = 1.0f / std::sqrt(sum32 / static_cast<float>(width) + 1e-6f);
      for (int64_t i = 0; i < width; ++i) {
        const int64_t at = r * width + i;
        parity.add(x[at], before[at] + delta[at] * scale32 * weight[i],
                   static_cast<double>(before[at]) +
                       static_cast<double>(delta[at]) * scale * static_cast<double>(weight[i]));
      }
    }
    expect(parity.holds() && x.bands_intact(), "rms_norm_add width %lld: error %g, allowed %g",
           static_cast<long long>(width), parity.error(), parity.allowed());
  }
}

template <typename T>
void check_activations() {
  uint64_t seed = 50;
  const auto silu = [](double g) { return g / (1.0 + std::exp(-g)); };
  for (const int64_t width : kWidths) {
    for (const double spread : {1.0, 40.0}) {
      check_rows_op<T>(
          "swiglu", 2 * width, width, spread, seed++,
          [&](T* out, const float* x, const sjd2_sequence* s, int64_t batch, int64_t m) {
            return call(sjd2_swiglu_f32, sjd2_swiglu_bf16, stream, out, x, s, batch, m, width);
          },
          [&](const float* x, int64_t i) {
            return silu(static_cast<double>(x[i])) * static_cast<double>(x[width + i]);
          },
          [&](const float* x, int64_t i) { return x[i] / (1.0f + std::exp(-x[i])) * x[width + i]; });
    }
    for (const double spread : {0.1, 2.0, 60.0}) {
      check_rows_op<T>(
          "gelu", width, width, spread, seed++,
          [&](T* out, const float* x, const sjd2_sequence* s, int64_t batch, int64_t m) {
            return call(sjd2_gelu_f32, sjd2_gelu_bf16, stream, out, x, s, batch, m, width, 0);
          },
          [](const float* x, int64_t i) {
            const auto v = static_cast<double>(x[i]);
            return 0.5 * v * std::erfc(-v * std::sqrt(0.5));
          },
          [](const float* x, int64_t i) { return 0.5f * x[i] * (1.0f + std::erf(x[i] * 0.70710678f)); });
      const double c = std::sqrt(2.0 / std::acos(-1.0));
      check_rows_op<T>(
          "gelu, tanh form", width, width, spread, seed++,
          [&](T* out, const float* x, const sjd2_sequence* s, int64_t batch, int64_t m) {
            return call(sjd2_gelu_f32, sjd2_gelu_bf16, stream, out, x, s, batch, m, width, 1);
          },
          [c](const float* x, int64_t i) {
            const auto v = static_cast<double>(x[i]);
            return 0.5 * v * (1.0 + std::tanh(c * (v + 0.044715 * v * v * v)));
          },
          [](const float* x, int64_t i) {
            const float v = x[i];
            return 0.5f * v * (1.0f + std::tanh(0.79788456f * (v + 0.044715f * v * v * v)));
          });
    }
  }
  // The ends of the line, and what is no number.
  const float edges[] = {0.0f, -0.0f, INFINITY, -INFINITY, NAN, 1e30f, -1e30f, -88.0f, 88.0f, 1e-30f};
  constexpr int64_t kEdges = 10;
  const float want[] = {0.0f, 0.0f, INFINITY, 0.0f, NAN, 1e30f, 0.0f, 0.0f, 88.0f, 5e-31f};
  for (const int32_t tanh_form : {0, 1}) {
    Guarded<T> out(kEdges);
    Guarded<float> x(kEdges);
    for (int64_t i = 0; i < kEdges; ++i) x[i] = edges[i];
    ok(call(sjd2_gelu_f32, sjd2_gelu_bf16, stream, out.at(), x.in(), nullptr, int64_t{1}, int64_t{1}, kEdges, tanh_form),
       "gelu");
    out.fetch();
    for (int64_t i = 0; i < kEdges; ++i) {
      const float got = widen(out[i]);
      const bool right = std::isnan(want[i]) ? std::isnan(got)
                         : std::isinf(want[i]) || want[i] == 0.0f
                             ? got == want[i]
                             : std::fabs(got - want[i]) <= 0.01f * std::fabs(want[i]);
      expect(right, "gelu %s, form %d, of %g: %g, expected %g", dtype_name<T>(), tanh_form,
             static_cast<double>(edges[i]), static_cast<double>(got), static_cast<double>(want[i]));
    }
  }
}

template <typename T>
void check_embed() {
  for (const int64_t width : kWidths) {
    constexpr int64_t kVocab = 11, kRows = 6;
    Random random(static_cast<uint64_t>(width));
    Guarded<T> table(kVocab * width);
    Guarded<float> out(kRows * width);
    table.fill_normal(random);
    Guarded<int32_t> ids(kRows);
    for (int64_t r = 0; r < kRows; ++r) ids[r] = static_cast<int32_t>(r * r * 3 % kVocab);
    const auto embed = [&] {
      if constexpr (std::is_same_v<T, float>) {
        return sjd2_embed_f32(stream, out.at(), table.in(), ids.in(), kRows, kVocab, width);
      } else {
        return sjd2_embed_bf16(stream, out.at(), table.in(), ids.in(), kRows, kVocab, width);
      }
    };
    // A bad id, and nothing is written.
    const int32_t good = ids[kRows - 1];
    ids[kRows - 1] = kVocab;
    refused(embed(), SJD2_BAD_ARGUMENT, "embed of an id outside of the table");
    out.fetch();
    bool kept = true;
    for (int64_t i = 0; i < out.size(); ++i) kept &= out.untouched(i);
    expect(kept, "embed: written in spite of a bad id");
    ids[kRows - 1] = good;
    ok(embed(), "embed");
    out.fetch();
    bool equal = true;
    for (int64_t i = 0; i < kRows * width; ++i)
      equal &= out[i] == widen(table[ids[i / width] * width + i % width]);
    expect(equal && out.bands_intact(), "embed %s width %lld", dtype_name<T>(),
           static_cast<long long>(width));
  }
}

void check_sequence_input() {
  constexpr int64_t kBatch = 4, kImages = 2, kWindow = 5, kHeight = 3, kWidth = 4;
  for (const int64_t d : {1, 17, 64}) {
    for (const bool grid : {false, true}) {
      Random random(static_cast<uint64_t>(d));
      Guarded<float> x(kBatch * kWindow * d), input(kImages * kWindow * d), last(kBatch * d),
          row(kHeight * d), col(kWidth * d);
      input.fill_normal(random);
      last.fill_normal(random);
      row.fill_normal(random);
      col.fill_normal(random);
      Guarded<sjd2_image> images(kImages);
      images[0] = images[1] = {};
      images[1].committed = 6;
      // Condition and uncondition of both images; the last is finished.
      const sjd2_sequence states[kBatch] = {{9, 5, 9, 0}, {2, 5, 2, 0}, {15, 3, 15, 1}, {8, 0, 8, 1}};
      Guarded<sjd2_sequence> sequences(kBatch);
      for (int64_t b = 0; b < kBatch; ++b) sequences[b] = states[b];
      const auto run = [&] {
        return sjd2_sequence_input_f32(stream, x.at(), input.in(), last.in(), grid ? row.in() : nullptr,
                                       grid ? col.in() : nullptr, sequences.in(), images.in(), kBatch, kImages, kWindow, d,
                                       kHeight, kWidth);
      };
      ok(run(), "sequence_input");
      x.fetch();
      bool equal = true;
      for (int64_t b = 0; b < kBatch; ++b) {
        for (int64_t w = 0; w < kWindow; ++w) {
          for (int64_t i = 0; i < d; ++i) {
            const int64_t at = (b * kWindow + w) * d + i;
            if (w >= sequences[b].rows) {
              equal &= x.untouched(at);
              continue;
            }
            const int64_t t = images[sequences[b].image].committed + w;
            float want = t == 0 ? last[b * d + i] : input[(sequences[b].image * kWindow + w) * d + i];
            if (grid) want = want + row[t / kWidth * d + i] + col[t % kWidth * d + i];
            equal &= x[at] == want;
          }
        }
      }
      expect(equal && x.bands_intact(), "sequence_input width %lld, grid %d", static_cast<long long>(d), grid);
      sequences[0].image = kImages;
      refused(run(), SJD2_BAD_ARGUMENT, "sequence_input of an image that is not there");
      sequences[0].image = 0;
      images[1].committed = 10;
      if (grid) refused(run(), SJD2_BAD_SHAPE, "sequence_input beyond the grid");
    }
  }
}

template <typename T>
void check_rope(int64_t n_heads, int64_t n_kv_heads, int64_t d, int64_t q_rows,
                int64_t k_rows, bool bias, int32_t pairs, uint64_t seed) {
  constexpr int64_t kBatch = 3, kWindow = 4, kCapacity = 12, kRope = 20;
  Random random(seed);
  const int64_t heads = n_heads + 2 * n_kv_heads;
  Guarded<float> qkv(kBatch * kWindow * heads * d), rope(kRope * d);
  Guarded<float> q_weight(std::max<int64_t>(1, q_rows) * d), q_bias(std::max<int64_t>(1, q_rows) * d),
      k_weight(std::max<int64_t>(1, k_rows) * d), k_bias(std::max<int64_t>(1, k_rows) * d);
  for (Guarded<float>* g : {&q_weight, &q_bias, &k_weight, &k_bias}) g->fill_normal(random);
  qkv.fill_normal(random, 2.0);
  for (int64_t i = 0; i < kRope * d / 2; ++i) {
    const double angle = random.uniform() * 6.28;
    rope[2 * i] = static_cast<float>(std::cos(angle));
    rope[2 * i + 1] = static_cast<float>(std::sin(angle));
  }
  const sjd2_sequence states[kBatch] = {{3, 4, 7, 0}, {0, 0, 0, 0}, {9, 2, 18, 0}};
  Guarded<sjd2_sequence> sequences(kBatch);
  for (int64_t b = 0; b < kBatch; ++b) sequences[b] = states[b];
  constexpr float kEps = 1e-5f;
  Guarded<T> q(kBatch * kWindow * n_heads * d), k(kBatch * kCapacity * n_kv_heads * d),
      v(kBatch * kCapacity * n_kv_heads * d);
  const bool with_q = q_rows > 0, with_k = k_rows > 0;
  const auto run = [&] {
    return call(sjd2_rope_append_f32, sjd2_rope_append_bf16, stream, q.at(), k.at(), v.at(), qkv.in(),
                with_q ? q_weight.in() : nullptr, with_q && bias ? q_bias.in() : nullptr, with_k ? k_weight.in() : nullptr,
                with_k && bias ? k_bias.in() : nullptr, rope.in(), sequences.in(), kBatch, kWindow, kCapacity, n_heads,
                n_kv_heads, d, q_rows, k_rows, kRope, pairs, kEps);
  };
  if (!ok(run(), "rope_append")) return;
  q.fetch();
  k.fetch();
  v.fetch();
  const float* qw = with_q ? q_weight.data() : nullptr;
  const float* qb = with_q && bias ? q_bias.data() : nullptr;
  const float* kw = with_k ? k_weight.data() : nullptr;
  const float* kb = with_k && bias ? k_bias.data() : nullptr;
  Parity<T> parity;
  std::vector<bool> k_written(static_cast<size_t>(k.size())), q_written(static_cast<size_t>(q.size()));
  bool values_equal = true;
  const auto expect_head = [&](const T* got, const float* in, const float* weight, const float* bias_row,
                               int64_t position) {
    std::vector<double> exact(static_cast<size_t>(d));
    std::vector<float> naive(static_cast<size_t>(d));
    double mean = 0, variance = 0;
    float mean32 = 0, variance32 = 0;
    for (int64_t i = 0; i < d; ++i) {
      mean += in[i];
      mean32 += in[i];
    }
    mean /= static_cast<double>(d);
    mean32 /= static_cast<float>(d);
    for (int64_t i = 0; i < d; ++i) {
      variance += (in[i] - mean) * (in[i] - mean);
      variance32 += (in[i] - mean32) * (in[i] - mean32);
    }
    for (int64_t i = 0; i < d; ++i) {
      exact[i] = in[i];
      naive[i] = in[i];
      if (weight != nullptr) {
        const double scale = 1.0 / std::sqrt(variance / static_cast<double>(d) + static_cast<double>(kEps));
        exact[i] = (in[i] - mean) * scale * static_cast<double>(weight[i]) +
                   (bias_row != nullptr ? bias_row[i] : 0.0f);
        naive[i] =
            (in[i] - mean32) * (1.0f / std::sqrt(variance32 / static_cast<float>(d) + kEps)) * weight[i] +
            (bias_row != nullptr ? bias_row[i] : 0.0f);
      }
    }
    for (int64_t i = 0; i < d / 2; ++i) {
      const int64_t a = pairs == 0 ? i : 2 * i, b = pairs == 0 ? i + d / 2 : 2 * i + 1;
      const float c = rope[position * d + 2 * i], s = rope[position * d + 2 * i + 1];
      parity.add(got[a], naive[a] * c - naive[b] * s,
                 exact[a] * static_cast<double>(c) - exact[b] * static_cast<double>(s));
      parity.add(got[b], naive[b] * c + naive[a] * s,
                 exact[b] * static_cast<double>(c) + exact[a] * static_cast<double>(s));
    }
  };
  for (int64_t b = 0; b < kBatch; ++b) {
    for (int64_t w = 0; w < sequences[b].rows; ++w) {
      const int64_t r = b * kWindow + w, position = sequences[b].position + w;
      const int64_t entry = b * kCapacity + sequences[b].kv_len + w;
      const float* in = qkv.data() + r * heads * d;
      for (int64_t h = 0; h < n_heads; ++h) {
        const int64_t row = q_rows > 0 ? h / (n_heads / q_rows) * d : 0;
        expect_head(q.data() + (r * n_heads + h) * d, in + h * d, qw != nullptr ? qw + row : nullptr,
                    qb != nullptr ? qb + row : nullptr, position);
        for (int64_t i = 0; i < d; ++i) q_written[static_cast<size_t>((r * n_heads + h) * d + i)] = true;
      }
      for (int64_t h = 0; h < n_kv_heads; ++h) {
        const int64_t row = k_rows > 0 ? h / (n_kv_heads / k_rows) * d : 0, at = (entry * n_kv_heads + h) * d;
        expect_head(k.data() + at, in + (n_heads + h) * d, kw != nullptr ? kw + row : nullptr,
                    kb != nullptr ? kb + row : nullptr, position);
        for (int64_t i = 0; i < d; ++i) {
          k_written[static_cast<size_t>(at + i)] = true;
          values_equal &= v[at + i] == narrow<T>(in[(n_heads + n_kv_heads + h) * d + i]);
        }
      }
    }
  }
  bool kept = true;
  for (int64_t i = 0; i < q.size(); ++i) kept &= q_written[static_cast<size_t>(i)] || q.untouched(i);
  for (int64_t i = 0; i < k.size(); ++i)
    kept &= k_written[static_cast<size_t>(i)] || (k.untouched(i) && v.untouched(i));
  char name[96];
  std::snprintf(name, sizeof name, "rope_append %s %lld/%lld heads of %lld, norm rows %lld/%lld, pairs %d",
                dtype_name<T>(), static_cast<long long>(n_heads), static_cast<long long>(n_kv_heads),
                static_cast<long long>(d), static_cast<long long>(q_rows), static_cast<long long>(k_rows),
                pairs);
  expect(parity.holds(), "%s: error %g, allowed %g", name, parity.error(), parity.allowed());
  expect(values_equal, "%s: the values differ", name);
  expect(kept && q.bands_intact() && k.bands_intact() && v.bands_intact(), "%s: written where no row is", name);
  sequences[0].kv_len = kCapacity - 3;
  refused(run(), SJD2_BAD_SHAPE, "rope_append beyond the cache");
  sequences[0] = states[0];
  sequences[2].position = kRope - 1;
  refused(run(), SJD2_BAD_SHAPE, "rope_append beyond the rotary table");
}

void check_convert() {
  // Every half and every bf16 there and back; NaN stays NaN.
  constexpr int64_t kAll = 65536;
  Guarded<uint16_t> bits(kAll), back(kAll);
  Guarded<float> wide(kAll);
  for (int64_t i = 0; i < kAll; ++i) bits[i] = static_cast<uint16_t>(i);
  for (const int32_t half : {SJD2_BF16, SJD2_F16}) {
    ok(sjd2_convert(stream, wide.at(), bits.in(), kAll, SJD2_F32, half), "convert");
    ok(sjd2_convert(stream, back.at(), wide.at(), kAll, half, SJD2_F32), "convert");
    wide.fetch();
    back.fetch();
    const int exponent = half == SJD2_F16 ? 0x7C00 : 0x7F80;
    bool equal = true;
    for (int64_t i = 0; i < kAll; ++i) {
      equal &= std::isnan(wide[i]) ? (back[i] & exponent) == exponent : back[i] == bits[i];
    }
    expect(equal, "convert: %s is not the same after f32 and back", half == SJD2_F16 ? "f16" : "bf16");
  }
  // To nearest, ties to even, halfway between neighbours of f16: 1 + 2^-11, 1 + 3 * 2^-11, the largest, subnormals.
  constexpr int64_t kCases = 8;
  const float values[kCases] = {1.00048828125f, 1.00146484375f, 65519.0f, 65520.0f,
                                2.98023224e-8f, 8.94069672e-8f, -0.0f,    6.1e-5f};
  const uint16_t want[kCases] = {0x3C00, 0x3C02, 0x7BFF, 0x7C00, 0x0000, 0x0002, 0x8000, 0x03FF};
  Guarded<float> x(kCases);
  Guarded<uint16_t> got(kCases);
  for (int64_t i = 0; i < kCases; ++i) x[i] = values[i];
  ok(sjd2_convert(stream, got.at(), x.in(), kCases, SJD2_F16, SJD2_F32), "convert");
  got.fetch();
  for (int64_t i = 0; i < kCases; ++i) {
    expect(got[i] == want[i], "convert %g to f16: %04x, expected %04x", static_cast<double>(values[i]), got[i], want[i]);
  }
  expect(got.bands_intact() && back.bands_intact() && wide.bands_intact(), "convert: written outside the output");
}

template <typename T>
void check_ropes() {
  uint64_t seed = 1;
  for (const int32_t pairs : {0, 1}) {
    for (const int64_t d : {2, 6, 16, 34, 64, 128, 256}) {
      check_rope<T>(4, 2, d, 0, 0, false, pairs, seed++);
      check_rope<T>(4, 2, d, 4, 2, true, pairs, seed++);
      check_rope<T>(6, 3, d, 1, 1, false, pairs, seed++);
      check_rope<T>(1, 1, d, 1, 0, true, pairs, seed++);
    }
  }
}

}  // namespace

int main() {
  return run("rows", [] {
    check_norms<float>();
    check_norms<uint16_t>();
    check_norm_add();
    check_activations<float>();
    check_activations<uint16_t>();
    check_embed<float>();
    check_embed<uint16_t>();
    check_sequence_input();
    check_ropes<float>();
    check_ropes<uint16_t>();
    check_convert();
  });
}
