// sjd2/cpu.h: what libsjd2_cpu exports beyond kernels.h, for diagnosis and tests.
#ifndef SJD2_CPU_H
#define SJD2_CPU_H

#include <stdint.h>

#include "sjd2/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

// isa_available: the instruction sets that this library holds and this machine runs, narrowest first,
// comma-separated and zero-terminated: "generic,avx2,avx512". SJD2_BAD_SHAPE if `n` bytes are too few; 64
// suffice.
int32_t sjd2_isa_available(char* buffer, int64_t n);

// select_isa: uses that set from now on, whatever SJD2_CPU_ISA says; NULL goes back to the environment's
// choice or the best. SJD2_BAD_ARGUMENT for an unknown name or while a stream exists, SJD2_UNSUPPORTED where
// the machine lacks the set.
int32_t sjd2_select_isa(const char* name);

// The compiler that built the library, and its version.
const char* sjd2_compiler(void);

// What this machine can do at best, by the threads of a stream.
typedef enum sjd2_peak {
  SJD2_PEAK_READ = 0,  // bytes read per second, from memory that no cache holds
  SJD2_PEAK_COPY = 1,  // bytes read and written per second, of a copy of such memory
  SJD2_PEAK_F32 = 2,   // floating-point operations per second: f32 multiply-adds in registers
  SJD2_PEAK_BF16 = 3   // of bf16 products with f32 sums: by tiles or dots where the set in use has them
} sjd2_peak;

// measure_peak: takes about a second and, for memory, 512 MiB. SJD2_OUT_OF_MEMORY if they cannot be had.
int32_t sjd2_measure_peak(double* out, sjd2_stream stream, int32_t peak);

#ifdef __cplusplus
}
#endif

#endif  // SJD2_CPU_H
