// Convolution, group norm and attention over pictures against their formulas, on every instruction set, through the C ABI:
// shapes with an odd number of everything, guard bands around what is written, the same bits for any number of threads.
#include <algorithm>

#include "check.h"

using namespace sjd2::test;

namespace {

struct Case {
  const char* name;
  sjd2_conv_shape s;
  bool norm, map, bias;
};

// Square kernels; time is left out where frames is 1.
sjd2_conv_shape shape(int64_t batch, int64_t height, int64_t width, int64_t channels, int64_t out_channels, int32_t side,
                      int32_t stride = 1, int32_t enlarge = 1) {
  sjd2_conv_shape s = {};
  s.batch = batch;
  s.frames = s.out_frames = s.kernel_frames = s.stride_frames = s.enlarge_frames = 1;
  s.height = height;
  s.width = width;
  s.channels = channels;
  s.out_height = height * enlarge / stride;
  s.out_width = width * enlarge / stride;
  s.out_channels = out_channels;
  s.kernel_height = s.kernel_width = side;
  s.stride_height = s.stride_width = stride;
  s.pad_height = s.pad_width = stride == 1 ? side / 2 : 0;
  s.enlarge_space = enlarge;
  return s;
}

sjd2_conv_shape activated(sjd2_conv_shape s) {
  s.swish = 1;
  return s;
}

sjd2_conv_shape added(sjd2_conv_shape s) {
  s.accumulate = 1;
  return s;
}

sjd2_conv_shape causal(sjd2_conv_shape s, int64_t frames, int32_t kernel, int32_t stride, int32_t enlarge) {
  s.frames = frames;
  s.kernel_frames = kernel;
  s.stride_frames = stride;
  s.enlarge_frames = enlarge;
  s.pad_frames = 2;
  s.out_frames = (frames * enlarge + 2 - kernel) / stride + 1;
  return s;
}

sjd2_conv_shape mapped(sjd2_conv_shape s, int32_t height, int32_t width) {
  s.map_height = height;
  s.map_width = width;
  return s;
}

std::vector<Case> cases() {
  return {{"one of everything", shape(1, 1, 1, 1, 1, 1), false, false, false},
          {"three outputs", activated(shape(1, 5, 13, 40, 3, 3)), true, false, true},
          {"one panel", shape(1, 3, 50, 7, 16, 3), false, false, true},
          {"a panel alone in its group", added(shape(2, 4, 25, 33, 40, 3)), false, false, true},
          {"several groups", activated(added(shape(1, 17, 12, 64, 65, 3))), true, false, true},
          {"wider than a piece", shape(1, 2, 97, 5, 33, 3), false, false, false},
          {"one tap", activated(shape(1, 3, 19, 31, 20, 1)), false, false, true},
          {"five taps", shape(1, 6, 7, 3, 5, 5), false, false, false},
          {"halving", shape(1, 18, 26, 33, 18, 3, 2), false, false, true},
          {"enlarging", shape(1, 5, 13, 35, 17, 3, 1, 2), false, false, true},
          {"modulated", mapped(activated(shape(2, 6, 10, 6, 12, 3)), 3, 5), true, true, false},
          {"longer in time", causal(shape(2, 4, 5, 4, 4, 3), 2, 3, 1, 2), false, false, true},
          {"shorter in time", causal(shape(1, 4, 5, 8, 8, 3), 4, 4, 2, 1), false, false, false},
          {"in time alone", causal(shape(1, 3, 7, 4, 5, 1), 1, 3, 1, 1), false, false, true}};
}

int64_t pixels_in(const sjd2_conv_shape& s) { return s.batch * s.frames * s.height * s.width; }
int64_t pixels_out(const sjd2_conv_shape& s) { return s.batch * s.out_frames * s.out_height * s.out_width; }

template <typename T>
struct Data {
  Guarded<float> x, norm, map, bias, before;
  Guarded<T> w;

