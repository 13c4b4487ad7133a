// The image tokenisers' operations: convolutions against f64, moments, normalisation of groups, attention over a picture.
#include <array>

#include "check.h"

using namespace sjd2::test;

namespace {

struct Shape {
  int64_t batch, frames, height, width, channels, out_channels;
  int32_t kernel_frames, kernel;
  int32_t stride_frames, stride, enlarge_frames, enlarge;
  bool norm, map, swish, bias, accumulate;
};

sjd2_conv_shape describe(const Shape& c) {
  sjd2_conv_shape s = {};
  s.batch = c.batch;
  s.frames = c.frames, s.height = c.height, s.width = c.width, s.channels = c.channels;
  s.kernel_frames = c.kernel_frames, s.kernel_height = s.kernel_width = c.kernel;
  s.stride_frames = c.stride_frames, s.stride_height = s.stride_width = c.stride;
  s.pad_frames = c.kernel_frames - 1;
  s.pad_height = s.pad_width = c.stride == 2 ? 0 : c.kernel / 2;
  s.enlarge_frames = c.enlarge_frames, s.enlarge_space = c.enlarge;
  s.out_frames = (c.frames * c.enlarge_frames + c.stride_frames - 1) / c.stride_frames;
  s.out_height = std::max<int64_t>(1, c.height * c.enlarge / c.stride);
  s.out_width = std::max<int64_t>(1, c.width * c.enlarge / c.stride);
  s.out_channels = c.out_channels;
  if (c.map) s.map_height = 2, s.map_width = 3;
  s.swish = c.swish ? 1 : 0;
  s.accumulate = c.accumulate ? 1 : 0;
  return s;
}

// Everything that one convolution works on, and what it writes.
template <typename T>
struct Convolution {
  Convolution(const Shape& c, uint64_t seed)
      : s(describe(c)),
        taps(int64_t{s.kernel_frames} * s.kernel_height * s.kernel_width),
        pixels(s.out_frames * s.out_height * s.out_width),
        x(s.batch * s.frames * s.height * s.width * s.channels),
        norm(s.batch * 3 * s.channels),
        map(s.batch * std::max(1, s.map_height * s.map_width) * 2 * s.channels),
        bias(s.out_channels),
        before(s.batch * pixels * s.out_channels),
        out(s.batch * pixels * s.out_channels),
        moments(s.batch * 2 * s.out_channels),
        w(s.out_channels * s.channels * taps),
        packed(elements(), Place::kAligned),
        shape(c) {
    Random random(seed);
    x.fill_normal(random);
    norm.fill_normal(random, 0.5);
    map.fill_normal(random, 0.5);
    bias.fill_normal(random);
    before.fill_normal(random);
    w.fill_normal(random, 1.0 / std::sqrt(static_cast<double>(s.channels * taps)));
    packed.fill(T{});
    const int64_t half = s.out_channels / 2;
    packed.in();
    w.in();
    ok(sjd2_pack_conv(stream, packed.at(), w.at(), 0, half, s.out_channels, s.channels, taps, dtype<T>(), dtype<T>()), "pack_conv");
    ok(sjd2_pack_conv(stream, packed.at(), w.at(half * s.channels * taps), half, s.out_channels - half, s.out_channels,
                      s.channels, taps, dtype<T>(), dtype<T>()),
       "pack_conv");
  }

  int64_t elements() const {
    int64_t n = 0;
    sjd2_packed_conv_elements(&n, s.out_channels, s.channels, taps, dtype<T>());
    return n;
  }

  int32_t run() {
    if (shape.accumulate) std::memcpy(out.data(), before.data(), static_cast<size_t>(out.size()) * 4);
    const int32_t status = call();
    if (status == SJD2_OK) {
      const int32_t waited = sjd2_stream_synchronize(stream);
      out.fetch();
      moments.fetch();
      return waited;
    }
    return status;
  }

