// fake_driver.h: what the fake libcuda.so.1 exports beside the CUDA driver API.
//
// Two kinds of callers: the emulated kernel library and the fake cuBLAS hand over work with sjd2_emu_enqueue;
// tests count calls, make them fail, shrink the device or lose it. Everything is safe to call from any
// thread.
//
// The device is the process's own memory, so a kernel follows device pointers as they are. What is enqueued
// runs when somebody waits for it, on the thread that waits and in the order of its stream: a missing wait
// shows as a stale result instead of as luck.
#ifndef SJD2_CUDA_EMULATION_FAKE_DRIVER_H
#define SJD2_CUDA_EMULATION_FAKE_DRIVER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// A piece of device work. `arguments` is the copy that enqueue made, aligned to 16 bytes, the same bytes at
// every replay of a graph. Returns 0, or a CUresult after writing why to `message`; the device is lost from
// then on.
typedef int32_t (*sjd2_emu_task)(const void* arguments, char* message, size_t capacity);

// Appends work to a CUstream (NULL: the legacy stream), or to the graph that is being captured from it. The
// bytes of `arguments` are copied, as a launch copies its parameters. `name` is kept as a pointer: pass a
// literal. Returns 0 or the CUresult that a kernel launch would return: no context, a closed stream, a lost
// device.
int32_t sjd2_emu_enqueue(void* stream, const char* name, sjd2_emu_task task, const void* arguments,
                         size_t bytes);

// 1 if `bytes` from `address` lie inside one live device allocation, else 0.
int32_t sjd2_emu_is_device_memory(uint64_t address, uint64_t bytes);

// How often a driver function was called since the last reset, by its name: "cuGraphLaunch". "tasks" counts
// pieces of work that ran, "launches" those that a stream took; "ran attention_plain_kernel" those of that name that ran.
int64_t sjd2_emu_count(const char* name);

// The call of `function` after the next `skip` ones answers `result` and does nothing else.
void sjd2_emu_fail(const char* function, int32_t skip, int32_t result);

// Every call from now on answers `result`, as after a fault in a kernel; `message` is what cuGetErrorString
// adds.
void sjd2_emu_lose_device(int32_t result, const char* message);

// Bytes of the device's memory, 8 GiB at first; what is allocated stays.
void sjd2_emu_set_memory(uint64_t bytes);

// Number of devices, 1 at first.
void sjd2_emu_set_devices(int32_t count);

// Forgets failures, counts and limits. Allocations, streams and contexts stay.
void sjd2_emu_reset(void);

// Device allocations that were never freed.
int64_t sjd2_emu_live_allocations(void);

// Why the last call of any thread failed, in words; empty if the fake driver has nothing to add.
const char* sjd2_emu_last_message(void);

#ifdef __cplusplus
}
#endif

#endif
