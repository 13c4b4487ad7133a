#include "rows.h"
#include "vec.h"

namespace sjd2::SJD2_ISA {

// x Phi(x). Phi(x) = 1/2 + x h(x^2) near 0, h of degree 5 fitted to [-1, 1] (4e-8); elsewhere from the
// complementary error function, so that nothing cancels for negative x.
SJD2_INLINE vf gelu_erf(vf x) {
  const vf square = x * x;
  vf h = splat(-7.662608368264046e-06f);
  h = fmadd(h, square, splat(0.0001135074780904688f));
  h = fmadd(h, square, splat(-0.0011863484978675842f));
  h = fmadd(h, square, splat(0.009973330423235893f));
  h = fmadd(h, square, splat(-0.06649035960435867f));
  h = fmadd(h, square, splat(0.3989422917366028f));
  const vf near = fmadd(x, h, splat(0.5f));
  const vf z = x * 0.70710678f;
  const vf half_tail = 0.5f * erfc_positive(z < 0.0f ? -z : z);
  const vf far = x < 0.0f ? half_tail : 1.0f - half_tail;
  const vf phi = square < 1.0f ? near : far;
  // Where erfc underflows, at -infinity among others, the product is 0 and not 0 * infinity.
  return (vf)((vi)(x * phi) & ~(phi == 0.0f));
}

// x/2 (1 + tanh(u)) = x / (1 + e^(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3)
SJD2_INLINE vf gelu_tanh(vf x) {
  const vf inner = fmadd(x * x * x, splat(0.044715f), x);
  const vf denominator = 1.0f + exp(inner * -1.5957691216f);
  const vf result = x / denominator;
  return (vf)((vi)result & ~(denominator == __builtin_inff()));
}

template <typename T>
static int32_t gelu(sjd2_stream stream, T* out, const float* x, const sjd2_sequence* sequences, int64_t batch,
                    int64_t max_window, int64_t n, int32_t tanh_form) {
  return for_live_rows(stream, sequences, batch, max_window, 4 * n, [&](int64_t r) {
    for (int64_t i = 0; i < n; i += kLanes) {
      const vf v = load_upto(x + r * n + i, n - i);
      store_upto(out + r * n + i, tanh_form != 0 ? gelu_tanh(v) : gelu_erf(v), n - i);
    }
  });
}

int32_t gelu_f32(sjd2_stream stream, float* out, const float* x, const sjd2_sequence* sequences,
                 int64_t batch, int64_t max_window, int64_t n, int32_t tanh_form) {
  return gelu(stream, out, x, sequences, batch, max_window, n, tanh_form);
}

int32_t gelu_bf16(sjd2_stream stream, uint16_t* out, const float* x, const sjd2_sequence* sequences,
                  int64_t batch, int64_t max_window, int64_t n, int32_t tanh_form) {
  return gelu(stream, out, x, sequences, batch, max_window, n, tanh_form);
}

}  // namespace sjd2::SJD2_ISA
