# The instruction sets of libsjd2_cpu, narrowest first: SJD2_SETS, SJD2_FLAGS_<set>, SJD2_BASE_SETS, SJD2_BASE_OF_<set>.
include(CheckCXXSourceCompiles)

set(SJD2_FLAGS_generic "")
set(SJD2_FLAGS_avx2 -march=x86-64-v3)
# 512-bit vectors: the kernels are written for them, and current processors do not slow down for their sake.
set(SJD2_FLAGS_avx512 -march=x86-64-v4 -mprefer-vector-width=512)
set(SJD2_FLAGS_avx512bf16 ${SJD2_FLAGS_avx512} -mavx512bf16)
set(SJD2_FLAGS_amx ${SJD2_FLAGS_avx512bf16} -mamx-tile -mamx-bf16)

set(SJD2_BASE_SETS generic avx2 avx512)
set(SJD2_BASE_OF_generic generic)
set(SJD2_BASE_OF_avx2 avx2)
set(SJD2_BASE_OF_avx512 avx512)
set(SJD2_BASE_OF_avx512bf16 avx512)
set(SJD2_BASE_OF_amx avx512)

# Each set needs those before it; the first that the compiler does not know ends the list.
set(sjd2_known)
foreach(set avx2 avx512 avx512bf16 amx)
  string(REPLACE ";" " " CMAKE_REQUIRED_FLAGS "${SJD2_FLAGS_${set}}")
  check_cxx_source_compiles("#if !defined(__x86_64__)\n#error\n#endif\nint main() { return 0; }" SJD2_COMPILER_HAS_${set})
  unset(CMAKE_REQUIRED_FLAGS)
  if(NOT SJD2_COMPILER_HAS_${set})
    break()
  endif()
  list(APPEND sjd2_known ${set})
endforeach()
set(SJD2_SETS "${sjd2_known}" CACHE STRING "instruction sets to build beside generic")

# A first run waits for one machine's code only: the widest set that runs here with the one it takes code from. Generic
# code then serves no one, and is not optimised.
option(SJD2_LOCAL "build for this machine alone" OFF)
if(SJD2_LOCAL)
  include(CheckCXXSourceRuns)
  set(sjd2_cpu_avx2 "x86-64-v3")
  set(sjd2_cpu_avx512 "x86-64-v4")
  set(sjd2_cpu_avx512bf16 "avx512bf16")
  set(sjd2_cpu_amx "amx-bf16")
  set(sjd2_widest)
  foreach(set ${sjd2_known})
    check_cxx_source_runs("int main() { return __builtin_cpu_supports(\"${sjd2_cpu_${set}}\") ? 0 : 1; }"
                          SJD2_MACHINE_RUNS_${set})
    if(NOT SJD2_MACHINE_RUNS_${set})
      break()
    endif()
    set(sjd2_widest ${set})
  endforeach()
  if(sjd2_widest)
    set(SJD2_SETS ${SJD2_BASE_OF_${sjd2_widest}} ${sjd2_widest})
    list(REMOVE_DUPLICATES SJD2_SETS)
    set(SJD2_FLAGS_generic -O0)
  endif()
endif()
