// Tensor-core instructions of sm_80 and later, as the device has them and as the emulation computes them.
#ifndef SJD2_CUDA_TENSOR_CORE_CUH
#define SJD2_CUDA_TENSOR_CORE_CUH

#include "device/arith.cuh"

namespace sjd2::cuda {

#if !defined(__CUDACC__)
namespace emulated {

struct Mma {
  float* sums;
  const uint32_t* a;
  const uint32_t* b;
};

// Fragments of mma.m16n8k16 as the PTX ISA lays them out: lane 4 g + t holds rows g and g + 8, columns 2 t, 2 t + 1, + 8.
// Each sum takes its products in ascending order; the inner loops run over what does not depend on one another.
inline void mma(void* const* lanes) {
  float a[16][16], b[16][8], sums[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    const Mma& m = *static_cast<const Mma*>(lanes[lane]);
    const int g = lane / 4, t = lane % 4 * 2;
    for (int h = 0; h < 2; ++h) {
      a[g][t + h] = from_bf16(m.a[0] >> 16 * h & 0xFFFFu);
      a[g + 8][t + h] = from_bf16(m.a[1] >> 16 * h & 0xFFFFu);
      a[g][t + 8 + h] = from_bf16(m.a[2] >> 16 * h & 0xFFFFu);
      a[g + 8][t + 8 + h] = from_bf16(m.a[3] >> 16 * h & 0xFFFFu);
      b[t + h][g] = from_bf16(m.b[0] >> 16 * h & 0xFFFFu);
      b[t + 8 + h][g] = from_bf16(m.b[1] >> 16 * h & 0xFFFFu);
      sums[g][t + h] = m.sums[h];
      sums[g + 8][t + h] = m.sums[2 + h];
    }
  }
  for (int row = 0; row < 16; ++row) {
    for (int k = 0; k < 16; ++k) {
      for (int column = 0; column < 8; ++column) sums[row][column] = fmaf(a[row][k], b[k][column], sums[row][column]);
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    const Mma& m = *static_cast<const Mma*>(lanes[lane]);
    for (int i = 0; i < 4; ++i) m.sums[i] = sums[lane / 4 + (i >= 2 ? 8 : 0)][lane % 4 * 2 + i % 2];
  }
}

struct Load {
  uint32_t* fragments;
  const void* row;
};

// Lane 8 j + r names row r of matrix j; lane 4 r + t gets columns 2 t, 2 t + 1 of its row r, or of column r where transposed.
template <bool kTransposed>
void load_matrices(void* const* lanes) {
  for (int j = 0; j < 4; ++j) {
    for (int lane = 0; lane < 32; ++lane) {
      uint32_t word = 0;
      for (int h = 0; h < 2; ++h) {
        const int row = kTransposed ? lane % 4 * 2 + h : lane / 4, column = kTransposed ? lane / 4 : lane % 4 * 2 + h;
        uint16_t element;
        std::memcpy(&element, static_cast<const uint16_t*>(static_cast<const Load*>(lanes[8 * j + row])->row) + column, 2);
        word |= static_cast<uint32_t>(element) << 16 * h;
      }
      static_cast<Load*>(lanes[lane])->fragments[j] = word;
    }
  }
}

}  // namespace emulated
#endif

// sums += a b over 16 inputs: a 16 rows, b 8 columns, f32 sums.
__device__ __forceinline__ void mma_bf16(float (&sums)[4], const uint32_t (&a)[4], uint32_t b_low, uint32_t b_high) {
#if defined(__CUDACC__)
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b_low), "r"(b_high));
#else
  const uint32_t b[2] = {b_low, b_high};
  emulated::Mma argument = {sums, a, b};
  emulation::warp_collective(&emulated::mma, &argument);
#endif
}

// Four 8 x 8 matrices of bf16 out of shared memory; `row` is 16-byte aligned, one row for each lane.
__device__ __forceinline__ void load_matrices(uint32_t (&fragments)[4], const void* row) {
#if defined(__CUDACC__)
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(fragments[0]), "=r"(fragments[1]), "=r"(fragments[2]), "=r"(fragments[3])
               : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(row)))
               : "memory");
#else
  emulated::Load argument = {fragments, row};
  emulation::warp_collective(&emulated::load_matrices<false>, &argument);
#endif
}

// The same, each matrix transposed.
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&fragments)[4], const void* row) {
#if defined(__CUDACC__)
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(fragments[0]), "=r"(fragments[1]), "=r"(fragments[2]), "=r"(fragments[3])
               : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(row)))
               : "memory");
#else
  emulated::Load argument = {fragments, row};
  emulation::warp_collective(&emulated::load_matrices<true>, &argument);
#endif
}

// 16 bytes from global to shared memory behind the threads' back, zeros where not `present` (`from` is not read then).
// Both are 16-byte aligned. The emulation copies at once: a missing wait shows on a GPU only.
__device__ __forceinline__ void copy_async(void* to, const void* from, bool present) {
#if defined(__CUDACC__)
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(static_cast<uint32_t>(__cvta_generic_to_shared(to))),
               "l"(from), "r"(present ? 16 : 0)
               : "memory");
#else
  if (present) {
    std::memcpy(to, from, 16);
  } else {
    std::memset(to, 0, 16);
  }
#endif
}

// Ends a group of copies.
__device__ __forceinline__ void copy_commit() {
#if defined(__CUDACC__)
  asm volatile("cp.async.commit_group;\n" ::: "memory");
#endif
}

// Waits until at most kPending of this thread's groups are under way.
template <int kPending>
__device__ __forceinline__ void copy_wait() {
#if defined(__CUDACC__)
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending) : "memory");
#endif
}

// Rows of 64 bf16 numbers in shared memory, 16-byte pieces exchanged by row: the eight rows that ldmatrix reads at once lie
// in different banks. Element offset of piece `piece` (0..7) of row `row`.
__device__ __forceinline__ int swizzled(int row, int piece) { return row * 64 + ((piece ^ (row & 7)) << 3); }

}  // namespace sjd2::cuda

#endif  // SJD2_CUDA_TENSOR_CORE_CUH
