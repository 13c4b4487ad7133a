// Image tokenisers: convolutions, group norm and the attention over a picture's positions. A library that does not export them
// yet leaves these cases out and says so.
#include "bench.h"

#pragma weak sjd2_packed_conv_elements
#pragma weak sjd2_pack_conv
#pragma weak sjd2_conv_f32
#pragma weak sjd2_conv_bf16
#pragma weak sjd2_group_norm_f32
#pragma weak sjd2_vq_attention_f32
#pragma weak sjd2_vq_attention_bf16

namespace sjd2::bench {
namespace {

double swish(double v) { return v / (1.0 + std::exp(-v)); }

// A 3 x 3 convolution of a normalised, activated feature map, as nearly all of an image decoder's time goes into.
template <typename T>
Case conv(int64_t side, int64_t channels, bool enlarge) {
  struct Memory {
    Guarded<float> out, moments, x, norm, bias;
    Guarded<T> weights, packed;
    Memory(int64_t side, int64_t out_side, int64_t channels, int64_t elements)
        : out(out_side * out_side * channels, Place::kAligned), moments(2 * channels, Place::kAligned),
          x(side * side * channels, Place::kAligned), norm(3 * channels, Place::kAligned), bias(channels, Place::kAligned),
          weights(channels * channels * 9, Place::kAligned), packed(elements, Place::kAligned) {}
  };
  int64_t elements = 0;
  ok(sjd2_packed_conv_elements(&elements, channels, channels, 9, dtype<T>()), "packed_conv_elements");
  const int64_t out_side = enlarge ? 2 * side : side;
  const auto m = std::make_shared<Memory>(side, out_side, channels, elements);
  Random random(41);
  m->x.fill_normal(random);
  m->bias.fill_normal(random);
  m->weights.fill_normal(random, 1.0 / std::sqrt(9.0 * static_cast<double>(channels)));
  for (int64_t c = 0; c < channels; ++c) {
    m->norm[c] = 0.1f;
    m->norm[channels + c] = 1.5f;
    m->norm[2 * channels + c] = -0.2f;
  }
  m->packed.fill(T{});
  ok(sjd2_pack_conv(stream, m->packed.in(), m->weights.in(), 0, channels, channels, channels, 9, dtype<T>(), dtype<T>()),
     "pack_conv");
  m->out.in(), m->moments.in(), m->x.in(), m->norm.in(), m->bias.in();
  sjd2_conv_shape shape = {};
  shape.batch = shape.frames = shape.out_frames = 1;
  shape.height = shape.width = side;
  shape.out_height = shape.out_width = out_side;
  shape.channels = shape.out_channels = channels;
  shape.kernel_frames = 1;
  shape.kernel_height = shape.kernel_width = 3;
  shape.stride_frames = shape.stride_height = shape.stride_width = 1;
  shape.pad_height = shape.pad_width = 1;
  shape.enlarge_frames = 1;
  shape.enlarge_space = enlarge ? 2 : 1;
  shape.swish = 1;
  Case c;
  c.operation = "conv";
  c.dtype = dtype_name<T>();
  c.shape = text("3x3, %lldx%lld of %lld channels%s", static_cast<long long>(side), static_cast<long long>(side),
                 static_cast<long long>(channels), enlarge ? ", enlarged" : "");
  c.bytes = static_cast<double>(side * side + out_side * out_side) * static_cast<double>(channels) * 4.0 +
            static_cast<double>(elements) * sizeof(T);
  c.flop = 18.0 * static_cast<double>(out_side * out_side) * static_cast<double>(channels * channels);
  c.tensor_cores = !std::is_same_v<T, float>;
  c.enqueue = [=] {
    const auto run = [&](auto operation) {
      return operation(stream, m->out.at(), m->moments.at(), m->x.at(), m->norm.at(), nullptr, m->packed.at(), m->bias.at(),
                       &shape);
    };
    if constexpr (std::is_same_v<T, float>) {
      return run(sjd2_conv_f32);
    } else {
      return run(sjd2_conv_bf16);
    }
  };
  c.check = [=] {
    m->out.fetch(), m->moments.fetch();
    Random pick(43);
    const int64_t enlarged = enlarge ? 2 : 1;
    double worst = 0.0, size = 1.0;
    for (int64_t i = 0; i < kSamples / 4; ++i) {
      const int64_t y = pick.below(out_side), x = pick.below(out_side), o = pick.below(channels);
      double exact = m->bias[o], magnitude = std::fabs(exact);
      for (int64_t tap = 0; tap < 9; ++tap) {
        const int64_t at_y = y + tap / 3 - 1, at_x = x + tap % 3 - 1;
        if (at_y < 0 || at_x < 0 || at_y >= out_side || at_x >= out_side) continue;
        const float* from = m->x.data() + (at_y / enlarged * side + at_x / enlarged) * channels;
        for (int64_t in = 0; in < channels; ++in) {
          const double a = (from[in] - m->norm[in]) * m->norm[channels + in] + m->norm[2 * channels + in];
          const double term = swish(a) * static_cast<double>(widen(m->weights[(o * channels + in) * 9 + tap]));
          exact += term;
          magnitude += std::fabs(term);
        }
      }
      const double error = std::fabs(m->out[(y * out_side + x) * channels + o] - exact);
      if (error * size > worst * magnitude) worst = error, size = magnitude;
    }
    // Each operand is rounded to T once: at most one unit of it per term.
    const double allowed = size * (std::is_same_v<T, float> ? 0x1p-18 : 0x1p-8);
    expect(worst <= allowed, "conv %s: error %g, allowed %g", dtype_name<T>(), worst, allowed);
    const int64_t channel = pick.below(channels);
    double mean = 0.0;
    for (int64_t i = 0; i < out_side * out_side; ++i) mean += m->out[i * channels + channel];
    mean /= static_cast<double>(out_side * out_side);
    expect(std::fabs(m->moments[channel] - mean) <= 1e-4 * (1.0 + std::fabs(mean)), "conv: the mean of channel %d is %g, not %g",
           static_cast<int>(channel), static_cast<double>(m->moments[channel]), mean);
  };
  return c;
}

Case pack_conv(int64_t channels) {
  struct Memory {
    Guarded<float> from;
    Guarded<uint16_t> to;
    Memory(int64_t channels, int64_t elements)
        : from(channels * channels * 9, Place::kAligned), to(elements, Place::kAligned) {}
  };
  int64_t elements = 0;
  ok(sjd2_packed_conv_elements(&elements, channels, channels, 9, SJD2_BF16), "packed_conv_elements");
  const auto m = std::make_shared<Memory>(channels, elements);
  Random random(47);
  m->from.fill_normal(random);
  m->to.fill(0);
  m->from.in(), m->to.in();
  Case c;
  c.operation = "pack_conv";
  c.dtype = "bf16";
  c.shape = text("[%lld, %lld, 9] of f32", static_cast<long long>(channels), static_cast<long long>(channels));
  c.bytes = 6.0 * 9.0 * static_cast<double>(channels * channels);
  c.enqueue = [=] {
    return sjd2_pack_conv(stream, m->to.at(), m->from.at(), 0, channels, channels, channels, 9, SJD2_BF16, SJD2_F32);
  };
  // The layout is the library's own (conv's cases read it): here, that every number is there once.
  c.check = [=] {
    m->to.fetch();
    double sum = 0.0, packed = 0.0;
    for (int64_t i = 0; i < m->from.size(); ++i) sum += widen(narrow<uint16_t>(m->from[i]));
    for (int64_t i = 0; i < m->to.size(); ++i) packed += widen(m->to[i]);
    expect(std::fabs(sum - packed) <= 1e-9 * static_cast<double>(m->from.size()), "pack_conv: the numbers' sum is %g, not %g",
           packed, sum);
  };
  return c;
}

Case group_norm(int64_t channels) {
  constexpr int64_t kGroups = 32;
  constexpr float kEps = 1e-6f;
  struct Memory {
    Guarded<float> norm, moments, weight, bias;
    explicit Memory(int64_t channels)
        : norm(3 * channels, Place::kAligned), moments(2 * channels, Place::kAligned), weight(channels, Place::kAligned),
          bias(channels, Place::kAligned) {}
  };
  const int64_t groups = channels % kGroups == 0 ? kGroups : 1;
  const auto m = std::make_shared<Memory>(channels);
  Random random(53);
  for (Guarded<float>* g : {&m->moments, &m->weight, &m->bias}) g->fill_normal(random);
  for (int64_t i = channels; i < 2 * channels; ++i) m->moments[i] = 1.0f + std::fabs(m->moments[i]);
  m->norm.in(), m->moments.in(), m->weight.in(), m->bias.in();
  Case c;
  c.operation = "group_norm";
  c.dtype = "f32";
  c.shape = text("%lld channels in %lld groups", static_cast<long long>(channels), static_cast<long long>(groups));
  c.bytes = 28.0 * static_cast<double>(channels);
  c.enqueue = [=] {
    return sjd2_group_norm_f32(stream, m->norm.at(), m->moments.at(), m->weight.at(), m->bias.at(), 1, channels, groups, kEps);
  };
  c.check = [=] {
    m->norm.fetch();
    const int64_t width = channels / groups;
    for (int64_t channel = 0; channel < channels; ++channel) {
      const int64_t first = channel / width * width;
      double mean = 0.0, square = 0.0;
      for (int64_t i = first; i < first + width; ++i) {
        const double own = m->moments[i];
        mean += own / static_cast<double>(width);
        square += (m->moments[channels + i] + own * own) / static_cast<double>(width);
      }
      const double factor = m->weight[channel] / std::sqrt(square - mean * mean + static_cast<double>(kEps));
      const double exact[3] = {mean, factor, m->bias[channel]};
      // The variance of a group is a difference of two sums: a few roundings of the larger.
      for (int64_t part = 0; part < 3; ++part) {
        const double got = m->norm[part * channels + channel];
        expect(std::fabs(got - exact[part]) <= 1e-5 * (1.0 + std::fabs(exact[part])), "group_norm: channel %d has %g, not %g",
               static_cast<int>(channel), got, exact[part]);
      }
    }
  };
  return c;
}

template <typename T>
Case vq_attention(int64_t positions, int64_t channels) {
  struct Memory {
    Guarded<float> qkv, out;
    Memory(int64_t positions, int64_t channels)
        : qkv(positions * 3 * channels, Place::kAligned), out(positions * channels, Place::kAligned) {}
  };
  const auto m = std::make_shared<Memory>(positions, channels);
  Random random(59);
  m->qkv.fill_normal(random);
  m->qkv.in(), m->out.in();
  const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(channels)));
  Case c;
  c.operation = "vq_attention";
  c.dtype = dtype_name<T>();
  c.shape = text("%lld positions of %lld channels", static_cast<long long>(positions), static_cast<long long>(channels));
  c.bytes = static_cast<double>(positions * channels) * 16.0;
  c.flop = 4.0 * static_cast<double>(positions * positions) * static_cast<double>(channels);
  c.tensor_cores = !std::is_same_v<T, float>;
  c.enqueue = [=] {
    if constexpr (std::is_same_v<T, float>) {
      return sjd2_vq_attention_f32(stream, m->out.at(), m->qkv.at(), 1, positions, channels, scale);
    } else {
      return sjd2_vq_attention_bf16(stream, m->out.at(), m->qkv.at(), 1, positions, channels, scale);
    }
  };
  c.check = [=] {
    m->out.fetch();
    Random pick(61);
    std::vector<double> p(static_cast<size_t>(positions));
    double worst = 0.0;
    for (int64_t i = 0; i < 8; ++i) {
      const int64_t at = pick.below(positions);
      const auto part = [&](int64_t position, int64_t which, int64_t channel) {
        return static_cast<double>(widen(narrow<T>(m->qkv[(position * 3 + which) * channels + channel])));
      };
      double highest = -INFINITY, total = 0.0;
      for (int64_t t = 0; t < positions; ++t) {
        double score = 0.0;
        for (int64_t channel = 0; channel < channels; ++channel) score += part(at, 0, channel) * part(t, 1, channel);
        p[static_cast<size_t>(t)] = score * static_cast<double>(scale);
        highest = std::fmax(highest, p[static_cast<size_t>(t)]);
      }
      for (double& score : p) total += score = std::exp(score - highest);
      for (int64_t channel = 0; channel < channels; ++channel) {
        double exact = 0.0;
        for (int64_t t = 0; t < positions; ++t) exact += p[static_cast<size_t>(t)] * part(t, 2, channel) / total;
        worst = std::fmax(worst, std::fabs(m->out[at * channels + channel] - exact));
      }
    }
    // Values are at most 3.5; weights rounded to T add up to one.
    const double allowed = std::is_same_v<T, float> ? 1e-4 : 3.5 * 0x1p-8;
    expect(worst <= allowed, "vq_attention %s: error %g, allowed %g", dtype_name<T>(), worst, allowed);
  };
  return c;
}

}  // namespace

