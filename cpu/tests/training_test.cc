// The operations of training on every instruction set, through the C ABI, against plain loops in f64. Shapes have tails
// on every side; buffers have guard bands and no more alignment than their elements.
#include "sjd2/training.h"

#include "check.h"

using namespace sjd2::test;

namespace {

constexpr double kF32 = 2e-6;        // of the magnitude that was summed
constexpr double kBf16 = 1.0 / 256;  // one unit in the last of 8 bits

template <typename T>
double slack(double magnitude, double value) {
  return kF32 * (magnitude + 1e-3) + (std::is_same_v<T, float> ? 0.0 : kBf16 * std::fabs(value));
}

template <typename T>
void near(const char* what, int64_t i, T got, double want, double allowed) {
  const double error = std::fabs(widen(got) - want);
  expect(error <= allowed, "%s[%lld] = %g, expected %g, off by %g, allowed %g", what,
         static_cast<long long>(i), static_cast<double>(widen(got)), want, error, allowed);
}

template <typename T>
void intact(const char* what, const Guarded<T>& buffer) {
  expect(buffer.bands_intact(), "%s: a guard band was written", what);
}

template <typename T>
void check_gemm(sjd2_stream s, int64_t m, int64_t n, int64_t k, bool at, bool bt, bool packed,
                uint64_t seed) {
  Random random(seed);
  Guarded<T> a(m * k), c(m * n), addend(m * n);
  Guarded<float> b(k * n);
  a.fill_normal(random);
  b.fill_normal(random);
  addend.fill_normal(random);
  const bool with_addend = seed % 2 == 0;
  const T* extra = with_addend ? addend.data() : nullptr;
  const int32_t type = dtype<T>();
  if (packed) {
    int64_t bytes = 0;
    ok(sjd2_train_packed_bytes(s, &bytes, n, k, type), "packed_bytes");
    Aligned<unsigned char> panels(bytes);
    ok(sjd2_train_pack(s, panels.data(), b.data(), n, k, bt ? k : n, bt, type), "pack");
    ok(sjd2_train_gemm_packed(s, c.data(), extra, a.data(), panels.data(), m, n, k, n, n, k, type, type,
                              type),
       "gemm");
  } else {
    ok(sjd2_train_gemm(s, c.data(), extra, a.data(), b.data(), m, n, k, n, n, at ? m : k, bt ? k : n, type,
                       type, SJD2_F32, at, bt, type),
       "gemm");
  }
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = with_addend ? widen(addend[i * n + j]) : 0.0, magnitude = std::fabs(sum);
      for (int64_t t = 0; t < k; ++t) {
        const float right = b[bt ? j * k + t : t * n + j];
        const double p =
            static_cast<double>(widen(a[at && !packed ? t * m + i : i * k + t])) * widen(narrow<T>(right));
        sum += p;
        magnitude += std::fabs(p);
      }
      near("gemm", i * n + j, c[i * n + j], sum, slack<T>(magnitude, sum));
    }
  }
  intact("gemm", c);
}

int32_t norm_forward(sjd2_stream s, float* y, float* r, const float* x, const float* w, const int32_t* rows,
                     int64_t m, int64_t d) {
  return sjd2_train_rms_norm_forward_f32(s, y, r, x, w, rows, m, d, 1e-3f);
}
int32_t norm_forward(sjd2_stream s, uint16_t* y, float* r, const float* x, const float* w,
                     const int32_t* rows, int64_t m, int64_t d) {
  return sjd2_train_rms_norm_forward_bf16(s, y, r, x, w, rows, m, d, 1e-3f);
}
int32_t norm_backward(sjd2_stream s, float* dx, float* dw, const float* dy, const float* x, const float* w,
                      const float* r, const int32_t* rows, int64_t m, int64_t d) {
  return sjd2_train_rms_norm_backward_f32(s, dx, dw, dy, x, w, r, rows, m, d);
}
int32_t norm_backward(sjd2_stream s, float* dx, float* dw, const uint16_t* dy, const float* x, const float* w,
                      const float* r, const int32_t* rows, int64_t m, int64_t d) {
  return sjd2_train_rms_norm_backward_bf16(s, dx, dw, dy, x, w, r, rows, m, d);
}

