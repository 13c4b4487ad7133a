// Attention: against f64, row by row, over a cache whose unused part holds NaN.
#include "check.h"

using namespace sjd2::test;

namespace {

template <typename T>
int32_t call_attention(T* out, const T* q, const T* k, const T* v, const sjd2_sequence* sequences, int64_t batch, int64_t m,
                       int64_t capacity, int64_t heads, int64_t kv_heads, int64_t head_dim, float scale) {
  return call(sjd2_attention_f32, sjd2_attention_bf16, stream, out, q, k, v, sequences, batch, m, capacity, heads, kv_heads,
              head_dim, scale);
}

struct Shape {
  int64_t heads, kv_heads, head_dim, max_window;
  std::vector<std::pair<int32_t, int32_t>> sequences;  // entries before the pass, live rows
};

template <typename T>
void check_case(Place place, const Shape& shape, double spread, uint64_t seed) {
  const auto batch = static_cast<int64_t>(shape.sequences.size());
  const int64_t d = shape.head_dim, group = shape.heads / shape.kv_heads, m = shape.max_window;
  char name[128];
  std::snprintf(name, sizeof name,
                "attention %s, %lld/%lld heads of %lld, window %lld, batch %lld, seed %llu", dtype_name<T>(),
                static_cast<long long>(shape.heads), static_cast<long long>(shape.kv_heads),
                static_cast<long long>(d), static_cast<long long>(m), static_cast<long long>(batch),
                static_cast<unsigned long long>(seed));
  Random random(seed);
  int64_t capacity = 3;
  Guarded<sjd2_sequence> sequences(batch), just(1);
  for (int64_t b = 0; b < batch; ++b) {
    const auto [kv_len, rows] = shape.sequences[static_cast<size_t>(b)];
    sequences[b] = {kv_len, rows, 0, -1};
    capacity = std::max<int64_t>(capacity, kv_len + rows + 3);
  }
  Guarded<T> q(batch * m * shape.heads * d), out(batch * m * shape.heads * d), alone(shape.heads * d);
  Guarded<T> k(batch * capacity * shape.kv_heads * d, place), v(batch * capacity * shape.kv_heads * d, place);
  q.fill_normal(random, spread);
  const T nan = narrow<T>(NAN);
  for (int64_t b = 0; b < batch; ++b) {
    const int64_t entry = shape.kv_heads * d;
    for (int64_t i = 0; i < capacity * entry; ++i) {
      const bool written = i < (sequences[b].kv_len + sequences[b].rows) * entry;
      k[b * capacity * entry + i] = written ? narrow<T>(static_cast<float>(random.normal())) : nan;
      v[b * capacity * entry + i] = written ? narrow<T>(static_cast<float>(random.normal())) : nan;
    }
  }
  const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(d)));
  if (!ok(call_attention(out.at(), q.in(), k.in(), v.in(), sequences.in(), batch, m, capacity, shape.heads, shape.kv_heads, d,
                         scale),
          name)) {
    return;
  }
  out.fetch();
  Parity<T> parity;
  bool dead_rows_kept = true, rows_agree = true;
  std::vector<double> exact(static_cast<size_t>(d)), p(static_cast<size_t>(capacity));
  std::vector<float> naive(static_cast<size_t>(d)), p32(static_cast<size_t>(capacity));
  for (int64_t r = 0; r < batch * m; ++r) {
    const int64_t b = r / m, w = r % m;
    const sjd2_sequence& s = sequences[b];
    if (w >= s.rows) {
      for (int64_t i = 0; i < shape.heads * d; ++i) dead_rows_kept &= out.untouched(r * shape.heads * d + i);
      continue;
    }
    const int64_t entries = s.kv_len + w + 1;
    for (int64_t h = 0; h < shape.heads; ++h) {
      const T* query = q.data() + (r * shape.heads + h) * d;
      const auto at = [&](const Guarded<T>& cache, int64_t t) {
        return cache.data() + ((b * capacity + t) * shape.kv_heads + h / group) * d;
      };
      double highest = -INFINITY, total = 0;
      float highest32 = -INFINITY, total32 = 0;
      for (int64_t t = 0; t < entries; ++t) {
        double score = 0;
        float score32 = 0;
        for (int64_t i = 0; i < d; ++i) {
          score += static_cast<double>(widen(query[i])) * static_cast<double>(widen(at(k, t)[i]));
          score32 += widen(query[i]) * widen(at(k, t)[i]);
        }
        p[t] = score * static_cast<double>(scale);
        p32[t] = score32 * scale;
        highest = std::fmax(highest, p[t]);
        highest32 = std::fmax(highest32, p32[t]);
      }
      for (int64_t t = 0; t < entries; ++t) {
        p[t] = std::exp(p[t] - highest);
        p32[t] = std::exp(p32[t] - highest32);
        total += p[t];
        total32 += p32[t];
      }
      exact.assign(exact.size(), 0.0);
      naive.assign(naive.size(), 0.0f);
      for (int64_t t = 0; t < entries; ++t) {
        for (int64_t i = 0; i < d; ++i) {
          exact[i] += p[t] * static_cast<double>(widen(at(v, t)[i]));
          naive[i] += p32[t] * widen(at(v, t)[i]);
        }
      }
      for (int64_t i = 0; i < d; ++i) {
        parity.add(out[(r * shape.heads + h) * d + i], naive[i] / total32, exact[i] / total);
      }
    }
    // The row by itself, its sequence cut off behind it: the same bits.
    just[0] = {s.kv_len + static_cast<int32_t>(w), 1, 0, -1};
    const int64_t from = b * capacity * shape.kv_heads * d;
    ok(call_attention(alone.at(), q.at(r * shape.heads * d), k.at(from), v.at(from), just.in(), 1, 1, capacity, shape.heads,
                      shape.kv_heads, d, scale),
       name);
    alone.fetch();
    rows_agree &= std::memcmp(alone.data(), out.data() + r * shape.heads * d,
                              static_cast<size_t>(shape.heads * d) * sizeof(T)) == 0;
  }
  expect(parity.holds(), "%s: error %g, allowed %g", name, parity.error(), parity.allowed());
  expect(dead_rows_kept, "%s: a row that is not live was written", name);
  expect(rows_agree, "%s: a row alone differs from the row among others", name);
  expect(out.bands_intact() && alone.bands_intact(), "%s: written outside the output", name);
}

