// The forward pass: products, attention and what goes row by row.
#include "bench.h"

namespace sjd2::bench {
namespace {

constexpr float kEps = 1e-5f;

void fill_sequences(Guarded<sjd2_sequence>& sequences, int64_t window, int64_t kv_len) {
  for (int64_t b = 0; b < sequences.size(); ++b) {
    sequences[b] = {static_cast<int32_t>(kv_len), static_cast<int32_t>(window), static_cast<int32_t>(kv_len), 0};
  }
  sequences.in();
}

template <typename T>
Case matmul(const char* what, int64_t rows, int64_t n_out, int64_t n_in) {
  struct Memory {
    Guarded<T> x, w, packed;
    Guarded<float> out;
    Memory(int64_t rows, int64_t n_out, int64_t n_in, int64_t elements)
        : x(rows * n_in, Place::kAligned), w(n_out * n_in, Place::kAligned), packed(elements, Place::kAligned),
          out(rows * n_out, Place::kAligned) {}
  };
  int64_t elements = 0;
  ok(sjd2_packed_elements(&elements, n_out, n_in, dtype<T>()), "packed_elements");
  const auto m = std::make_shared<Memory>(rows, n_out, n_in, elements);
  Random random(static_cast<uint64_t>(rows * 131 + n_out));
  m->x.fill_normal(random);
  m->w.fill_normal(random, 1.0 / std::sqrt(static_cast<double>(n_in)));
  m->packed.fill(T{});
  ok(sjd2_pack_weights(stream, m->packed.in(), m->w.in(), 0, n_out, n_out, n_in, dtype<T>(), dtype<T>()), "pack_weights");
  m->x.in(), m->out.in();
  Case c;
  c.operation = "matmul";
  c.dtype = dtype_name<T>();
  c.shape = text("%s: %lld rows, n_out %lld, n_in %lld", what, static_cast<long long>(rows), static_cast<long long>(n_out),
                 static_cast<long long>(n_in));
  c.bytes = static_cast<double>(elements + rows * n_in) * sizeof(T) + static_cast<double>(rows * n_out) * 4.0;
  c.flop = 2.0 * static_cast<double>(rows) * static_cast<double>(n_out) * static_cast<double>(n_in);
  c.tensor_cores = !std::is_same_v<T, float>;
  c.enqueue = [=] {
    if constexpr (std::is_same_v<T, float>) {
      return sjd2_matmul_f32(stream, m->out.at(), m->x.at(), m->packed.at(), nullptr, nullptr, 1, rows, n_out, n_in, 0);
    } else {
      return sjd2_matmul_bf16(stream, m->out.at(), m->x.at(), m->packed.at(), nullptr, nullptr, 1, rows, n_out, n_in, 0);
    }
  };
  c.check = [=] {
    m->out.fetch();
    Random pick(7);
    Parity<float> parity;
    for (int64_t i = 0; i < kSamples; ++i) {
      const int64_t r = pick.below(rows), n = pick.below(n_out);
      double exact = 0.0;
      float naive = 0.0f;
      for (int64_t k = 0; k < n_in; ++k) {
        const float a = widen(m->x[r * n_in + k]), b = widen(m->w[n * n_in + k]);
        exact += static_cast<double>(a) * static_cast<double>(b);
        naive += a * b;
      }
      parity.add(m->out[r * n_out + n], naive, exact);
    }
    expect_near(parity, "matmul");
  };
  if constexpr (!std::is_same_v<T, float>) {
    const auto product = std::make_shared<Product>();
    *product = {m->out.at(), m->x.at(), m->packed.at(), rows, n_out, n_in, elements / n_out};
    c.product = product;
  }
  return c;
}

template <typename T>
Case attention(const Shapes& s, int64_t batch, int64_t window) {
  struct Memory {
    Guarded<T> q, k, v, out;
    Guarded<sjd2_sequence> sequences;
    Memory(const Shapes& s, int64_t batch, int64_t window, int64_t capacity)
        : q(batch * window * s.heads * s.head_dim, Place::kAligned),
          k(batch * capacity * s.kv_heads * s.head_dim, Place::kAligned), v(k.size(), Place::kAligned),
          out(q.size(), Place::kAligned), sequences(batch, Place::kAligned) {}
  };
  const int64_t capacity = s.kv_len + window, heads = s.heads, kv_heads = s.kv_heads, d = s.head_dim, kv_len = s.kv_len;
  const auto m = std::make_shared<Memory>(s, batch, window, capacity);
  Random random(static_cast<uint64_t>(window));
  m->q.fill_normal(random);
  m->k.fill_normal(random);
  m->v.fill_normal(random);
  fill_sequences(m->sequences, window, kv_len);
  m->q.in(), m->k.in(), m->v.in(), m->out.in();
  const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(d)));
  Case c;
  c.operation = "attention";
  c.dtype = dtype_name<T>();
  c.shape = text("batch %lld, window %lld, kv_len %lld, heads %lld/%lld of %lld", static_cast<long long>(batch),
                 static_cast<long long>(window), static_cast<long long>(kv_len), static_cast<long long>(heads),
                 static_cast<long long>(kv_heads), static_cast<long long>(d));
  c.bytes = static_cast<double>(batch * d * sizeof(T)) *
            static_cast<double>(2 * capacity * kv_heads + 2 * window * heads);
  c.flop = 4.0 * static_cast<double>(batch * window * heads * d) * static_cast<double>(kv_len);
  c.tensor_cores = !std::is_same_v<T, float>;
  c.enqueue = [=] {
    return test::call(sjd2_attention_f32, sjd2_attention_bf16, stream, m->out.at(), m->q.at(), m->k.at(), m->v.at(),
                      m->sequences.at(), batch, window, capacity, heads, kv_heads, d, scale);
  };
  c.check = [=] {
    m->out.fetch();
    Random pick(11);
    Parity<T> parity;
    std::vector<double> p(static_cast<size_t>(capacity));
    for (int64_t i = 0; i < kSamples / 16; ++i) {
      const int64_t b = pick.below(batch), w = pick.below(window), h = pick.below(heads), entries = kv_len + w + 1;
      const T* query = m->q.data() + ((b * window + w) * heads + h) * d;
      const int64_t at = (b * capacity * kv_heads + h / (heads / kv_heads)) * d;
      double highest = -INFINITY, total = 0.0;
      for (int64_t t = 0; t < entries; ++t) {
        double score = 0.0;
        for (int64_t e = 0; e < d; ++e) {
          score += static_cast<double>(widen(query[e])) * static_cast<double>(widen(m->k[at + t * kv_heads * d + e]));
        }
        p[static_cast<size_t>(t)] = score * static_cast<double>(scale);
        highest = std::fmax(highest, p[static_cast<size_t>(t)]);
      }
      for (int64_t t = 0; t < entries; ++t) total += p[static_cast<size_t>(t)] = std::exp(p[static_cast<size_t>(t)] - highest);
      for (int64_t e = 0; e < d; ++e) {
        double exact = 0.0;
        float naive = 0.0f;
        for (int64_t t = 0; t < entries; ++t) {
          const float value = widen(m->v[at + t * kv_heads * d + e]);
          exact += p[static_cast<size_t>(t)] * static_cast<double>(value);
          naive += static_cast<float>(p[static_cast<size_t>(t)]) * value;
        }
        parity.add(m->out[((b * window + w) * heads + h) * d + e], naive / static_cast<float>(total), exact / total);
      }
    }
    expect_near(parity, "attention");
  };
  return c;
}