template <typename T>
void check_rms_norm(sjd2_stream s, int64_t m, int64_t d) {
  Random random(static_cast<uint64_t>(m * 1000 + d));
  const int64_t all = 2 * m;
  Guarded<float> x(all * d), w(d), rstd(m), dx(all * d), dw(d);
  Guarded<T> y(m * d), dy(m * d);
  Guarded<int32_t> rows(m);
  for (int64_t i = 0; i < m; ++i) rows[i] = static_cast<int32_t>(all - 1 - 2 * i);
  x.fill_normal(random);
  w.fill_normal(random);
  dy.fill_normal(random);
  dx.fill(0.25f);
  dw.fill(-0.5f);
  ok(norm_forward(s, y.data(), rstd.data(), x.data(), w.data(), rows.data(), m, d), "rms_norm_forward");
  ok(norm_backward(s, dx.data(), dw.data(), dy.data(), x.data(), w.data(), rstd.data(), rows.data(), m, d),
     "rms_norm_backward");
  std::vector<double> want_dw(static_cast<size_t>(d), -0.5);
  for (int64_t i = 0; i < m; ++i) {
    const float* row = x.data() + rows[i] * d;
    double squares = 0, dot = 0;
    for (int64_t j = 0; j < d; ++j) squares += static_cast<double>(row[j]) * row[j];
    const double r = 1.0 / std::sqrt(squares / static_cast<double>(d) + 1e-3);
    for (int64_t j = 0; j < d; ++j) {
      near("rms_norm", i * d + j, y[i * d + j], row[j] * r * w[j], slack<T>(8, row[j] * r * w[j]));
      dot += static_cast<double>(widen(dy[i * d + j])) * w[j] * row[j];
      want_dw[static_cast<size_t>(j)] += widen(dy[i * d + j]) * row[j] * r;
    }
    for (int64_t j = 0; j < d; ++j) {
      const double g = r * (widen(dy[i * d + j]) * w[j] - row[j] * r * r * dot / static_cast<double>(d));
      near("rms_norm dx", i * d + j, dx[rows[i] * d + j], 0.25 + g, kF32 * 30);
      expect(dx[(rows[i] - 1) * d + j] == 0.25f, "rms_norm: a row that was not asked for changed");
    }
  }
  for (int64_t j = 0; j < d; ++j)
    near("rms_norm dw", j, dw[j], want_dw[static_cast<size_t>(j)], kF32 * 8 * static_cast<double>(m));
  intact("rms_norm y", y);
  intact("rms_norm dx", dx);
  intact("rms_norm dw", dw);
}

int32_t swiglu(sjd2_stream s, float* act, const float* gu, int64_t m, int64_t n) {
  return sjd2_train_swiglu_forward_f32(s, act, gu, m, n);
}
int32_t swiglu(sjd2_stream s, uint16_t* act, const uint16_t* gu, int64_t m, int64_t n) {
  return sjd2_train_swiglu_forward_bf16(s, act, gu, m, n);
}
int32_t swiglu_back(sjd2_stream s, float* d, const float* da, const float* gu, int64_t m, int64_t n) {
  return sjd2_train_swiglu_backward_f32(s, d, da, gu, m, n);
}
int32_t swiglu_back(sjd2_stream s, uint16_t* d, const uint16_t* da, const uint16_t* gu, int64_t m,
                    int64_t n) {
  return sjd2_train_swiglu_backward_bf16(s, d, da, gu, m, n);
}
int32_t rope(sjd2_stream s, float* x, const float* c, const float* n, const int32_t* p, int64_t m, int64_t h,
             int64_t hd, int64_t ld, int32_t inverse) {
  return sjd2_train_rope_f32(s, x, c, n, p, m, h, hd, ld, inverse);
}
int32_t rope(sjd2_stream s, uint16_t* x, const float* c, const float* n, const int32_t* p, int64_t m,
             int64_t h, int64_t hd, int64_t ld, int32_t inverse) {
  return sjd2_train_rope_bf16(s, x, c, n, p, m, h, hd, ld, inverse);
}

