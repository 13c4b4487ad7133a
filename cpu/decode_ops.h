// The decode operations, for the lists of ops.h: plain loops over f32 and f64, so the base instruction sets are enough.
#ifndef SJD2_CPU_DECODE_OPS_H
#define SJD2_CPU_DECODE_OPS_H

#define SJD2_DECODE_OPS(X)                                                                                   \
  X(BASE, window_input_f32) X(BASE, window_input_bf16) X(BASE, target_probs_f32) X(BASE, verify_f32)         \
  X(BASE, verify_given_f32) X(BASE, draw_given_f32) X(BASE, log_likelihood_f32) X(BASE, philox_words)        \
  X(BASE, philox_normals_f32)

#endif  // SJD2_CPU_DECODE_OPS_H