// An operation that makes a row of T out of a row of f32. `exact` and `naive` are functions of (row, index).
template <typename T, typename Op, typename Exact, typename Naive>
Case row_case(const char* operation, int64_t rows, int64_t in_width, int64_t out_width, double flop_per_output, Op op,
              Exact exact, Naive naive) {
  struct Memory {
    Guarded<float> x, weight;
    Guarded<T> out;
    Memory(int64_t rows, int64_t in_width, int64_t out_width)
        : x(rows * in_width, Place::kAligned), weight(in_width, Place::kAligned), out(rows * out_width, Place::kAligned) {}
  };
  const auto m = std::make_shared<Memory>(rows, in_width, out_width);
  Random random(static_cast<uint64_t>(in_width));
  m->x.fill_normal(random);
  m->weight.fill_normal(random);
  m->x.in(), m->weight.in(), m->out.in();
  Case c;
  c.operation = operation;
  c.dtype = dtype_name<T>();
  c.shape = text("%lld rows of %lld", static_cast<long long>(rows), static_cast<long long>(out_width));
  c.bytes = static_cast<double>(rows) * (static_cast<double>(in_width) * 4.0 + static_cast<double>(out_width) * sizeof(T));
  c.flop = flop_per_output * static_cast<double>(rows * out_width);
  c.enqueue = [=] { return op(m->out.at(), m->x.at(), m->weight.at(), rows); };
  c.check = [=] {
    m->out.fetch();
    Random pick(3);
    Parity<T> parity;
    for (int64_t i = 0; i < kSamples; ++i) {
      const int64_t r = pick.below(rows), n = pick.below(out_width);
      const float* row = m->x.data() + r * in_width;
      parity.add(m->out[r * out_width + n], naive(row, m->weight.data(), n), exact(row, m->weight.data(), n));
    }
    expect_near(parity, operation);
  };
  return c;
}