template <typename T>
void check_swiglu_and_rope(sjd2_stream s) {
  constexpr int64_t kRows = 19, kWidth = 37;
  Random random(5);
  Guarded<T> gu(kRows * 2 * kWidth), act(kRows * kWidth), da(kRows * kWidth), d(kRows * 2 * kWidth);
  gu.fill_normal(random, 3.0);
  da.fill_normal(random);
  ok(swiglu(s, act.data(), gu.data(), kRows, kWidth), "swiglu_forward");
  ok(swiglu_back(s, d.data(), da.data(), gu.data(), kRows, kWidth), "swiglu_backward");
  for (int64_t i = 0; i < kRows; ++i) {
    for (int64_t j = 0; j < kWidth; ++j) {
      const double g = widen(gu[i * 2 * kWidth + j]), u = widen(gu[i * 2 * kWidth + kWidth + j]);
      const double sig = 1.0 / (1.0 + std::exp(-g)), up = widen(da[i * kWidth + j]);
      near("swiglu", i * kWidth + j, act[i * kWidth + j], g * sig * u, slack<T>(50, g * sig * u));
      const double dg = up * u * sig * (1 + g * (1 - sig)), du = up * g * sig;
      near("swiglu gate", j, d[i * 2 * kWidth + j], dg, slack<T>(50, dg));
      near("swiglu up", j, d[i * 2 * kWidth + kWidth + j], du, slack<T>(50, du));
    }
  }
  intact("swiglu", act);
  intact("swiglu gradient", d);

  constexpr int64_t kHeads = 2, kDim = 22, kColumns = 50, kPositions = 9;
  Guarded<T> x(kRows * kColumns), kept(kRows * kColumns);
  Guarded<float> cosines(kPositions * kDim / 2), sines(kPositions * kDim / 2);
  Guarded<int32_t> position(kRows);
  x.fill_normal(random);
  for (int64_t i = 0; i < x.size(); ++i) kept[i] = x[i];
  for (int64_t i = 0; i < cosines.size(); ++i) {
    cosines[i] = static_cast<float>(std::cos(0.1 * static_cast<double>(i)));
    sines[i] = static_cast<float>(std::sin(0.1 * static_cast<double>(i)));
  }
  for (int64_t i = 0; i < kRows; ++i) position[i] = static_cast<int32_t>(i % kPositions);
  ok(rope(s, x.data(), cosines.data(), sines.data(), position.data(), kRows, kHeads, kDim, kColumns, 0),
     "rope");
  for (int64_t i = 0; i < kRows; ++i) {
    for (int64_t h = 0; h < kHeads; ++h) {
      for (int64_t j = 0; j < kDim / 2; ++j) {
        const int64_t low = i * kColumns + h * kDim + j, t = position[i] * kDim / 2 + j;
        const double a = widen(kept[low]), b = widen(kept[low + kDim / 2]);
        const double want = a * cosines[t] - b * sines[t];
        near("rope", low, x[low], want, slack<T>(8, want));
      }
    }
    for (int64_t j = kHeads * kDim; j < kColumns; ++j) {
      expect(widen(x[i * kColumns + j]) == widen(kept[i * kColumns + j]), "rope: a value head was rotated");
    }
  }
  ok(rope(s, x.data(), cosines.data(), sines.data(), position.data(), kRows, kHeads, kDim, kColumns, 1),
     "rope back");
  for (int64_t i = 0; i < x.size(); ++i) {
    near("rope there and back", i, x[i], widen(kept[i]), slack<T>(8, 8));
  }
  intact("rope", x);
}

int32_t attend(sjd2_stream s, float* o, float* l, const float* q, const float* k, const float* v,
               const int32_t* off, int64_t n, int64_t h, int64_t kv, int64_t hd, int64_t ld, float scale) {
  return sjd2_train_attention_forward_f32(s, o, l, q, k, v, off, n, h, kv, hd, ld, scale);
}
int32_t attend(sjd2_stream s, uint16_t* o, float* l, const uint16_t* q, const uint16_t* k, const uint16_t* v,
               const int32_t* off, int64_t n, int64_t h, int64_t kv, int64_t hd, int64_t ld, float scale) {
  return sjd2_train_attention_forward_bf16(s, o, l, q, k, v, off, n, h, kv, hd, ld, scale);
}
int32_t attend_back(sjd2_stream s, float* d, const float* go, const float* o, const float* l, const float* x,
                    int64_t k_at, int64_t v_at, const int32_t* off, int64_t n, int64_t h, int64_t kv,
                    int64_t hd, int64_t ld, float scale) {
  return sjd2_train_attention_backward_f32(s, d, d + k_at, d + v_at, go, o, l, x, x + k_at, x + v_at, off, n,
                                           h, kv, hd, ld, scale);
}
int32_t attend_back(sjd2_stream s, uint16_t* d, const uint16_t* go, const uint16_t* o, const float* l,
                    const uint16_t* x, int64_t k_at, int64_t v_at, const int32_t* off, int64_t n, int64_t h,
                    int64_t kv, int64_t hd, int64_t ld, float scale) {
  return sjd2_train_attention_backward_bf16(s, d, d + k_at, d + v_at, go, o, l, x, x + k_at, x + v_at, off, n,
                                            h, kv, hd, ld, scale);
}