std::vector<Maker> picture_cases(const Shapes& s) {
  std::vector<Maker> makers;
  if (sjd2_conv_f32 == nullptr || sjd2_conv_bf16 == nullptr || sjd2_pack_conv == nullptr) {
    std::printf("this library exports no conv: left out\n");
  } else {
    makers.push_back({"conv", [=] { return conv<uint16_t>(s.side, s.channels, false); }});
    makers.push_back({"conv", [=] { return conv<uint16_t>(s.side, s.channels, true); }});
    makers.push_back({"conv", [=] { return conv<float>(s.side, s.channels, false); }});
    makers.push_back({"pack_conv", [=] { return pack_conv(s.channels); }});
  }
  if (sjd2_group_norm_f32 == nullptr) {
    std::printf("this library exports no group_norm: left out\n");
  } else {
    makers.push_back({"group_norm", [=] { return group_norm(s.channels); }});
  }
  if (sjd2_vq_attention_f32 == nullptr || sjd2_vq_attention_bf16 == nullptr) {
    std::printf("this library exports no vq_attention: left out\n");
  } else {
    const int64_t positions = s.side * s.side / 4;
    makers.push_back({"vq_attention", [=] { return vq_attention<uint16_t>(positions, s.channels); }});
    makers.push_back({"vq_attention", [=] { return vq_attention<float>(positions, s.channels); }});
  }
  return makers;
}

}  // namespace sjd2::bench