template <typename T>
Case rms_norm(int64_t rows, int64_t width) {
  return row_case<T>(
      "rms_norm", rows, width, width, 3.0,
      [=](T* out, const float* x, const float* weight, int64_t n) {
        return test::call(sjd2_rms_norm_f32, sjd2_rms_norm_bf16, stream, out, x, weight, nullptr, int64_t{1}, n, width, kEps);
      },
      [=](const float* x, const float* weight, int64_t i) {
        double sum = 0.0;
        for (int64_t j = 0; j < width; ++j) sum += static_cast<double>(x[j]) * static_cast<double>(x[j]);
        return static_cast<double>(x[i]) / std::sqrt(sum / static_cast<double>(width) + static_cast<double>(kEps)) *
               static_cast<double>(weight[i]);
      },
      [=](const float* x, const float* weight, int64_t i) {
        float sum = 0.0f;
        for (int64_t j = 0; j < width; ++j) sum += x[j] * x[j];
        return x[i] * (1.0f / std::sqrt(sum / static_cast<float>(width) + kEps)) * weight[i];
      });
}

Case rms_norm_add(int64_t rows, int64_t width) {
  struct Memory {
    Guarded<float> x, delta, weight;
    Memory(int64_t rows, int64_t width)
        : x(rows * width, Place::kAligned), delta(rows * width, Place::kAligned), weight(width, Place::kAligned) {}
  };
  const auto m = std::make_shared<Memory>(rows, width);
  Random random(17);
  m->delta.fill_normal(random);
  m->weight.fill_normal(random);
  m->delta.in(), m->weight.in();
  Case c;
  c.operation = "rms_norm_add";
  c.dtype = "f32";
  c.shape = text("%lld rows of %lld", static_cast<long long>(rows), static_cast<long long>(width));
  c.bytes = static_cast<double>(rows * width) * 12.0;
  c.flop = 4.0 * static_cast<double>(rows * width);
  c.prepare = [=] {
    m->x.fill(0.5f);
    m->x.in();
  };
  c.enqueue = [=] {
    return sjd2_rms_norm_add_f32(stream, m->x.at(), m->delta.at(), m->weight.at(), nullptr, 1, rows, width, kEps);
  };
  c.check = [=] {
    m->x.fetch();
    Random pick(5);
    Parity<float> parity;
    for (int64_t i = 0; i < kSamples; ++i) {
      const int64_t r = pick.below(rows), n = pick.below(width);
      double sum = 0.0;
      float sum32 = 0.0f;
      for (int64_t j = 0; j < width; ++j) {
        const float d = m->delta[r * width + j];
        sum += static_cast<double>(d) * static_cast<double>(d);
        sum32 += d * d;
      }
      const auto d = m->delta[r * width + n], weight = m->weight[n];
      parity.add(m->x[r * width + n], 0.5f + d * (1.0f / std::sqrt(sum32 / static_cast<float>(width) + kEps)) * weight,
                 0.5 + static_cast<double>(d) / std::sqrt(sum / static_cast<double>(width) + static_cast<double>(kEps)) *
                           static_cast<double>(weight));
    }
    expect_near(parity, "rms_norm_add");
  };
  return c;
}