template <typename T>
void check_attention(sjd2_stream s, int64_t first, int64_t second, int64_t heads, int64_t kv, int64_t hd) {
  Random random(static_cast<uint64_t>(first * 100 + hd));
  const int64_t m = first + second, ld = (heads + 2 * kv) * hd;
  Guarded<T> x(m * ld), go(m * heads * hd), out(m * heads * hd), dx(m * ld);
  Guarded<float> lse(m * heads);
  Guarded<int32_t> offsets(3);
  offsets[0] = 0;
  offsets[1] = static_cast<int32_t>(first);
  offsets[2] = static_cast<int32_t>(m);
  x.fill_normal(random);
  go.fill_normal(random);
  const float scale = 1.0f / std::sqrt(static_cast<float>(hd));
  const int64_t k_at = heads * hd, v_at = (heads + kv) * hd;
  ok(attend(s, out.data(), lse.data(), x.data(), x.data() + k_at, x.data() + v_at, offsets.data(), 2, heads,
            kv, hd, ld, scale),
     "attention_forward");
  ok(attend_back(s, dx.data(), go.data(), out.data(), lse.data(), x.data(), k_at, v_at, offsets.data(), 2,
                 heads, kv, hd, ld, scale),
     "attention_backward");
  std::vector<double> want(static_cast<size_t>(m * ld), 0.0);
  const double loose = std::is_same_v<T, float> ? 1e-5 : 8e-2;
  for (int64_t t = 0; t < m; ++t) {
    const int64_t begin = t < first ? 0 : first, count = t - begin + 1;
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t g = h / (heads / kv);
      std::vector<double> p(static_cast<size_t>(count)), dp(static_cast<size_t>(count));
      double total = 0, mix = 0;
      for (int64_t u = 0; u < count; ++u) {
        double dot = 0;
        for (int64_t j = 0; j < hd; ++j) {
          dot += static_cast<double>(widen(x[t * ld + h * hd + j])) *
                 widen(x[(begin + u) * ld + k_at + g * hd + j]);
        }
        p[static_cast<size_t>(u)] = std::exp(dot * scale);
        total += p[static_cast<size_t>(u)];
      }
      for (double& value : p) value /= total;
      for (int64_t j = 0; j < hd; ++j) {
        double o = 0;
        for (int64_t u = 0; u < count; ++u)
          o += p[static_cast<size_t>(u)] * widen(x[(begin + u) * ld + v_at + g * hd + j]);
        near("attention", (t * heads + h) * hd + j, out[(t * heads + h) * hd + j], o,
             std::is_same_v<T, float> ? 3e-6 : 2e-2);
      }
      for (int64_t u = 0; u < count; ++u) {
        for (int64_t j = 0; j < hd; ++j) {
          const double grad = widen(go[(t * heads + h) * hd + j]);
          dp[static_cast<size_t>(u)] += grad * widen(x[(begin + u) * ld + v_at + g * hd + j]);
          want[static_cast<size_t>((begin + u) * ld + v_at + g * hd + j)] += p[static_cast<size_t>(u)] * grad;
        }
        mix += p[static_cast<size_t>(u)] * dp[static_cast<size_t>(u)];
      }
      for (int64_t u = 0; u < count; ++u) {
        const double ds = p[static_cast<size_t>(u)] * (dp[static_cast<size_t>(u)] - mix) * scale;
        for (int64_t j = 0; j < hd; ++j) {
          want[static_cast<size_t>(t * ld + h * hd + j)] +=
              ds * widen(x[(begin + u) * ld + k_at + g * hd + j]);
          want[static_cast<size_t>((begin + u) * ld + k_at + g * hd + j)] +=
              ds * widen(x[t * ld + h * hd + j]);
        }
      }
    }
  }
  for (int64_t i = 0; i < m * ld; ++i)
    near("attention gradient", i, dx[i], want[static_cast<size_t>(i)], loose);
  intact("attention", out);
  intact("attention lse", lse);
  intact("attention gradient", dx);
}

