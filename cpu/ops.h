// Which operations exist, and which instruction set serves them.
//
// A kernel source holds `namespace sjd2::SJD2_ISA { int32_t rms_norm_f32(<the parameters of
// sjd2_rms_norm_f32>) {..} }` and is compiled once per instruction set. The public function, compiled once in
// an *api.cc, checks its arguments and calls `sjd2::ops().rms_norm_f32(..)`. What joins the two is a line in
// one of the lists below:
//   X(EVERY, name)   compiled for all five sets: something that uses bf16 products or
//                    tiles, or rounds much to bf16
//   X(BASE, name)    compiled for generic, avx2 and avx512; the two sets above take avx512's code
// CMakeLists.txt lists the sources under the same two headings. The list of the decode operations is
// decode_ops.h; training/ keeps a table of its own, chosen by sjd2_isa().
#ifndef SJD2_CPU_OPS_H
#define SJD2_CPU_OPS_H

#include "common.h"
#include "decode_ops.h"
#include "vq_ops.h"

#define SJD2_FORWARD_OPS(X)                                                                       \
  X(BASE, convert)                                                                                \
  X(BASE, embed_f32) X(BASE, embed_bf16) X(BASE, sequence_input_f32) X(EVERY, rms_norm_f32)       \
      X(EVERY, rms_norm_bf16) X(EVERY, rms_norm_add_f32) X(BASE, round_f32) X(BASE, round_bf16)   \
          X(EVERY, rope_append_f32) X(EVERY, rope_append_bf16) X(EVERY, swiglu_f32)               \
              X(EVERY, swiglu_bf16) X(BASE, gelu_f32) X(BASE, gelu_bf16) X(BASE, pack_weights)    \
                  X(EVERY, matmul_f32) X(EVERY, matmul_bf16) X(EVERY, attention_f32)              \
                      X(EVERY, attention_bf16)

#define SJD2_ALL_OPS(X) SJD2_FORWARD_OPS(X) SJD2_DECODE_OPS(X) SJD2_VQ_OPS(X)

namespace sjd2 {

struct Ops {
#define SJD2_MEMBER(kind, name) decltype(&::sjd2_##name) name;
  SJD2_ALL_OPS(SJD2_MEMBER)
#undef SJD2_MEMBER
};

// The operations of the instruction set in use. Valid once a stream exists.
const Ops& ops();

// SJD2_OK, or why no instruction set could be chosen: SJD2_CPU_ISA asks for one that this machine lacks.
int32_t check_selection();

// Keeps sjd2_select_isa from changing the set under a stream.
void streams_changed(int32_t by);

}  // namespace sjd2

#endif  // SJD2_CPU_OPS_H