  int32_t call() {
    const float *n = shape.norm ? norm.in() : nullptr, *m = shape.map ? map.in() : nullptr,
                *b = shape.bias ? bias.in() : nullptr;
    if constexpr (std::is_same_v<T, float>) {
      return sjd2_conv_f32(stream, out.in(), moments.in(), x.in(), n, m, packed.at(), b, &s);
    } else {
      return sjd2_conv_bf16(stream, out.in(), moments.in(), x.in(), n, m, packed.at(), b, &s);
    }
  }

  // What enters the products, rounded to T; 0 outside of the picture.
  double input(int64_t n, int64_t t, int64_t y, int64_t xx, int64_t c) const {
    if (t < 0 || y < 0 || xx < 0) return 0.0;
    t /= s.enlarge_frames, y /= s.enlarge_space, xx /= s.enlarge_space;
    if (t >= s.frames || y >= s.height || xx >= s.width) return 0.0;
    float v = x[(((n * s.frames + t) * s.height + y) * s.width + xx) * s.channels + c];
    const int64_t d = s.channels;
    if (shape.norm) v = std::fma(v - norm[n * 3 * d + c], norm[(n * 3 + 1) * d + c], norm[(n * 3 + 2) * d + c]);
    if (shape.map) {
      const int64_t at = ((n * s.map_height + y * s.map_height / s.height) * s.map_width + xx * s.map_width / s.width) * 2 * d;
      v = std::fma(v, map[at + c], map[at + d + c]);
    }
    if (shape.swish) v = v / (1.0f + std::exp(-v));
    return static_cast<double>(widen(narrow<T>(v)));
  }

