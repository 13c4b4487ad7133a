// Matrix products: against f64, row by row, live rows only, bias and accumulation.
#include "check.h"

using namespace sjd2::test;

namespace {

template <typename T>
int32_t call_matmul(float* out, const T* x, const T* w, const float* bias, const sjd2_sequence* sequences, int64_t batch,
                    int64_t max_window, int64_t n_out, int64_t n_in, int32_t accumulate) {
  if constexpr (std::is_same_v<T, float>) {
    return sjd2_matmul_f32(stream, out, x, w, bias, sequences, batch, max_window, n_out, n_in, accumulate);
  } else {
    return sjd2_matmul_bf16(stream, out, x, w, bias, sequences, batch, max_window, n_out, n_in, accumulate);
  }
}

template <typename T>
void check_case(Place place, int64_t batch, int64_t max_window, int64_t n_out, int64_t n_in,
                bool with_bias, bool accumulate, bool all_live, uint64_t seed) {
  char name[128];
  std::snprintf(name, sizeof name, "matmul %s %lldx%lld rows, %lld x %lld, bias %d, accumulate %d, seed %llu",
                dtype_name<T>(), static_cast<long long>(batch), static_cast<long long>(max_window),
                static_cast<long long>(n_out), static_cast<long long>(n_in), with_bias, accumulate,
                static_cast<unsigned long long>(seed));
  Random random(seed);
  const int64_t rows = batch * max_window;
  Guarded<T> x(rows * n_in, place), w(n_out * n_in, place);
  Guarded<float> bias(n_out), before(rows * n_out), out(rows * n_out), alone(n_out);
  x.fill_normal(random);
  w.fill_normal(random, 1.0 / std::sqrt(static_cast<double>(n_in)));
  bias.fill_normal(random);
  before.fill_normal(random);
  Guarded<sjd2_sequence> sequences(batch);
  for (int64_t b = 0; b < batch; ++b) {
    sequences[b] = {};
    sequences[b].rows = static_cast<int32_t>(all_live ? max_window : random.below(max_window + 1));
  }
  int64_t elements = 0;
  if (!ok(sjd2_packed_elements(&elements, n_out, n_in, dtype<T>()), name)) return;
  Guarded<T> packed(elements, Place::kAligned);
  packed.fill(T{});
  // In two parts that meet inside a panel, as q, k and v do.
  const int64_t first = n_out / 3;
  ok(sjd2_pack_weights(stream, packed.in(), w.in(), 0, first, n_out, n_in, dtype<T>(), dtype<T>()), name);
  ok(sjd2_pack_weights(stream, packed.at(), w.at(first * n_in), first, n_out - first, n_out, n_in,
                       dtype<T>(), dtype<T>()),
     name);
  if (accumulate) {
    for (int64_t i = 0; i < rows * n_out; ++i) out[i] = before[i];
  }
  const sjd2_sequence* state = all_live ? nullptr : sequences.in();
  if (!ok(call_matmul(out.in(), x.in(), packed.at(), with_bias ? bias.in() : nullptr, state, batch, max_window, n_out, n_in,
                      accumulate),
          name)) {
    return;
  }
  out.fetch();
  Parity<float> parity;
  bool dead_rows_kept = true, rows_agree = true;
  for (int64_t r = 0; r < rows; ++r) {
    if (r % max_window >= sequences[r / max_window].rows) {
      for (int64_t n = 0; n < n_out; ++n) {
        dead_rows_kept &=
            accumulate ? out[r * n_out + n] == before[r * n_out + n] : out.untouched(r * n_out + n);
      }
      continue;
    }
    for (int64_t n = 0; n < n_out; ++n) {
      const double start = (accumulate ? before[r * n_out + n] : 0.0) + (with_bias ? bias[n] : 0.0);
      double exact = start;
      auto naive = static_cast<float>(start);
      for (int64_t k = 0; k < n_in; ++k) {
        exact += static_cast<double>(widen(x[r * n_in + k])) * static_cast<double>(widen(w[n * n_in + k]));
        naive += widen(x[r * n_in + k]) * widen(w[n * n_in + k]);
      }
      parity.add(out[r * n_out + n], naive, exact);
    }
    // The row by itself has the same bits.
    for (int64_t n = 0; n < n_out; ++n) alone[n] = accumulate ? before[r * n_out + n] : 0.0f;
    ok(call_matmul(alone.in(), x.at(r * n_in), packed.at(), with_bias ? bias.at() : nullptr, nullptr, 1, 1, n_out, n_in,
                   accumulate),
       name);
    alone.fetch();
    rows_agree &= std::memcmp(alone.data(), out.data() + r * n_out, static_cast<size_t>(n_out) * 4) == 0;
  }
  expect(parity.holds(), "%s: error %g, allowed %g", name, parity.error(), parity.allowed());
  expect(dead_rows_kept, "%s: a row that is not live was written", name);
  expect(rows_agree, "%s: a row alone differs from the row among others", name);
  expect(out.bands_intact() && alone.bands_intact(), "%s: written outside the output", name);
}

template <typename T>
void check_all(Place place) {
  uint64_t seed = 1;
  // One below and above each tile, primes, and 1.
  for (const int64_t rows : {1, 7, 15, 16, 17, 31, 33, 64, 65, 97, 129}) {
    check_case<T>(place, 1, rows, 37, 33, rows % 2 == 0, rows % 3 == 0, true, seed++);
  }
  for (const int64_t n_out : {1, 15, 16, 17, 63, 64, 65, 130}) {
    check_case<T>(place, 1, 4, n_out, 64, true, false, true, seed++);
  }
  for (const int64_t n_in : {1, 2, 31, 32, 63, 65, 127, 256, 257, 520}) {
    check_case<T>(place, 1, 5, 34, n_in, true, false, true, seed++);
  }
  check_case<T>(place, 4, 7, 50, 72, true, false, false, seed++);
  check_case<T>(place, 3, 33, 66, 136, false, true, false, seed++);
}

// Values that are not finite stay in their row.
template <typename T>
void check_nan_stays() {
  constexpr int64_t kRows = 20, kOut = 40, kIn = 50;
  Random random(99);
  Guarded<T> x(kRows * kIn), w(kOut * kIn);
  Guarded<float> out(kRows * kOut);
  x.fill_normal(random);
  w.fill_normal(random);
  x[3 * kIn + 7] = narrow<T>(NAN);
  x[5 * kIn] = narrow<T>(INFINITY);
  int64_t elements = 0;
  ok(sjd2_packed_elements(&elements, kOut, kIn, dtype<T>()), "packed_elements");
  Guarded<T> packed(elements, Place::kAligned);
  packed.fill(T{});
  ok(sjd2_pack_weights(stream, packed.in(), w.in(), 0, kOut, kOut, kIn, dtype<T>(), dtype<T>()),
     "pack_weights");
  ok(call_matmul(out.at(), x.in(), packed.at(), nullptr, nullptr, 1, kRows, kOut, kIn, 0), "matmul");
  out.fetch();
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t n = 0; n < kOut; ++n) {
      const float value = out[r * kOut + n];
      const bool right = r == 3 ? std::isnan(value) : r == 5 ? std::isinf(value) : std::isfinite(value);
      expect(right, "matmul %s: row %d holds %g", dtype_name<T>(), static_cast<int>(r),
             static_cast<double>(value));
    }
  }
}

}  // namespace

int main() {
  return run("matmul", [] {
    for (const Place place : {Place::kAligned, Place::kAskew}) {
      check_all<float>(place);
      check_all<uint16_t>(place);
    }
    check_nan_stays<float>();
    check_nan_stays<uint16_t>();
  });
}