  Data(const Case& c, Random& random)
      : x(pixels_in(c.s) * c.s.channels), norm(c.s.batch * 3 * c.s.channels),
        map(c.map ? c.s.batch * c.s.map_height * c.s.map_width * 2 * c.s.channels : 0), bias(c.s.out_channels),
        before(pixels_out(c.s) * c.s.out_channels),
        w(c.s.out_channels * c.s.channels * c.s.kernel_frames * c.s.kernel_height * c.s.kernel_width) {
    x.fill_normal(random);
    for (int64_t i = 0; i < x.size(); ++i) x[i] = widen(narrow<T>(x[i]));
    norm.fill_normal(random);
    map.fill_normal(random);
    bias.fill_normal(random);
    before.fill_normal(random);
    w.fill_normal(random, 1.0 / std::sqrt(static_cast<double>(w.size() / c.s.out_channels)));
  }
};

// What a convolution multiplies, before it is rounded.
template <typename T>
double input(const Case& c, const Data<T>& d, int64_t pixel, int64_t channel) {
  const sjd2_conv_shape& s = c.s;
  const int64_t x = pixel % s.width, y = pixel / s.width % s.height, n = pixel / s.width / s.height / s.frames;
  double v = d.x[pixel * s.channels + channel];
  if (c.norm) {
    const int64_t at = n * 3 * s.channels + channel;
    v = (v - d.norm[at]) * d.norm[at + s.channels] + d.norm[at + 2 * s.channels];
  }
  if (c.map) {
    const int64_t cell = (n * s.map_height + y * s.map_height / s.height) * s.map_width + x * s.map_width / s.width;
    v = v * d.map[cell * 2 * s.channels + channel] + d.map[(cell * 2 + 1) * s.channels + channel];
  }
  return s.swish != 0 ? v / (1 + std::exp(-v)) : v;
}

struct Expected {
  double exact, naive, largest;  // naive: the f32 loop; largest: of the products
};

template <typename T>
Expected expected(const Case& c, const Data<T>& d, const std::vector<float>& v, int64_t pixel, int64_t o) {
  const sjd2_conv_shape& s = c.s;
  const int64_t column = pixel % s.out_width, row = pixel / s.out_width % s.out_height;
  const int64_t frame = pixel / s.out_width / s.out_height % s.out_frames, n = pixel / s.out_width / s.out_height / s.out_frames;
  Expected e = {};
  float sum = 0;
  int64_t tap = 0;
  const int64_t taps = s.kernel_frames * s.kernel_height * s.kernel_width;
  for (int64_t i = 0; i < s.kernel_frames; ++i) {
    for (int64_t j = 0; j < s.kernel_height; ++j) {
      for (int64_t k = 0; k < s.kernel_width; ++k, ++tap) {
        const int64_t f = frame * s.stride_frames + i - s.pad_frames, y = row * s.stride_height + j - s.pad_height;
        const int64_t x = column * s.stride_width + k - s.pad_width;
        if (f < 0 || y < 0 || x < 0 || f >= s.frames * s.enlarge_frames || y >= s.height * s.enlarge_space ||
            x >= s.width * s.enlarge_space) {
          continue;
        }
        const int64_t from =
            ((n * s.frames + f / s.enlarge_frames) * s.height + y / s.enlarge_space) * s.width + x / s.enlarge_space;
        for (int64_t channel = 0; channel < s.channels; ++channel) {
          const float w = widen(d.w[(o * s.channels + channel) * taps + tap]);
          const float value = v[static_cast<size_t>(from * s.channels + channel)];
          const double product = static_cast<double>(w) * value;
          e.exact += product;
          e.largest = std::max(e.largest, std::fabs(product));
          sum += w * value;
        }
      }
    }
  }
  if (c.bias) {
    e.exact += d.bias[o];
    sum += d.bias[o];
  }
  if (s.accumulate != 0) {
    e.exact += d.before[pixel * s.out_channels + o];
    sum += d.before[pixel * s.out_channels + o];
  }
  e.naive = sum;
  return e;
}

template <typename T>
int32_t convolve(sjd2_stream stream, float* out, float* moments, const Case& c, const Data<T>& d, const T* w) {
  const float *norm = c.norm ? d.norm.data() : nullptr, *map = c.map ? d.map.data() : nullptr;
  const float* bias = c.bias ? d.bias.data() : nullptr;
  if constexpr (sizeof(T) == 4) {
    return sjd2_conv_f32(stream, out, moments, d.x.data(), norm, map, w, bias, &c.s);
  } else {
    return sjd2_conv_bf16(stream, out, moments, d.x.data(), norm, map, w, bias, &c.s);
  }
}

template <typename T>
void check_conv(sjd2_stream stream, const Case& c, uint64_t seed) {
  Random random(seed);
  const Data<T> d(c, random);
  const sjd2_conv_shape& s = c.s;
  const int64_t taps = s.kernel_frames * s.kernel_height * s.kernel_width;
  int64_t elements = 0;
  ok(sjd2_packed_conv_elements(&elements, s.out_channels, s.channels, taps, dtype<T>()), "packed_conv_elements");
  Aligned<T> w(elements);
  // In two parts, as a checkpoint in several files comes.
  const int64_t half = s.out_channels / 2;
  ok(sjd2_pack_conv(stream, w.data(), d.w.data(), 0, half, s.out_channels, s.channels, taps, dtype<T>(), dtype<T>()),
     "pack_conv");
  ok(sjd2_pack_conv(stream, w.data(), d.w.data() + half * s.channels * taps, half, s.out_channels - half, s.out_channels,
                    s.channels, taps, dtype<T>(), dtype<T>()),
     "pack_conv");
  Guarded<float> out(d.before.size()), moments(s.batch * 2 * s.out_channels);
  std::copy(d.before.data(), d.before.data() + d.before.size(), out.data());
  ok(convolve(stream, out.data(), moments.data(), c, d, w.data()), c.name);
  expect(out.bands_intact() && moments.bands_intact(), "%s: wrote beside its output", c.name);

  const bool rounds = sizeof(T) == 2 && (c.norm || c.map || s.swish != 0);
  std::vector<float> v(static_cast<size_t>(pixels_in(s) * s.channels));
  for (size_t i = 0; i < v.size(); ++i) {
    const auto at = static_cast<int64_t>(i);
    v[i] = widen(narrow<T>(static_cast<float>(input(c, d, at / s.channels, at % s.channels))));
  }
  Parity<float> parity;
  double worst = 0;  // in rounding steps of one operand, which may fall to either side
  for (int64_t pixel = 0; pixel < pixels_out(s); ++pixel) {
    for (int64_t o = 0; o < s.out_channels; ++o) {
      const Expected e = expected(c, d, v, pixel, o);
      const float got = out[pixel * s.out_channels + o];
      parity.add(got, e.naive, e.exact);
      worst = std::max(worst, std::fabs(got - e.exact) / (e.largest * 0x1p-8 + 1e-6));
    }
  }
  // An activation in f32 has its own error, some 2 ulp of each operand.
  const bool near = parity.holds() || (rounds ? worst <= 4.0 : s.swish != 0 && worst <= 0x1p-8);
  expect(near, "%s %s: off by %g, allowed %g; %g steps", dtype_name<T>(), c.name, parity.error(), parity.allowed(), worst);

  for (int64_t n = 0; n < s.batch; ++n) {
    const int64_t count = pixels_out(s) / s.batch;
    for (int64_t o = 0; o < s.out_channels; ++o) {
      double mean = 0, variance = 0;
      for (int64_t p = 0; p < count; ++p) mean += out[(n * count + p) * s.out_channels + o];
      mean /= static_cast<double>(count);
      for (int64_t p = 0; p < count; ++p) {
        const double distance = out[(n * count + p) * s.out_channels + o] - mean;
        variance += distance * distance;
      }
      variance /= static_cast<double>(count);
      expect(std::fabs(moments[n * 2 * s.out_channels + o] - mean) <= 1e-5 * (1 + std::fabs(mean)) &&
                 std::fabs(moments[(n * 2 + 1) * s.out_channels + o] - variance) <= 1e-4 * (1e-3 + variance),
             "%s: moments of channel %lld", c.name, static_cast<long long>(o));
    }
  }

  // Alone, and without moments, the bits are the same.
  Guarded<float> again(d.before.size());
  std::copy(d.before.data(), d.before.data() + d.before.size(), again.data());
  Stream alone(1);
  ok(convolve(static_cast<sjd2_stream>(alone), again.data(), nullptr, c, d, w.data()), c.name);
  expect(std::memcmp(again.data(), out.data(), static_cast<size_t>(out.size()) * 4) == 0,
         "%s %s: other bits on another number of threads", dtype_name<T>(), c.name);
}

void check_group_norm(sjd2_stream stream) {
  constexpr int64_t kBatch = 2, kChannels = 12, kGroups = 4, kSize = kChannels / kGroups;
  Random random(5);
  Guarded<float> norm(kBatch * 3 * kChannels), moments(kBatch * 2 * kChannels), weight(kChannels), bias(kChannels);
  moments.fill_normal(random);
  for (int64_t i = 0; i < moments.size(); ++i) {
    if (i / kChannels % 2 == 1) moments[i] = std::fabs(moments[i]);
  }
  weight.fill_normal(random);
  bias.fill_normal(random);
  ok(sjd2_group_norm_f32(stream, norm.data(), moments.data(), weight.data(), bias.data(), kBatch, kChannels, kGroups, 1e-6f),
     "group_norm");
  expect(norm.bands_intact(), "group_norm: wrote beside its output");
  for (int64_t n = 0; n < kBatch; ++n) {
    for (int64_t c = 0; c < kChannels; ++c) {
      double mean = 0, squares = 0;
      for (int64_t i = c / kSize * kSize; i < (c / kSize + 1) * kSize; ++i) {
        const double m = moments[n * 2 * kChannels + i], v = moments[(n * 2 + 1) * kChannels + i];
        mean += m / kSize;
        squares += (v + m * m) / kSize;
      }
      const double factor = weight[c] / std::sqrt(squares - mean * mean + 1e-6);
      const float* got = norm.data() + n * 3 * kChannels + c;
      expect(std::fabs(got[0] - mean) < 1e-6 && std::fabs(got[kChannels] - factor) < 1e-5 * (1 + std::fabs(factor)) &&
                 got[2 * kChannels] == bias[c],
             "group_norm: channel %lld", static_cast<long long>(c));
    }
  }
}

template <typename T>
void check_attention(sjd2_stream stream, int64_t batch, int64_t positions, int64_t channels) {
  Random random(static_cast<uint64_t>(positions * 1000 + channels));
  Guarded<float> out(batch * positions * channels), qkv(batch * positions * 3 * channels);
  qkv.fill_normal(random);
  for (int64_t i = 0; i < qkv.size(); ++i) qkv[i] = widen(narrow<T>(qkv[i]));
  const float scale = 1.0f / std::sqrt(static_cast<float>(channels));
  const auto attend = [&](sjd2_stream on, float* target) {
    if constexpr (sizeof(T) == 4) {
      ok(sjd2_vq_attention_f32(on, target, qkv.data(), batch, positions, channels, scale), "vq_attention");
    } else {
      ok(sjd2_vq_attention_bf16(on, target, qkv.data(), batch, positions, channels, scale), "vq_attention");
    }
  };
  attend(stream, out.data());
  expect(out.bands_intact(), "vq_attention: wrote beside its output");
  double worst = 0;
  std::vector<double> weights(static_cast<size_t>(positions));
  for (int64_t n = 0; n < batch; ++n) {
    const float* picture = qkv.data() + n * positions * 3 * channels;
    for (int64_t p = 0; p < positions; ++p) {
      double total = 0;
      for (int64_t t = 0; t < positions; ++t) {
        double score = 0;
        for (int64_t c = 0; c < channels; ++c) {
          score += static_cast<double>(picture[p * 3 * channels + c]) * picture[(t * 3 + 1) * channels + c];
        }
        weights[static_cast<size_t>(t)] = std::exp(score * scale);
        total += weights[static_cast<size_t>(t)];
      }
      for (int64_t c = 0; c < channels; ++c) {
        double value = 0;
        for (int64_t t = 0; t < positions; ++t) {
          value += weights[static_cast<size_t>(t)] / total * picture[(t * 3 + 2) * channels + c];
        }
        worst = std::max(worst, std::fabs(out[(n * positions + p) * channels + c] - value));
      }
    }
  }
  // Weights are rounded to bf16 one by one: a step of at most 2^-9 of a value of at most 3.5, mostly evened out.
  expect(worst <= (sizeof(T) == 2 ? 7e-3 : 5e-6), "vq_attention %s of %lld x %lld: off by %g", dtype_name<T>(),
         static_cast<long long>(positions), static_cast<long long>(channels), worst);
  Guarded<float> again(out.size());
  Stream alone(1);
  attend(static_cast<sjd2_stream>(alone), again.data());
  expect(std::memcmp(again.data(), out.data(), static_cast<size_t>(out.size()) * 4) == 0,
         "vq_attention: other bits on another number of threads");
}

void expect_refusal(int32_t status, int32_t wanted, const char* part) {
  expect(status == wanted && std::strstr(sjd2_last_error(), part) != nullptr, "status %d and \"%s\", expected %d and \"%s\"",
         status, sjd2_last_error(), wanted, part);
}

void check_refusals(sjd2_stream stream) {
  float numbers[64] = {};
  sjd2_conv_shape s = shape(1, 2, 2, 1, 1, 3);
  s.stride_width = 3;
  expect_refusal(sjd2_conv_f32(stream, numbers, nullptr, numbers + 32, nullptr, nullptr, numbers + 48, nullptr, &s),
                 SJD2_BAD_SHAPE, "stride_width is 3");
  s = shape(1, 2, 2, 1, 1, 3);
  s.kernel_height = 9;
  expect_refusal(sjd2_conv_f32(stream, numbers, nullptr, numbers + 32, nullptr, nullptr, numbers + 48, nullptr, &s),
                 SJD2_BAD_SHAPE, "kernel_height is 9");
  expect_refusal(sjd2_conv_f32(stream, nullptr, nullptr, numbers, nullptr, nullptr, numbers, nullptr, &s),
                 SJD2_BAD_ARGUMENT, "NULL");
  expect_refusal(sjd2_group_norm_f32(stream, numbers, numbers, numbers, numbers, 1, 4, 3, 0.0f), SJD2_BAD_SHAPE,
                 "groups=3");
  expect_refusal(sjd2_vq_attention_f32(stream, numbers, numbers, 1, 1, 1, -1.0f), SJD2_BAD_ARGUMENT, "scale");
  int64_t elements = 0;
  expect_refusal(sjd2_packed_conv_elements(&elements, 1, 1, 344, SJD2_F32), SJD2_BAD_SHAPE, "taps is 344");
}

void run(sjd2_stream stream) {
  uint64_t seed = 1;
  for (const Case& c : cases()) {
    check_conv<float>(stream, c, seed);
    check_conv<uint16_t>(stream, c, seed++);
  }
  check_group_norm(stream);
  check_attention<float>(stream, 2, 21, 20);
  check_attention<uint16_t>(stream, 2, 21, 20);
  check_attention<float>(stream, 1, 50, 33);
  check_attention<uint16_t>(stream, 1, 50, 33);
  check_refusals(stream);
}

}  // namespace

int main() {
  on_every_set(run);
  return finish("pictures_test");
}
