// sjd2/cpu.h: what libsjd2_cpu exports beyond kernels.h and peaks.h, for diagnosis and tests.
#ifndef SJD2_CPU_H
#define SJD2_CPU_H

#include <stdint.h>

#include "sjd2/kernels.h"
#include "sjd2/peaks.h"

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

// host_allocate: zeroed memory for large tensors, on large pages where the system has them, with every page there
// already: its caller waits once, not at the first touch of each. SJD2_OUT_OF_MEMORY if it cannot be had.
int32_t sjd2_host_allocate(void** out, int64_t bytes);

// host_free: gives back what host_allocate handed out for so many bytes; NULL is none.
int32_t sjd2_host_free(void* memory, int64_t bytes);

// The compiler that built the library, and its version.
const char* sjd2_compiler(void);

#ifdef __cplusplus
}
#endif

#endif  // SJD2_CPU_H
