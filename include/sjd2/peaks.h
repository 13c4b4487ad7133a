// sjd2/peaks.h: what a machine can do at best, measured by the native libraries: the roofs that operations are held against.
#ifndef SJD2_PEAKS_H
#define SJD2_PEAKS_H

#include <stdint.h>

#include "sjd2/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

// By the threads of a stream, or by the whole device.
typedef enum sjd2_peak {
  SJD2_PEAK_READ = 0,  // bytes read per second, from memory that no cache holds
  SJD2_PEAK_COPY = 1,  // bytes read and written per second, of a copy of such memory
  SJD2_PEAK_F32 = 2,   // floating-point operations per second: f32 multiply-adds in registers
  SJD2_PEAK_BF16 = 3   // of bf16 products with f32 sums: CPU by tiles or dots where the set in use has them, CUDA by
                       // mma.sync.m16n8k16, the instruction of the library's own products
} sjd2_peak;

// measure_peak: takes about a second and, for memory, 512 MiB (CUDA 1 GiB). SJD2_OUT_OF_MEMORY if they cannot be had. The
// emulated device answers after one short run: its numbers mean nothing.
int32_t sjd2_measure_peak(double* out, sjd2_stream stream, int32_t peak);

#ifdef __cplusplus
}
#endif

#endif  // SJD2_PEAKS_H