  sjd2_conv_shape s;
  int64_t taps, pixels;
  Guarded<float> x, norm, map, bias, before, out, moments;
  Guarded<T> w, packed;
  Shape shape;
};

template <typename T>
void check_conv(const Shape& c, uint64_t seed) {
  char name[160];
  std::snprintf(name, sizeof name, "conv %s %lldx%lldx%lldx%lldx%lld to %lld, kernel %d/%d, stride %d, enlarge %d, seed %d",
                dtype_name<T>(), static_cast<long long>(c.batch), static_cast<long long>(c.frames),
                static_cast<long long>(c.height), static_cast<long long>(c.width), static_cast<long long>(c.channels),
                static_cast<long long>(c.out_channels), c.kernel_frames, c.kernel, c.stride, c.enlarge, static_cast<int>(seed));
  Convolution<T> conv(c, seed);
  const sjd2_conv_shape& s = conv.s;
  if (!expect(conv.run() == SJD2_OK, "%s: %s", name, sjd2_last_error())) return;
  Parity<float> parity;
  double largest = 0.0, off = 0.0;
  const int64_t n_out = s.out_channels;
  for (int64_t n = 0; n < s.batch; ++n) {
    std::vector<double> mean(static_cast<size_t>(n_out)), square(static_cast<size_t>(n_out));
    for (int64_t p = 0; p < conv.pixels; ++p) {
      const int64_t t = p / (s.out_height * s.out_width), y = p / s.out_width % s.out_height, x = p % s.out_width;
      for (int64_t o = 0; o < n_out; ++o) {
        const int64_t at = (n * conv.pixels + p) * n_out + o;
        const double start = (c.accumulate ? conv.before[at] : 0.0) + (c.bias ? conv.bias[o] : 0.0);
        double exact = start;
        auto naive = static_cast<float>(start);
        for (int64_t k = 0; k < conv.taps; ++k) {
          const int64_t i = k / (s.kernel_height * s.kernel_width), j = k / s.kernel_width % s.kernel_height,
                        l = k % s.kernel_width;
          for (int64_t ch = 0; ch < s.channels; ++ch) {
            const double v = conv.input(n, t * s.stride_frames + i - s.pad_frames, y * s.stride_height + j - s.pad_height,
                                        x * s.stride_width + l - s.pad_width, ch);
            const double product = v * static_cast<double>(widen(conv.w[(o * s.channels + ch) * conv.taps + k]));
            exact += product;
            naive += static_cast<float>(product);
          }
        }
        parity.add(conv.out[at], naive, exact);
        // The moments are those of what was written.
        mean[static_cast<size_t>(o)] += conv.out[at] / static_cast<double>(conv.pixels);
        square[static_cast<size_t>(o)] +=
            static_cast<double>(conv.out[at]) * conv.out[at] / static_cast<double>(conv.pixels);
      }
    }
    for (int64_t o = 0; o < n_out; ++o) {
      const double m = mean[static_cast<size_t>(o)], v = square[static_cast<size_t>(o)] - m * m;
      largest = std::fmax(largest, std::fabs(m) + v);
      off = std::fmax(off, std::fabs(conv.moments[n * 2 * n_out + o] - m));
      off = std::fmax(off, std::fabs(conv.moments[(n * 2 + 1) * n_out + o] - v));
    }
  }
  // Where operands are activated before they are rounded, expf of device and host may round apart: a bf16 step of one.
  const double slack = (c.swish && std::is_same_v<T, uint16_t>) ? 0x1p-8 : 0.0;
  expect(parity.error() <= parity.allowed() + slack, "%s: error %g, allowed %g", name, parity.error(), parity.allowed());
  expect(off <= 2e-6 * (1.0 + largest), "%s: moments off by %g", name, off);
  expect(conv.out.bands_intact() && conv.moments.bands_intact(), "%s: written outside the output", name);
}

template <typename T>
void check_convs() {
  uint64_t seed = 1;
  for (const Shape& c : {
           Shape{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, false, false, false, false, false},
           Shape{1, 1, 5, 7, 2, 3, 1, 3, 1, 1, 1, 1, false, false, false, true, false},
           Shape{2, 1, 9, 17, 33, 65, 1, 3, 1, 1, 1, 1, true, false, true, true, true},
           Shape{1, 1, 3, 18, 40, 20, 1, 1, 1, 1, 1, 1, true, true, false, false, false},
           Shape{1, 1, 5, 9, 16, 17, 1, 3, 1, 1, 1, 2, false, false, false, true, false},
           Shape{1, 1, 18, 34, 3, 16, 1, 3, 1, 2, 1, 1, false, false, true, true, false},
           Shape{1, 3, 4, 5, 6, 5, 3, 3, 2, 1, 1, 1, true, false, true, true, false},
           Shape{1, 2, 3, 4, 5, 4, 3, 1, 1, 1, 2, 2, false, true, true, false, true},
           Shape{1, 1, 8, 3, 4, 3, 1, 7, 1, 2, 1, 1, false, false, false, true, false},
       }) {
    check_conv<T>(c, seed++);
  }
}

// A picture's bits are its own: alone, and as the second of a pair.
template <typename T>
void check_pairs() {
  const Shape pair = {2, 1, 10, 19, 12, 9, 1, 3, 1, 1, 1, 1, true, false, true, true, false};
  Shape one = pair;
  one.batch = 1;
  Convolution<T> both(pair, 77), alone(one, 77);
  const int64_t in = both.x.size() / 2, out = both.out.size() / 2, norm = both.norm.size() / 2;
  for (int64_t i = 0; i < in; ++i) alone.x[i] = both.x[in + i];
  for (int64_t i = 0; i < norm; ++i) alone.norm[i] = both.norm[norm + i];
  for (int64_t i = 0; i < alone.bias.size(); ++i) alone.bias[i] = both.bias[i];
  for (int64_t i = 0; i < alone.packed.size(); ++i) alone.packed[i] = T{};
  for (int64_t i = 0; i < alone.w.size(); ++i) alone.w[i] = both.w[i];
  ok(sjd2_pack_conv(stream, alone.packed.in(), alone.w.in(), 0, alone.s.out_channels, alone.s.out_channels, alone.s.channels,
                    alone.taps, dtype<T>(), dtype<T>()),
     "pack_conv");
  expect(both.run() == SJD2_OK && alone.run() == SJD2_OK, "conv of a pair: %s", sjd2_last_error());
  expect(std::memcmp(both.out.data() + out, alone.out.data(), static_cast<size_t>(out) * 4) == 0,
         "conv %s: a picture depends on the one beside it", dtype_name<T>());
}

// Sums of squares would lose this variance in f32.
void check_large_mean() {
  Convolution<float> conv({1, 1, 20, 35, 4, 3, 1, 3, 1, 1, 1, 1, false, false, false, true, false}, 5);
  for (int64_t i = 0; i < conv.bias.size(); ++i) conv.bias[i] = 3000.0f + static_cast<float>(i);
  expect(conv.run() == SJD2_OK, "conv: %s", sjd2_last_error());
  for (int64_t o = 0; o < 3; ++o) {
    double mean = 0.0, variance = 0.0;
    for (int64_t p = 0; p < conv.pixels; ++p) mean += conv.out[p * 3 + o] / static_cast<double>(conv.pixels);
    for (int64_t p = 0; p < conv.pixels; ++p) {
      const double d = conv.out[p * 3 + o] - mean;
      variance += d * d / static_cast<double>(conv.pixels);
    }
    expect(std::fabs(conv.moments[o] - mean) < 1e-6 * mean && std::fabs(conv.moments[3 + o] - variance) < 1e-5 * variance,
           "moments about a mean of 3000: %g and %g, expected %g and %g", static_cast<double>(conv.moments[o]),
           static_cast<double>(conv.moments[3 + o]), mean, variance);
  }
}

void check_groups() {
  for (const auto& [batch, channels, groups] : {std::array<int64_t, 3>{1, 1, 1}, {2, 6, 3}, {3, 140, 35}}) {
    Random random(static_cast<uint64_t>(channels));
    Guarded<float> norm(batch * 3 * channels), moments(batch * 2 * channels), weight(channels), bias(channels);
    moments.fill_normal(random);
    weight.fill_normal(random);
    bias.fill_normal(random);
    for (int64_t i = 0; i < moments.size(); ++i) {
      if (i / channels % 2 == 1) moments[i] = std::fabs(moments[i]);
    }
    ok(sjd2_group_norm_f32(stream, norm.at(), moments.in(), weight.in(), bias.in(), batch, channels, groups, 1e-6f),
       "group_norm");
    norm.fetch();
    const int64_t size = channels / groups;
    bool right = norm.bands_intact();
    for (int64_t i = 0; i < batch * channels; ++i) {
      const int64_t n = i / channels, c = i % channels, first = c / size * size;
      double mean = 0.0, square = 0.0;
      for (int64_t m = first; m < first + size; ++m) {
        const double value = moments[n * 2 * channels + m];
        mean += value / static_cast<double>(size);
        square += (moments[(n * 2 + 1) * channels + m] + value * value) / static_cast<double>(size);
      }
      const double factor = weight[c] / std::sqrt(square - mean * mean + 1e-6);
      right = right && std::fabs(norm[n * 3 * channels + c] - mean) < 1e-6 &&
              std::fabs(norm[(n * 3 + 1) * channels + c] - factor) <= 2e-6 * std::fabs(factor) &&
              norm[(n * 3 + 2) * channels + c] == bias[c];
    }
    expect(right, "group_norm of %d channels in %d groups", static_cast<int>(channels), static_cast<int>(groups));
  }
}

template <typename T>
void check_attention(int64_t batch, int64_t positions, int64_t channels, uint64_t seed) {
  Random random(seed);
  Guarded<float> qkv(batch * positions * 3 * channels), out(batch * positions * channels);
  for (int64_t i = 0; i < qkv.size(); ++i) qkv[i] = widen(narrow<T>(static_cast<float>(random.normal())));
  const auto scale = static_cast<float>(1.5 / std::sqrt(static_cast<double>(channels)));
  int32_t status = std::is_same_v<T, float>
                       ? sjd2_vq_attention_f32(stream, out.at(), qkv.in(), batch, positions, channels, scale)
                       : sjd2_vq_attention_bf16(stream, out.at(), qkv.in(), batch, positions, channels, scale);
  if (!ok(status, "vq_attention")) return;
  out.fetch();
  double worst = 0.0;
  std::vector<double> p(static_cast<size_t>(positions));
  for (int64_t row = 0; row < batch * positions; ++row) {
    const int64_t first = row / positions * positions;
    double top = -INFINITY, total = 0.0;
    for (int64_t t = 0; t < positions; ++t) {
      double dot = 0.0;
      for (int64_t c = 0; c < channels; ++c) {
        dot += static_cast<double>(qkv[row * 3 * channels + c]) * qkv[((first + t) * 3 + 1) * channels + c];
      }
      p[static_cast<size_t>(t)] = dot * static_cast<double>(scale);
      top = std::fmax(top, p[static_cast<size_t>(t)]);
    }
    for (double& weight : p) total += weight = std::exp(weight - top);
    for (int64_t c = 0; c < channels; ++c) {
      double exact = 0.0, largest = 0.0;
      for (int64_t t = 0; t < positions; ++t) {
        const double product = p[static_cast<size_t>(t)] / total * qkv[((first + t) * 3 + 2) * channels + c];
        exact += product;
        largest += std::fabs(product);
      }
      worst = std::fmax(worst, std::fabs(out[row * channels + c] - exact) / (largest + 1e-6));
    }
  }
  // Sums in f32 of some hundred terms; in bf16 each weight is rounded, by half a step at most.
  const double allowed = std::is_same_v<T, float> ? 1e-5 : 0x1p-8;
  expect(worst <= allowed && out.bands_intact(), "vq_attention %s, %d positions of %d channels: error %g", dtype_name<T>(),
         static_cast<int>(positions), static_cast<int>(channels), worst);
}

void check_refusals() {
  Convolution<float> conv({1, 1, 4, 4, 2, 3, 1, 3, 1, 1, 1, 1, false, false, false, false, false}, 1);
  conv.s.stride_width = 3;
  refused(conv.call(), SJD2_BAD_SHAPE, "stride 3");
  conv.s.stride_width = 1;
  conv.s.kernel_height = 9;
  refused(conv.call(), SJD2_BAD_SHAPE, "nine taps");
  conv.s.kernel_height = 3;
  conv.s.channels = 0;
  refused(conv.call(), SJD2_BAD_SHAPE, "no channels");
  Guarded<float> values(16);
  refused(sjd2_conv_f32(stream, values.at(), nullptr, nullptr, nullptr, nullptr, values.at(), nullptr, &conv.s),
          SJD2_BAD_ARGUMENT, "no picture");
  refused(sjd2_group_norm_f32(stream, values.at(), values.at(), values.at(), values.at(), 1, 4, 3, 0.0f), SJD2_BAD_SHAPE,
          "3 groups of 4 channels");
  refused(sjd2_vq_attention_f32(stream, values.at(), values.at(), 1, 2, 2, 0.0f), SJD2_BAD_ARGUMENT, "scale 0");
  refused(sjd2_vq_attention_f32(stream, values.at(), values.at(), 1, 1 << 20, 512, 1.0f), SJD2_OUT_OF_MEMORY,
          "a million positions");
  refused(sjd2_pack_conv(stream, values.at(), values.at(), 2, 2, 3, 1, 1, SJD2_F32, SJD2_F32), SJD2_BAD_SHAPE,
          "rows behind the last");
}

}  // namespace

int main() {
  return run("picture", [] {
    check_convs<float>();
    check_convs<uint16_t>();
    check_pairs<float>();
    check_pairs<uint16_t>();
    check_large_mean();
    check_groups();
    uint64_t seed = 1;
    for (const auto& [batch, positions, channels] : {std::array<int64_t, 3>{1, 1, 1}, {2, 5, 3}, {1, 48, 32}, {2, 67, 70}}) {
      check_attention<float>(batch, positions, channels, seed);
      check_attention<uint16_t>(batch, positions, channels, seed++);
    }
    check_refusals();
  });
}
