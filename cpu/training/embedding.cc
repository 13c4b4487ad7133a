// What goes into the first layer: table rows and their gradients, noise in normalised embedding space, and the random
// numbers and sinusoids behind it.

#include "../threads.h"
#include "product.h"
#include "training_table.h"

namespace sjd2::SJD2_ISA::training {

namespace {

constexpr int64_t kRowsPerItem = 32;

struct PhiloxBlock {
  uint32_t w[4];
};

// Philox4x32-10. Source: fixtures README 2.3 (multipliers, key increments and layout; known answers in philox.json).
PhiloxBlock philox(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint64_t seed) {
  auto k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    uint64_t p0 = uint64_t{0xD2511F53u} * c0, p1 = uint64_t{0xCD9E8D57u} * c2;
    uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0, n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

}  // namespace

int32_t gather_rows(sjd2_stream stream, float* x, const float* table, const int32_t* index, int64_t m,
                    int64_t hidden_size, int32_t accumulate) {
  parallel_for(stream, (m + kRowsPerItem - 1) / kRowsPerItem, [&](int64_t item) {
    for (int64_t i = item * kRowsPerItem; i < m && i < (item + 1) * kRowsPerItem; ++i) {
      float* out = x + i * hidden_size;
      if (index[i] < 0) {
        if (accumulate == 0) std::memset(out, 0, static_cast<size_t>(hidden_size) * 4);
        continue;
      }
      const float* row = table + index[i] * hidden_size;
      if (accumulate == 0) {
        std::memcpy(out, row, static_cast<size_t>(hidden_size) * 4);
      } else {
        over_row(hidden_size, [&](int64_t j, int64_t n) {
          store_at(out + j, load_at(out + j, n) + load_at(row + j, n), n);
        });
      }
    }
  });
  return SJD2_OK;
}

// Split over columns: rows of the table are hit from anywhere, columns belong to one item.
int32_t scatter_add_rows(sjd2_stream stream, float* table, const float* x, const int32_t* index,
                         const float* scale, int64_t m, int64_t hidden_size) {
  constexpr int64_t kColumns = 64;
  parallel_for(stream, (hidden_size + kColumns - 1) / kColumns, [&](int64_t item) {
    int64_t first = item * kColumns, width = hidden_size - first < kColumns ? hidden_size - first : kColumns;
    for (int64_t i = 0; i < m; ++i) {
      if (index[i] < 0) continue;
      Vec s = splat(scale == nullptr ? 1.0f : scale[i]);
      float* out = table + index[i] * hidden_size + first;
      const float* in = x + i * hidden_size + first;
      over_row(width, [&](int64_t j, int64_t n) {
        store_at(out + j, fma(s, load_at(in + j, n), load_at(out + j, n)), n);
      });
    }
  });
  return SJD2_OK;
}

int32_t noise_mix(sjd2_stream stream, float* x, const int32_t* rows, const float* alpha, const float* sigma,
                  const float* noise, const float* mean, const float* std, const float* level, int64_t n,
                  int64_t hidden_size) {
  parallel_for(stream, (n + kRowsPerItem - 1) / kRowsPerItem, [&](int64_t item) {
    for (int64_t i = item * kRowsPerItem; i < n && i < (item + 1) * kRowsPerItem; ++i) {
      float* row = x + rows[i] * hidden_size;
      const float* eps = noise + i * hidden_size;
      over_row(hidden_size, [&](int64_t j, int64_t l) {
        Vec mu = load_at(mean + j, l), sd = load_at(std + j, l);
        if (l < kLanes)
          sd = select(reinterpret_cast<IVec>(lane_index() < static_cast<float>(l)), sd, splat(1.0f));
        Vec mixed = fma((load_at(row + j, l) - mu) / sd, splat(alpha[i]), load_at(eps + j, l) * sigma[i]);
        Vec out = fma(mixed, sd, mu);
        if (level != nullptr) out = out + load_at(level + i * hidden_size + j, l);
        store_at(row + j, out, l);
      });
    }
  });
  return SJD2_OK;
}

int32_t philox_normal(sjd2_stream stream, float* out, const int32_t* high, const int32_t* low, int64_t n,
                      int64_t hidden_size, uint64_t seed, uint32_t stream_high) {
  parallel_for(stream, n, [&](int64_t i) {
    float* row = out + i * hidden_size;
    for (int64_t e = 0; e < hidden_size; e += 4) {
      PhiloxBlock b = philox(static_cast<uint32_t>(e / 4), static_cast<uint32_t>(high[i]),
                             static_cast<uint32_t>(low[i]), stream_high, seed);
      for (int64_t pair = 0; pair < 4 && e + pair < hidden_size; pair += 2) {
        double u = (b.w[pair] + 0.5) * 0x1p-32, v = (b.w[pair + 1] + 0.5) * 0x1p-32;
        double r = std::sqrt(-2.0 * std::log(u)), turn = 6.283185307179586477 * v;
        row[e + pair] = static_cast<float>(r * std::cos(turn));
        if (e + pair + 1 < hidden_size) row[e + pair + 1] = static_cast<float>(r * std::sin(turn));
      }
    }
  });
  return SJD2_OK;
}

int32_t sinusoid(sjd2_stream stream, float* out, const double* t, const double* frequencies, int64_t n,
                 int64_t half) {
  parallel_for(stream, (n + kRowsPerItem - 1) / kRowsPerItem, [&](int64_t item) {
    for (int64_t i = item * kRowsPerItem; i < n && i < (item + 1) * kRowsPerItem; ++i) {
      for (int64_t j = 0; j < half; ++j) {
        double angle = t[i] * frequencies[j];
        out[2 * i * half + j] = static_cast<float>(std::cos(angle));
        out[(2 * i + 1) * half + j] = static_cast<float>(std::sin(angle));
      }
    }
  });
  return SJD2_OK;
}

}  // namespace sjd2::SJD2_ISA::training