template <typename T>
Case swiglu(int64_t rows, int64_t width) {
  return row_case<T>(
      "swiglu", rows, 2 * width, width, 4.0,
      [=](T* out, const float* x, const float*, int64_t n) {
        return test::call(sjd2_swiglu_f32, sjd2_swiglu_bf16, stream, out, x, nullptr, int64_t{1}, n, width);
      },
      [=](const float* x, const float*, int64_t i) {
        const auto gate = static_cast<double>(x[i]);
        return gate / (1.0 + std::exp(-gate)) * static_cast<double>(x[width + i]);
      },
      [=](const float* x, const float*, int64_t i) { return x[i] / (1.0f + std::exp(-x[i])) * x[width + i]; });
}

template <typename T>
Case gelu(int64_t rows, int64_t width) {
  return row_case<T>(
      "gelu", rows, width, width, 8.0,
      [=](T* out, const float* x, const float*, int64_t n) {
        return test::call(sjd2_gelu_f32, sjd2_gelu_bf16, stream, out, x, nullptr, int64_t{1}, n, width, 0);
      },
      [](const float* x, const float*, int64_t i) {
        const auto v = static_cast<double>(x[i]);
        return 0.5 * v * std::erfc(-v * std::sqrt(0.5));
      },
      [](const float* x, const float*, int64_t i) { return 0.5f * x[i] * (1.0f + std::erf(x[i] * 0.70710678f)); });
}

template <typename T>
Case round_case(int64_t rows, int64_t width) {
  return row_case<T>(
      "round", rows, width, width, 0.0,
      [=](T* out, const float* x, const float*, int64_t n) {
        return test::call(sjd2_round_f32, sjd2_round_bf16, stream, out, x, nullptr, int64_t{1}, n, width);
      },
      [](const float* x, const float*, int64_t i) { return static_cast<double>(widen(narrow<T>(x[i]))); },
      [](const float* x, const float*, int64_t i) { return x[i]; });
}

Case convert(int64_t n) {
  struct Memory {
    Guarded<float> from;
    Guarded<uint16_t> to;
    explicit Memory(int64_t n) : from(n, Place::kAligned), to(n, Place::kAligned) {}
  };
  const auto m = std::make_shared<Memory>(n);
  Random random(2);
  m->from.fill_normal(random);
  m->from.in(), m->to.in();
  Case c;
  c.operation = "convert";
  c.dtype = "bf16";
  c.shape = text("%lld numbers of f32", static_cast<long long>(n));
  c.bytes = 6.0 * static_cast<double>(n);
  c.enqueue = [=] { return sjd2_convert(stream, m->to.at(), m->from.at(), n, SJD2_BF16, SJD2_F32); };
  c.check = [=] {
    m->to.fetch();
    bool equal = true;
    for (int64_t i = 0; i < n; ++i) equal &= m->to[i] == narrow<uint16_t>(m->from[i]);
    expect(equal, "convert: not rounded to the nearest");
  };
  return c;
}