void check_rows_and_noise(sjd2_stream s) {
  constexpr int64_t kRows = 21, kDim = 70, kTable = 6;
  Random random(8);
  Guarded<float> x(kRows * kDim), table(kTable * kDim), grad(kTable * kDim), scale(kRows);
  Guarded<int32_t> index(kRows);
  table.fill_normal(random);
  scale.fill_normal(random);
  for (int64_t i = 0; i < kRows; ++i) index[i] = static_cast<int32_t>(i % (kTable + 1)) - 1;
  x.fill(1.0f);
  ok(sjd2_train_gather_rows(s, x.data(), table.data(), index.data(), kRows, kDim, 1), "gather_rows");
  for (int64_t i = 0; i < kRows * kDim; ++i) {
    const int32_t id = index[i / kDim];
    near("gather_rows", i, x[i], 1.0 + (id < 0 ? 0.0 : table[id * kDim + i % kDim]), 1e-6);
  }
  grad.fill(2.0f);
  ok(sjd2_train_scatter_add_rows(s, grad.data(), x.data(), index.data(), scale.data(), kRows, kDim),
     "scatter_add_rows");
  for (int64_t id = 0; id < kTable; ++id) {
    for (int64_t j = 0; j < kDim; ++j) {
      double sum = 2.0;
      for (int64_t i = 0; i < kRows; ++i) {
        if (index[i] == id) sum += static_cast<double>(scale[i]) * x[i * kDim + j];
      }
      near("scatter_add_rows", id * kDim + j, grad[id * kDim + j], sum, 1e-5);
    }
  }
  intact("scatter_add_rows", grad);

  constexpr int64_t kNoisy = 3;
  Guarded<int32_t> rows(kNoisy);
  Guarded<float> alpha(kNoisy), sigma(kNoisy), noise(kNoisy * kDim), mean(kDim), deviation(kDim),
      level(kNoisy * kDim);
  Guarded<float> before(kRows * kDim);
  for (int64_t i = 0; i < kNoisy; ++i) {
    rows[i] = static_cast<int32_t>(7 * i);
    alpha[i] = 0.8f - 0.1f * static_cast<float>(i);
    sigma[i] = 0.6f;
  }
  noise.fill_normal(random);
  mean.fill_normal(random);
  level.fill_normal(random);
  deviation.fill(0.7f);
  for (int64_t i = 0; i < x.size(); ++i) before[i] = x[i];
  ok(sjd2_train_noise_mix(s, x.data(), rows.data(), alpha.data(), sigma.data(), noise.data(), mean.data(),
                          deviation.data(), level.data(), kNoisy, kDim),
     "noise_mix");
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t j = 0; j < kDim; ++j) {
      double want = before[r * kDim + j];
      if (r % 7 == 0) {
        const int64_t i = r / 7;
        want = (alpha[i] * (want - mean[j]) / deviation[j] + sigma[i] * noise[i * kDim + j]) * deviation[j] +
               mean[j] + level[i * kDim + j];
      }
      near("noise_mix", r * kDim + j, x[r * kDim + j], want, 3e-6);
    }
  }
  intact("noise_mix", x);

  // The published known answer of Philox4x32-10 for a zero key and counter begins 6627e8d5 e169c58d.
  Guarded<float> normal(1 * 5);
  Guarded<int32_t> zero(1);
  zero[0] = 0;
  ok(sjd2_train_philox_normal(s, normal.data(), zero.data(), zero.data(), 1, 5, 0, 0), "philox_normal");
  const double u = (0x6627e8d5u + 0.5) * 0x1p-32, v = (0xe169c58du + 0.5) * 0x1p-32;
  const double radius = std::sqrt(-2.0 * std::log(u));
  near("philox_normal", 0, normal[0], radius * std::cos(2 * M_PI * v), 1e-6);
  near("philox_normal", 1, normal[1], radius * std::sin(2 * M_PI * v), 1e-6);
  intact("philox_normal", normal);

  Guarded<double> t(2), frequencies(3);
  Guarded<float> wave(2 * 6);
  t[0] = 0.5;
  t[1] = 700.0;
  for (int64_t i = 0; i < 3; ++i) frequencies[i] = std::pow(10.0, -static_cast<double>(i));
  ok(sjd2_train_sinusoid(s, wave.data(), t.data(), frequencies.data(), 2, 3), "sinusoid");
  for (int64_t i = 0; i < 2; ++i) {
    for (int64_t j = 0; j < 3; ++j) {
      near("sinusoid", i * 6 + j, wave[i * 6 + j], std::cos(t[i] * frequencies[j]), 1e-6);
      near("sinusoid", i * 6 + 3 + j, wave[i * 6 + 3 + j], std::sin(t[i] * frequencies[j]), 1e-6);
    }
  }
  intact("sinusoid", wave);
}

