# The devices that libsjd2_cuda is built for, and how nvcc is called: SJD2_CUDA_FLAGS.
#   80 A100; 86 and 89 consumer Ampere and Ada; 90 H100, H200; 100 B200; 120 consumer Blackwell
set(SJD2_CUDA_ARCHITECTURES 80 86 89 90 100 120 CACHE STRING "compute capabilities to build machine code for, oldest first")
# Fusing is spelled out in the sources, as for the host: a row's bits do not depend on the optimiser.
set(SJD2_CUDA_FLAGS -std=c++20 -O3 --fmad=false -lineinfo -Xptxas -v -Werror all-warnings
                    -Xcompiler=-Wall,-Wextra,-Werror,-fPIC,-fvisibility=hidden,-fvisibility-inlines-hidden)
# Compressed, as machine code with line numbers for profilers is large: a fifth of the size.
list(APPEND SJD2_CUDA_FLAGS -Xfatbin=-compress-all)
# One virtual architecture, the oldest, from which ptxas makes machine code for each: no kernel asks which it is compiled for,
# and the front end, which takes most of the time, runs once instead of six times.
list(GET SJD2_CUDA_ARCHITECTURES 0 oldest)
list(TRANSFORM SJD2_CUDA_ARCHITECTURES PREPEND "sm_" OUTPUT_VARIABLE targets)
list(JOIN targets "," targets)
list(APPEND SJD2_CUDA_FLAGS "-gencode=arch=compute_${oldest},code=[${targets}]")