Case pack_weights(int64_t n_out, int64_t n_in) {
  struct Memory {
    Guarded<float> from;
    Guarded<uint16_t> to;
    Guarded<uint16_t> x;
    Guarded<float> y;
    Memory(int64_t n_out, int64_t n_in, int64_t elements)
        : from(n_out * n_in, Place::kAligned), to(elements, Place::kAligned), x(n_in, Place::kAligned),
          y(n_out, Place::kAligned) {}
  };
  int64_t elements = 0;
  ok(sjd2_packed_elements(&elements, n_out, n_in, SJD2_BF16), "packed_elements");
  const auto m = std::make_shared<Memory>(n_out, n_in, elements);
  Random random(4);
  m->from.fill_normal(random);
  m->to.fill(0);
  m->from.in(), m->to.in();
  Case c;
  c.operation = "pack_weights";
  c.dtype = "bf16";
  c.shape = text("[%lld, %lld] of f32", static_cast<long long>(n_out), static_cast<long long>(n_in));
  c.bytes = 6.0 * static_cast<double>(n_out * n_in);
  c.enqueue = [=] {
    return sjd2_pack_weights(stream, m->to.at(), m->from.at(), 0, n_out, n_out, n_in, SJD2_BF16, SJD2_F32);
  };
  // The layout is the library's own; a row of the identity times the matrix is a column of it.
  c.check = [=] {
    Random pick(9);
    for (int64_t i = 0; i < 4; ++i) {
      const int64_t k = pick.below(n_in);
      m->x.fill(0);
      m->x[k] = narrow<uint16_t>(1.0f);
      ok(sjd2_matmul_bf16(stream, m->y.at(), m->x.in(), m->to.at(), nullptr, nullptr, 1, 1, n_out, n_in, 0), "matmul");
      m->y.fetch();
      bool equal = true;
      for (int64_t n = 0; n < n_out; ++n) equal &= m->y[n] == widen(narrow<uint16_t>(m->from[n * n_in + k]));
      expect(equal, "pack_weights: column %lld is another", static_cast<long long>(k));
    }
  };
  return c;
}

template <typename T>
Case embed(int64_t rows, int64_t vocab, int64_t width) {
  struct Memory {
    Guarded<T> table;
    Guarded<int32_t> ids;
    Guarded<float> out;
    Memory(int64_t rows, int64_t vocab, int64_t width)
        : table(vocab * width, Place::kAligned), ids(rows, Place::kAligned), out(rows * width, Place::kAligned) {}
  };
  const auto m = std::make_shared<Memory>(rows, vocab, width);
  Random random(6);
  m->table.fill_normal(random);
  for (int64_t r = 0; r < rows; ++r) m->ids[r] = static_cast<int32_t>(random.below(vocab));
  m->table.in(), m->ids.in(), m->out.in();
  Case c;
  c.operation = "embed";
  c.dtype = dtype_name<T>();
  c.shape = text("%lld rows of %lld out of %lld", static_cast<long long>(rows), static_cast<long long>(width),
                 static_cast<long long>(vocab));
  c.bytes = static_cast<double>(rows * width) * (4.0 + sizeof(T));
  c.enqueue = [=] {
    if constexpr (std::is_same_v<T, float>) {
      return sjd2_embed_f32(stream, m->out.at(), m->table.at(), m->ids.at(), rows, vocab, width);
    } else {
      return sjd2_embed_bf16(stream, m->out.at(), m->table.at(), m->ids.at(), rows, vocab, width);
    }
  };
  c.check = [=] {
    m->out.fetch();
    bool equal = true;
    for (int64_t i = 0; i < rows * width; ++i) equal &= m->out[i] == widen(m->table[m->ids[i / width] * width + i % width]);
    expect(equal, "embed %s: a row is another", dtype_name<T>());
  };
  return c;
}

