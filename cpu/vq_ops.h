// The operations of image tokenisers, for the lists of ops.h.
#ifndef SJD2_CPU_VQ_OPS_H
#define SJD2_CPU_VQ_OPS_H

#define SJD2_VQ_OPS(X)                                                                                            \
  X(BASE, pack_conv) X(EVERY, conv_f32) X(EVERY, conv_bf16) X(BASE, group_norm_f32) X(EVERY, vq_attention_f32) \
  X(EVERY, vq_attention_bf16)

#endif  // SJD2_CPU_VQ_OPS_H
