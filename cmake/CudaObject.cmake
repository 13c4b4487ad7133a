# One CUDA source to one object for every architecture, cached by content. Run by a build rule:
#
#   cmake -DNVCC=.. -DSOURCE=.. -DOBJECT=.. -DREPORT=.. -DROOT=.. -DFLAGS=a;b -DCACHE=DIR -P CudaObject.cmake
#
# The key is a hash of the compiler's version, the flags and every file that the source may include: what depends on none of
# them cannot change the object. REPORT is what ptxas says of registers, shared memory and spills.
execute_process(COMMAND "${NVCC}" --version OUTPUT_VARIABLE version COMMAND_ERROR_IS_FATAL ANY)
set(text "${version}\n${FLAGS}\n${SOURCE}\n")
file(GLOB headers "${ROOT}/cuda/*.h" "${ROOT}/cuda/device/*.cuh" "${ROOT}/include/sjd2/kernels.h"
     "${ROOT}/include/sjd2/peaks.h")
list(SORT headers)
foreach(file ${headers} "${ROOT}/cuda/${SOURCE}")
  file(SHA256 "${file}" hash)
  string(APPEND text "${file} ${hash}\n")
endforeach()
string(REPLACE "${ROOT}" "" text "${text}")
string(SHA256 key "${text}")
set(cached "${CACHE}/${key}")
if(NOT EXISTS "${cached}.o" OR NOT EXISTS "${cached}.txt")
  # ptxas writes its report to standard output or error, by version.
  execute_process(
    COMMAND "${NVCC}" ${FLAGS} "-I${ROOT}/cuda" "-I${ROOT}/include" -c "${SOURCE}" -o "${OBJECT}"
    WORKING_DIRECTORY "${ROOT}/cuda"
    OUTPUT_VARIABLE report ERROR_VARIABLE report
    RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "nvcc failed on cuda/${SOURCE}:\n${report}")
  endif()
  file(MAKE_DIRECTORY "${CACHE}")
  # Through a name of its own, so that two builds at once never see half a file.
  string(RANDOM LENGTH 12 suffix)
  file(WRITE "${cached}.${suffix}.txt" "${report}")
  file(RENAME "${cached}.${suffix}.txt" "${cached}.txt")
  file(COPY_FILE "${OBJECT}" "${cached}.${suffix}.o")
  file(RENAME "${cached}.${suffix}.o" "${cached}.o")
endif()
file(COPY_FILE "${cached}.o" "${OBJECT}")
file(COPY_FILE "${cached}.txt" "${REPORT}")