Case sequence_input(int64_t batch, int64_t window, int64_t width) {
  struct Memory {
    Guarded<float> x, input, last, row, column;
    Guarded<sjd2_sequence> sequences;
    Guarded<sjd2_image> images;
    Memory(int64_t batch, int64_t window, int64_t width)
        : x(batch * window * width, Place::kAligned), input(window * width, Place::kAligned),
          last(batch * width, Place::kAligned), row(64 * width, Place::kAligned), column(64 * width, Place::kAligned),
          sequences(batch, Place::kAligned), images(1, Place::kAligned) {}
  };
  const auto m = std::make_shared<Memory>(batch, window, width);
  Random random(8);
  for (Guarded<float>* g : {&m->input, &m->last, &m->row, &m->column}) {
    g->fill_normal(random);
    g->in();
  }
  m->images[0] = {};
  fill_sequences(m->sequences, window, 7);
  m->images.in(), m->x.in();
  Case c;
  c.operation = "sequence_input";
  c.dtype = "f32";
  c.shape = text("batch %lld, window %lld of %lld", static_cast<long long>(batch), static_cast<long long>(window),
                 static_cast<long long>(width));
  c.bytes = static_cast<double>(batch * window * width) * 16.0;
  c.flop = 2.0 * static_cast<double>(batch * window * width);
  c.enqueue = [=] {
    return sjd2_sequence_input_f32(stream, m->x.at(), m->input.at(), m->last.at(), m->row.at(), m->column.at(),
                                   m->sequences.at(), m->images.at(), batch, 1, window, width, 64, 64);
  };
  c.check = [=] {
    m->x.fetch();
    bool equal = true;
    for (int64_t at = 0; at < batch * window * width; ++at) {
      const int64_t b = at / (window * width), w = at / width % window, i = at % width;
      const float from = w == 0 ? m->last[b * width + i] : m->input[w * width + i];
      equal &= m->x[at] == from + m->row[w / 64 * width + i] + m->column[w % 64 * width + i];
    }
    expect(equal, "sequence_input: a row is another");
  };
  return c;
}

template <typename T>
Case rope_append(const Shapes& s, int64_t batch, int64_t window) {
  struct Memory {
    Guarded<float> qkv, rope;
    Guarded<T> q, k, v;
    Guarded<sjd2_sequence> sequences;
    Memory(const Shapes& s, int64_t batch, int64_t window, int64_t capacity)
        : qkv(batch * window * (s.heads + 2 * s.kv_heads) * s.head_dim, Place::kAligned),
          rope(capacity * s.head_dim, Place::kAligned), q(batch * window * s.heads * s.head_dim, Place::kAligned),
          k(batch * capacity * s.kv_heads * s.head_dim, Place::kAligned), v(k.size(), Place::kAligned),
          sequences(batch, Place::kAligned) {}
  };
  const int64_t capacity = s.kv_len + window, heads = s.heads, kv_heads = s.kv_heads, d = s.head_dim, kv_len = s.kv_len;
  const auto m = std::make_shared<Memory>(s, batch, window, capacity);
  Random random(10);
  m->qkv.fill_normal(random);
  for (int64_t i = 0; i < capacity * d / 2; ++i) {
    const double angle = random.uniform() * 6.28;
    m->rope[2 * i] = static_cast<float>(std::cos(angle));
    m->rope[2 * i + 1] = static_cast<float>(std::sin(angle));
  }
  m->qkv.in(), m->rope.in(), m->q.in(), m->k.in(), m->v.in();
  fill_sequences(m->sequences, window, kv_len);
  Case c;
  c.operation = "rope_append";
  c.dtype = dtype_name<T>();
  c.shape = text("batch %lld, window %lld, heads %lld/%lld of %lld", static_cast<long long>(batch),
                 static_cast<long long>(window), static_cast<long long>(heads), static_cast<long long>(kv_heads),
                 static_cast<long long>(d));
  c.bytes = static_cast<double>(m->qkv.size()) * (4.0 + sizeof(T));
  c.flop = 3.0 * static_cast<double>(batch * window * (heads + kv_heads) * d);
  c.enqueue = [=] {
    return test::call(sjd2_rope_append_f32, sjd2_rope_append_bf16, stream, m->q.at(), m->k.at(), m->v.at(), m->qkv.at(),
                      nullptr, nullptr, nullptr, nullptr, m->rope.at(), m->sequences.at(), batch, window, capacity, heads,
                      kv_heads, d, int64_t{0}, int64_t{0}, capacity, 0, kEps);
  };
  c.check = [=] {
    m->q.fetch(), m->k.fetch(), m->v.fetch();
    Random pick(12);
    Parity<T> parity;
    bool values_equal = true;
    for (int64_t i = 0; i < kSamples; ++i) {
      const int64_t r = pick.below(batch * window), h = pick.below(heads + 2 * kv_heads), e = pick.below(d / 2);
      const int64_t entry = r / window * capacity + kv_len + r % window, position = kv_len + r % window;
      const float* in = m->qkv.data() + (r * (heads + 2 * kv_heads) + h) * d;
      if (h >= heads + kv_heads) {
        values_equal &= m->v[(entry * kv_heads + h - heads - kv_heads) * d + e] == narrow<T>(in[e]);
        continue;
      }
      const T* out = h < heads ? m->q.data() + (r * heads + h) * d : m->k.data() + (entry * kv_heads + h - heads) * d;
      const float cosine = m->rope[position * d + 2 * e], sine = m->rope[position * d + 2 * e + 1];
      const float a = in[e], b = in[e + d / 2];
      parity.add(out[e], a * cosine - b * sine,
                 static_cast<double>(a) * static_cast<double>(cosine) - static_cast<double>(b) * static_cast<double>(sine));
      parity.add(out[e + d / 2], b * cosine + a * sine,
                 static_cast<double>(b) * static_cast<double>(cosine) + static_cast<double>(a) * static_cast<double>(sine));
    }
    expect_near(parity, "rope_append");
    expect(values_equal, "rope_append %s: a value is another", dtype_name<T>());
  };
  return c;
}