int32_t entropy(sjd2_stream s, float* l, float* d, const float* x, const int32_t* t, int64_t m, int64_t n,
                float scale) {
  return sjd2_train_cross_entropy_f32(s, l, d, x, t, m, n, scale);
}
int32_t entropy(sjd2_stream s, float* l, uint16_t* d, const float* x, const int32_t* t, int64_t m, int64_t n,
                float scale) {
  return sjd2_train_cross_entropy_bf16(s, l, d, x, t, m, n, scale);
}

template <typename T>
void check_cross_entropy(sjd2_stream s) {
  constexpr int64_t kRows = 13, kColumns = 53;
  Random random(9);
  Guarded<float> logits(kRows * kColumns), losses(kRows);
  Guarded<T> grad(kRows * kColumns);
  Guarded<int32_t> target(kRows);
  logits.fill_normal(random, 10.0);
  for (int64_t i = 0; i < kRows; ++i) target[i] = static_cast<int32_t>(random.below(kColumns));
  logits[2 * kColumns + 5] = NAN;
  ok(entropy(s, losses.data(), grad.data(), logits.data(), target.data(), kRows, kColumns, 0.25f),
     "cross_entropy");
  for (int64_t i = 0; i < kRows; ++i) {
    if (i == 2) {
      expect(std::isnan(losses[i]), "cross_entropy: a NaN logit gave the loss %g",
             static_cast<double>(losses[i]));
      continue;
    }
    double total = 0;
    for (int64_t j = 0; j < kColumns; ++j) total += std::exp(static_cast<double>(logits[i * kColumns + j]));
    near("cross_entropy", i, losses[i], std::log(total) - logits[i * kColumns + target[i]], 3e-5);
    for (int64_t j = 0; j < kColumns; ++j) {
      const double g =
          0.25 * (std::exp(static_cast<double>(logits[i * kColumns + j])) / total - (j == target[i] ? 1 : 0));
      near("cross_entropy gradient", i * kColumns + j, grad[i * kColumns + j], g, slack<T>(1, g));
    }
  }
  intact("cross_entropy", losses);
  intact("cross_entropy gradient", grad);
}

