// The operations of one instruction set, as a table of the exported signatures. training.h declares, ops name, abi picks.
#ifndef SJD2_CPU_TRAINING_TABLE_H
#define SJD2_CPU_TRAINING_TABLE_H

#include "sjd2/training.h"

#define SJD2_TRAINING_OPERATIONS(X)                                                                          \
  X(gemm)                                                                                                    \
  X(packed_bytes) X(pack) X(gemm_packed) X(rms_norm_forward_f32) X(rms_norm_forward_bf16)                    \
      X(rms_norm_backward_f32) X(rms_norm_backward_bf16) X(qk_norm_forward_f32) X(qk_norm_forward_bf16)      \
          X(qk_norm_backward_f32) X(qk_norm_backward_bf16) X(rope_f32) X(rope_bf16) X(swiglu_forward_f32)    \
              X(swiglu_forward_bf16) X(swiglu_backward_f32) X(swiglu_backward_bf16) X(attention_forward_f32) \
                  X(attention_forward_bf16) X(attention_backward_f32) X(attention_backward_bf16)             \
                      X(gather_rows) X(scatter_add_rows) X(noise_mix) X(philox_normal) X(sinusoid)           \
                          X(add_bias) X(column_sum) X(silu_forward) X(silu_backward) X(cross_entropy_f32)    \
                              X(cross_entropy_bf16) X(adamw) X(muon) X(ema) X(sum_squares) X(fill)           \
                                  X(to_bf16)

namespace sjd2 {

struct TrainingTable {
#define SJD2_MEMBER(name) decltype(&sjd2_train_##name) name;
  SJD2_TRAINING_OPERATIONS(SJD2_MEMBER)
#undef SJD2_MEMBER
};

}  // namespace sjd2

#ifndef SJD2_ISA
#define SJD2_ISA generic
#endif

namespace sjd2::SJD2_ISA::training {

#define SJD2_DECLARE(name) decltype(sjd2_train_##name) name;
SJD2_TRAINING_OPERATIONS(SJD2_DECLARE)
#undef SJD2_DECLARE

extern const TrainingTable training_table;

}  // namespace sjd2::SJD2_ISA::training

#endif