template <typename T>
void of_dtype(const Shapes& s, std::vector<Maker>& makers) {
  constexpr int64_t kBatch = 2;  // with guidance: with and without the prompt
  for (const int64_t window : s.windows) {
    const int64_t rows = kBatch * window;
    makers.push_back({"matmul", [=] { return matmul<T>("qkv", rows, (s.heads + 2 * s.kv_heads) * s.head_dim, s.hidden); }});
    makers.push_back({"matmul", [=] { return matmul<T>("attention out", rows, s.hidden, s.heads * s.head_dim); }});
    makers.push_back({"matmul", [=] { return matmul<T>("gate and up", rows, 2 * s.intermediate, s.hidden); }});
    makers.push_back({"matmul", [=] { return matmul<T>("down", rows, s.hidden, s.intermediate); }});
    makers.push_back({"matmul", [=] { return matmul<T>("head", rows, s.codes, s.hidden); }});
    makers.push_back({"attention", [=] { return attention<T>(s, kBatch, window); }});
    makers.push_back({"rope_append", [=] { return rope_append<T>(s, kBatch, window); }});
    makers.push_back({"rms_norm", [=] { return rms_norm<T>(rows, s.hidden); }});
    makers.push_back({"swiglu", [=] { return swiglu<T>(rows, s.intermediate); }});
    makers.push_back({"gelu", [=] { return gelu<T>(rows, s.hidden); }});
    makers.push_back({"round", [=] { return round_case<T>(rows, s.hidden); }});
    makers.push_back({"embed", [=] { return embed<T>(rows, s.codes, s.hidden); }});
  }
}

}  // namespace

std::vector<Maker> pass_cases(const Shapes& s) {
  std::vector<Maker> makers;
  of_dtype<uint16_t>(s, makers);
  of_dtype<float>(s, makers);
  for (const int64_t window : s.windows) {
    makers.push_back({"rms_norm_add", [=] { return rms_norm_add(2 * window, s.hidden); }});
    makers.push_back({"sequence_input", [=] { return sequence_input(2, window, s.hidden); }});
  }
  makers.push_back({"convert", [=] { return convert(s.hidden * s.hidden); }});
  makers.push_back({"pack_weights", [=] { return pack_weights(s.hidden, s.hidden); }});
  return makers;
}

}  // namespace sjd2::bench