void check_flat(sjd2_stream s) {
  constexpr int64_t kSize = 16384 * 2 + 37;
  Random random(10);
  Guarded<float> param(kSize), first(kSize), second(kSize), grad(kSize), average(kSize), before(kSize);
  param.fill_normal(random);
  grad.fill_normal(random);
  first.fill_normal(random);
  for (int64_t i = 0; i < kSize; ++i) {
    second[i] = static_cast<float>(random.uniform());
    before[i] = param[i];
  }
  const double m0 = first[kSize - 1], v0 = second[kSize - 1], g = 0.5 * grad[kSize - 1];
  double squares = 0, sum = 0;
  for (int64_t i = 0; i < kSize; ++i) squares += static_cast<double>(grad[i]) * grad[i];
  ok(sjd2_train_sum_squares(s, &sum, grad.data(), kSize), "sum_squares");
  near("sum_squares", 0, static_cast<float>(sum), squares, 1e-5 * squares);
  ok(sjd2_train_adamw(s, param.data(), first.data(), second.data(), grad.data(), kSize, 0.1f, 0.9f, 0.95f,
                      1e-8f, 0.2f, 0.19f, 0.0975f, 0.5f),
     "adamw");
  const double m1 = 0.9 * m0 + 0.1 * g, v1 = 0.95 * v0 + 0.05 * g * g;
  near("adamw first", kSize - 1, first[kSize - 1], m1, 1e-6);
  near("adamw second", kSize - 1, second[kSize - 1], v1, 1e-6);
  near("adamw", kSize - 1, param[kSize - 1],
       before[kSize - 1] * (1 - 0.02) - 0.1 * (m1 / 0.19) / (std::sqrt(v1 / 0.0975) + 1e-8), 1e-5);
  average.fill(1.0f);
  ok(sjd2_train_ema(s, average.data(), param.data(), kSize, 0.75f), "ema");
  near("ema", kSize - 1, average[kSize - 1], 0.75 + 0.25 * param[kSize - 1], 1e-6);
  Guarded<uint16_t> narrowed(kSize);
  ok(sjd2_train_to_bf16(s, narrowed.data(), param.data(), kSize), "to_bf16");
  for (int64_t i = kSize - 40; i < kSize; ++i) {
    expect(narrowed[i] == narrow<uint16_t>(param[i]), "to_bf16: element %lld", static_cast<long long>(i));
  }
  Guarded<float> y(kSize), back(kSize);
  ok(sjd2_train_silu_forward(s, y.data(), param.data(), kSize), "silu_forward");
  ok(sjd2_train_silu_backward(s, back.data(), grad.data(), param.data(), kSize), "silu_backward");
  const double p = param[kSize - 1], sig = 1.0 / (1.0 + std::exp(-p));
  near("silu", kSize - 1, y[kSize - 1], p * sig, 3e-6);
  near("silu gradient", kSize - 1, back[kSize - 1], grad[kSize - 1] * sig * (1 + p * (1 - sig)), 3e-6);
  ok(sjd2_train_fill(s, y.data(), kSize, 3.0f), "fill");
  expect(y[0] == 3.0f && y[kSize - 1] == 3.0f, "fill");
  constexpr int64_t kRows = 131, kColumns = 23;
  Guarded<float> columns(kColumns), bias(kColumns);
  bias.fill_normal(random);
  columns.fill(0.0f);
  ok(sjd2_train_fill(s, y.data(), kRows * kColumns, 0.0f), "fill");
  ok(sjd2_train_add_bias(s, y.data(), bias.data(), kRows, kColumns), "add_bias");
  ok(sjd2_train_column_sum(s, columns.data(), y.data(), kRows, kColumns), "column_sum");
  for (int64_t j = 0; j < kColumns; ++j)
    near("column_sum", j, columns[j], static_cast<double>(kRows) * bias[j], 1e-3);
  for (const auto* buffer : {&param, &first, &second, &average, &y, &back}) intact("flat", *buffer);
  intact("to_bf16", narrowed);
  intact("column_sum", columns);
}

void check_qk_norm(sjd2_stream s) {
  constexpr int64_t kRows = 5, kHeads = 4, kKv = 2, kDim = 10, kQGroups = 4, kKGroups = 2,
                    kWidth = (kHeads + 2 * kKv) * kDim;
  Random random(11);
  Guarded<float> x(kRows * kWidth), y(kRows * kWidth), dy(kRows * kWidth), params(2 * (kQGroups + kKGroups) * kDim);
  Guarded<float> d_params(2 * (kQGroups + kKGroups) * kDim), stats(kRows * (kHeads + kKv) * 2), nudged(kRows * kWidth);
  x.fill_normal(random);
  params.fill_normal(random);
  dy.fill_normal(random);
  d_params.fill(0.0f);
  const int64_t q_part = kQGroups * kDim, k_part = kKGroups * kDim;
  const float* w = params.data();
  auto forward = [&](Guarded<float>& out) {
    ok(sjd2_train_qk_norm_forward_f32(s, out.data(), stats.data(), x.data(), w, w + q_part,
                                      w + 2 * q_part, w + 2 * q_part + k_part, kRows, kHeads, kKv, kDim, kQGroups,
                                      kKGroups, 1e-5f),
       "qk_norm_forward");
  };
  // The gradient against a difference quotient of sum(dy * y).
  Guarded<float> upstream(kRows * kWidth);
  for (int64_t i = 0; i < dy.size(); ++i) upstream[i] = dy[i];
  forward(y);
  for (int64_t i = 0; i < kRows; ++i) {
    for (int64_t j = (kHeads + kKv) * kDim; j < kWidth; ++j) {
      expect(y[i * kWidth + j] == x[i * kWidth + j], "qk_norm: a value changed");
    }
  }
  ok(sjd2_train_qk_norm_backward_f32(s, dy.data(), d_params.data(), x.data(), stats.data(), w,
                                     w + 2 * q_part, kRows, kHeads, kKv, kDim, kQGroups, kKGroups),
     "qk_norm_backward");
  auto objective = [&](Guarded<float>& out) {
    double sum = 0;
    forward(out);
    for (int64_t i = 0; i < out.size(); ++i) sum += static_cast<double>(upstream[i]) * out[i];
    return sum;
  };
  for (const int64_t at : {int64_t{3}, int64_t{kWidth + 45}, int64_t{2 * kWidth + 27}}) {
    const float kept = x[at];
    x[at] = kept + 1e-2f;
    const double high = objective(nudged);
    x[at] = kept - 1e-2f;
    const double low = objective(nudged);
    x[at] = kept;
    near("qk_norm gradient", at, dy[at], (high - low) / 2e-2, 5e-3);
  }
  for (const int64_t at : {int64_t{4}, q_part + 33, 2 * q_part + 7, 2 * q_part + k_part + 19}) {
    const float kept = params[at];
    params[at] = kept + 1e-2f;
    const double high = objective(nudged);
    params[at] = kept - 1e-2f;
    const double low = objective(nudged);
    params[at] = kept;
    near("qk_norm parameter gradient", at, d_params[at], (high - low) / 2e-2, 5e-3);
  }
  intact("qk_norm", y);
  intact("qk_norm gradient", dy);
  intact("qk_norm parameters", d_params);
}