template <typename T>
void check_all(Place place) {
  uint64_t seed = 1;
  for (const int64_t head_dim : {2, 34, 64, 96, 128, 256}) {
    check_case<T>(place, {4, 2, head_dim, 5, {{7, 5}, {70, 3}}}, 1.0, seed++);
  }
  for (const int32_t kv_len : {0, 1, 31, 62, 63, 64, 127, 254, 255, 256, 530}) {
    check_case<T>(place, {2, 1, 64, 3, {{kv_len, 3}}}, 1.0, seed++);
  }
  for (const int32_t rows : {1, 8, 15, 16, 17, 33, 67}) {
    check_case<T>(place, {2, 2, 64, rows, {{rows, rows}, {100, rows}, {5, 0}}}, 2.0, seed++);
    check_case<T>(place, {6, 2, 128, rows, {{0, rows}}}, 1.0, seed++);
  }
  check_case<T>(place, {8, 1, 64, 4, {{300, 4}, {3, 1}, {0, 4}}}, 8.0, seed++);
}

// Attention over constant v returns v: the weights sum to one.
template <typename T>
void check_constant() {
  constexpr int64_t kHeads = 2, kDim = 64, kRows = 9, kBefore = 200, kCapacity = kBefore + kRows;
  Random random(5);
  Guarded<T> q(kRows * kHeads * kDim), out(kRows * kHeads * kDim);
  Guarded<T> k(kCapacity * kHeads * kDim, Place::kAligned), v(kCapacity * kHeads * kDim, Place::kAligned);
  q.fill_normal(random, 4.0);
  k.fill_normal(random);
  for (int64_t i = 0; i < v.size(); ++i) v[i] = narrow<T>(0.5f + static_cast<float>(i % kDim));
  Guarded<sjd2_sequence> sequence(1);
  sequence[0] = {kBefore, kRows, 0, -1};
  const auto attend = [&] {
    return call_attention(out.at(), q.in(), k.in(), v.in(), sequence.in(), 1, kRows, kCapacity, kHeads, kHeads, kDim, 0.125f);
  };
  ok(attend(), "attention");
  out.fetch();
  for (int64_t i = 0; i < out.size(); ++i) {
    const double want = 0.5 + static_cast<double>(i % kDim), got = widen(out[i]);
    const double ulps = std::is_same_v<T, float> ? 1e-5 : 0x1p-7;
    expect(std::fabs(got - want) <= ulps * want, "attention %s over constant v: %g, expected %g",
           dtype_name<T>(), got, want);
  }
  sequence[0].kv_len = kBefore + 1;
  refused(attend(), SJD2_BAD_SHAPE, "attention beyond the cache");
}

// A value that is not finite reaches the rows that see it and no other.
template <typename T>
void check_infinite() {
  constexpr int64_t kDim = 64, kRows = 20, kBad = 7;
  for (const int32_t before : {0, 60, 130}) {
    const int64_t capacity = before + kRows;
    Random random(static_cast<uint64_t>(before) + 1);
    Guarded<T> q(kRows * kDim), clean(kRows * kDim), out(kRows * kDim);
    Guarded<T> k(capacity * kDim, Place::kAligned), v(capacity * kDim, Place::kAligned);
    Guarded<sjd2_sequence> sequence(1);
    q.fill_normal(random);
    k.fill_normal(random);
    v.fill_normal(random);
    sequence[0] = {before, kRows, 0, -1};
    const auto attend = [&](Guarded<T>& target) {
      ok(call_attention(target.at(), q.in(), k.in(), v.in(), sequence.in(), 1, kRows, capacity, 1, 1, kDim, 0.125f),
         "attention");
      target.fetch();
    };
    attend(clean);
    v[(before + kBad) * kDim + 3] = narrow<T>(INFINITY);
    v[(before + kBad) * kDim + 5] = narrow<T>(NAN);
    attend(out);
    const bool same =
        std::memcmp(out.data(), clean.data(), static_cast<size_t>(kBad * kDim) * sizeof(T)) == 0;
    bool seen = true;
    for (int64_t r = kBad; r < kRows; ++r) {
      seen &= !std::isfinite(widen(out[r * kDim + 3])) && std::isnan(widen(out[r * kDim + 5])) &&
              std::isfinite(widen(out[r * kDim + 4]));
    }
    expect(same && seen,
           "attention %s, infinite value behind %d entries: earlier rows kept %d, later rows show it %d",
           dtype_name<T>(), before, same, seen);
  }
}

}  // namespace

int main() {
  return run("attention", [] {
    for (const Place place : {Place::kAligned, Place::kAskew}) {
      check_all<float>(place);
      check_all<uint16_t>(place);
    }
    check_constant<float>();
    check_constant<uint16_t>();
    check_infinite<float>();
    check_infinite<uint16_t>();
  });
}