void check_muon(sjd2_stream s) {
  Random random(12);
  const int64_t rows[2] = {20, 33}, cols[2] = {33, 20}, offsets[2] = {0, 660};
  for (const int32_t product : {SJD2_F32, SJD2_BF16}) {
    Guarded<float> param(1320), momentum(1320), grad(1320);
    param.fill(0.0f);
    momentum.fill(0.0f);
    grad.fill_normal(random);
    ok(sjd2_train_muon(s, param.data(), momentum.data(), grad.data(), offsets, rows, cols, 2, 1.0f, 0.95f,
                       0.0f, 1.0f, 1.0f, 5, product),
       "muon");
    for (int64_t matrix = 0; matrix < 2; ++matrix) {
      double squares = 0;
      for (int64_t i = 0; i < 660; ++i) squares += std::pow(param[660 * matrix + i], 2) / 33.0;
      expect(squares > 0.6 * 20 && squares < 1.3 * 20, "muon: the squares of %lld singular values sum to %g",
             20LL, squares);
    }
    intact("muon", param);
    intact("muon momentum", momentum);
  }
}

void check_bad_arguments(sjd2_stream s) {
  float x[4] = {};
  expect(sjd2_train_fill(s, nullptr, 4, 0.0f) == SJD2_BAD_ARGUMENT, "fill takes NULL");
  expect(sjd2_train_fill(s, x, -1, 0.0f) == SJD2_BAD_ARGUMENT, "fill takes a negative size");
  expect(std::strlen(sjd2_last_error()) > 0, "no message");
  expect(sjd2_train_gemm(s, x, nullptr, x, x, 1, 1, 1, 1, 1, 1, 1, SJD2_I32, SJD2_F32, SJD2_F32, 0, 0,
                         SJD2_F32) == SJD2_UNSUPPORTED,
         "gemm takes i32");
}

}  // namespace

int main() {
  on_every_set([](sjd2_stream s) {
    uint64_t seed = 1;
    for (const bool at : {false, true}) {
      for (const bool bt : {false, true}) {
        check_gemm<float>(s, 33, 17, 31, at, bt, false, seed);
        check_gemm<uint16_t>(s, 33, 17, 31, at, bt, false, seed);
        check_gemm<float>(s, 64, 96, 230, at, bt, false, ++seed);
        check_gemm<uint16_t>(s, 64, 96, 416, at, bt, false, seed);
        check_gemm<float>(s, 70, 40, 33, false, bt, true, ++seed);
        check_gemm<uint16_t>(s, 70, 40, 64, false, bt, true, seed);
      }
    }
    check_gemm<float>(s, 1, 1, 1, false, false, false, 2);
    check_gemm<uint16_t>(s, 1, 1, 1, true, true, false, 2);
    check_rms_norm<float>(s, 70, 37);
    check_rms_norm<uint16_t>(s, 3, 64);
    check_swiglu_and_rope<float>(s);
    check_swiglu_and_rope<uint16_t>(s);
    check_attention<float>(s, 1, 45, 4, 2, 10);
    check_attention<uint16_t>(s, 1, 45, 4, 2, 10);
    check_attention<float>(s, 64, 33, 2, 2, 32);
    check_attention<uint16_t>(s, 64, 33, 2, 2, 32);
    check_rows_and_noise(s);
    check_cross_entropy<float>(s);
    check_cross_entropy<uint16_t>(s);
    check_flat(s);
    check_qk_norm(s);
    check_muon(s);
    check_bad_arguments(s);
  });
  return finish("training");
}
