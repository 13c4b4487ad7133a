// What the fake driver must do like a real one, and what it must catch.
#include "fake_driver.h"

#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

extern "C" {
int32_t cuInit(uint32_t);
int32_t cuDeviceGetCount(int32_t*);
int32_t cuDevicePrimaryCtxRetain(void**, int32_t);
int32_t cuDevicePrimaryCtxRelease_v2(int32_t);
int32_t cuCtxSetCurrent(void*);
int32_t cuCtxSynchronize(void);
int32_t cuGetErrorString(int32_t, const char**);
int32_t cuMemGetInfo_v2(size_t*, size_t*);
int32_t cuMemAlloc_v2(uint64_t*, size_t);
int32_t cuMemFree_v2(uint64_t);
int32_t cuMemHostAlloc(void**, size_t, uint32_t);
int32_t cuMemFreeHost(void*);
int32_t cuMemcpyHtoD_v2(uint64_t, const void*, size_t);
int32_t cuMemcpyDtoH_v2(void*, uint64_t, size_t);
int32_t cuMemcpyHtoDAsync_v2(uint64_t, const void*, size_t, void*);
int32_t cuMemcpyDtoHAsync_v2(void*, uint64_t, size_t, void*);
int32_t cuMemsetD8Async(uint64_t, uint8_t, size_t, void*);
int32_t cuStreamCreate(void**, uint32_t);
int32_t cuStreamDestroy_v2(void*);
int32_t cuStreamSynchronize(void*);
int32_t cuStreamQuery(void*);
int32_t cuStreamWaitEvent(void*, void*, uint32_t);
int32_t cuStreamBeginCapture_v2(void*, int32_t);
int32_t cuStreamEndCapture(void*, void**);
int32_t cuEventCreate(void**, uint32_t);
int32_t cuEventDestroy_v2(void*);
int32_t cuEventRecord(void*, void*);
int32_t cuEventSynchronize(void*);
int32_t cuEventElapsedTime(float*, void*, void*);
int32_t cuGraphGetNodes(void*, void**, size_t*);
int32_t cuGraphInstantiateWithFlags(void**, void*, unsigned long long);
int32_t cuGraphLaunch(void*, void*);
int32_t cuGraphDestroy(void*);
int32_t cuGraphExecDestroy(void*);
int32_t cublasCreate_v2(void**);
int32_t cublasDestroy_v2(void*);
int32_t cublasSetStream_v2(void*, void*);
int32_t cublasSetWorkspace_v2(void*, void*, size_t);
int32_t cublasGemmEx(void*, int32_t, int32_t, int32_t, int32_t, int32_t, const void*, const void*, int32_t,
                     int32_t, const void*, int32_t, int32_t, const void*, void*, int32_t, int32_t, int32_t,
                     int32_t);
}

namespace {

constexpr uint32_t kNonBlocking = 1;
constexpr int32_t kThreadLocal = 1;
constexpr int32_t kRelaxed = 2;

int failures = 0;

__attribute__((format(printf, 2, 3))) void expect(bool condition, const char* format, ...) {
  if (condition) return;
  ++failures;
  std::printf("FAILED ");
  va_list arguments;
  va_start(arguments, format);
  std::vprintf(format, arguments);
  va_end(arguments);
  std::printf("\n");
}

void expect_result(int32_t got, int32_t want, const char* what) {
  expect(got == want, "%s: %d, expected %d (%s)", what, got, want, sjd2_emu_last_message());
}

void ok(int32_t result, const char* what) { expect_result(result, 0, what); }

// A "kernel": adds `by` to every int of a buffer.
struct Add {
  int32_t* data;
  int64_t count;
  int32_t by;
};

int32_t add(const void* arguments, char*, size_t) {
  Add a;
  std::memcpy(&a, arguments, sizeof a);
  for (int64_t i = 0; i < a.count; ++i) a.data[i] += a.by;
  return 0;
}

int32_t fault(const void*, char* message, size_t capacity) {
  std::snprintf(message, capacity, "barrier not reached by every thread");
  return 719;
}

uint64_t ints(const std::vector<int32_t>& values) {
  uint64_t address = 0;
  ok(cuMemAlloc_v2(&address, values.size() * 4), "alloc");
  ok(cuMemcpyHtoD_v2(address, values.data(), values.size() * 4), "upload");
  return address;
}

std::vector<int32_t> read(uint64_t address, size_t count) {
  std::vector<int32_t> out(count);
  ok(cuMemcpyDtoH_v2(out.data(), address, count * 4), "download");
  return out;
}

int32_t enqueue_add(void* stream, uint64_t data, int64_t count, int32_t by) {
  Add a{reinterpret_cast<int32_t*>(data), count, by};
  return sjd2_emu_enqueue(stream, "add", add, &a, sizeof a);
}

void check_context(void** context) {
  int32_t count = 0;
  expect_result(cuDeviceGetCount(&count), 3, "a call before cuInit");
  sjd2_emu_set_devices(0);
  expect_result(cuInit(0), 100, "cuInit without a device");
  sjd2_emu_set_devices(1);
  ok(cuInit(0), "cuInit");
  ok(cuDeviceGetCount(&count), "cuDeviceGetCount");
  expect(count == 1, "%d devices", count);
  uint64_t address = 0;
  expect_result(cuMemAlloc_v2(&address, 16), 201, "an allocation without a context");
  expect_result(cuDevicePrimaryCtxRetain(context, 1), 101, "a device that is not there");
  ok(cuDevicePrimaryCtxRetain(context, 0), "retain");
  ok(cuCtxSetCurrent(*context), "set current");
}

void check_memory() {
  const int64_t before = sjd2_emu_live_allocations();
  uint64_t address = ints({1, 2, 3});
  expect(address % 256 == 0, "an allocation is aligned");
  int32_t host[4] = {};
  expect_result(cuMemcpyDtoH_v2(host, address, 16), 1, "a copy beyond the end");
  expect(std::strstr(sjd2_emu_last_message(), "16 bytes") != nullptr, "says \"%s\"", sjd2_emu_last_message());
  expect_result(cuMemcpyHtoD_v2(address + 8, host, 8), 1, "a copy over the end");
  expect_result(cuMemcpyHtoD_v2(address - 4, host, 4), 1, "a copy before the start");
  expect_result(cuMemFree_v2(address + 4), 1, "the middle of an allocation");
  ok(cuMemFree_v2(address), "free");
  expect_result(cuMemFree_v2(address), 1, "free twice");
  expect_result(cuMemcpyDtoH_v2(host, address, 4), 1, "a copy of freed memory");

  size_t free_bytes = 0, total = 0;
  sjd2_emu_set_memory(1 << 20);
  ok(cuMemAlloc_v2(&address, 1 << 19), "half of the memory");
  ok(cuMemGetInfo_v2(&free_bytes, &total), "info");
  expect(free_bytes == (1 << 19) && total == (1 << 20), "%zu of %zu bytes free", free_bytes, total);
  uint64_t second = 0;
  expect_result(cuMemAlloc_v2(&second, (1 << 19) + 1), 2, "more than there is");
  uint32_t fresh = 0;
  ok(cuMemcpyDtoH_v2(&fresh, address, 4), "fresh memory");
  expect(fresh == 0xFFFFFFFFu, "fresh memory holds %x", fresh);
  ok(cuMemFree_v2(address), "free");
  sjd2_emu_reset();
  expect(sjd2_emu_live_allocations() == before, "%lld allocations are left",
         static_cast<long long>(sjd2_emu_live_allocations() - before));
}

void check_order() {
  void* stream = nullptr;
  ok(cuStreamCreate(&stream, kNonBlocking), "stream");
  uint64_t data = ints({10, 20});
  ok(enqueue_add(stream, data, 2, 1), "launch");
  int32_t now[2];
  std::memcpy(now, reinterpret_cast<void*>(data), sizeof now);
  expect(now[0] == 10, "work ran before anybody waited: %d", now[0]);
  expect_result(cuStreamQuery(stream), 0, "a query lets time pass");
  // Pinned memory is read when the copy's turn comes, so that reusing it too early shows.
  void* pinned = nullptr;
  ok(cuMemHostAlloc(&pinned, 8, 0), "pinned");
  auto* staging = static_cast<int32_t*>(pinned);
  staging[0] = staging[1] = 100;
  ok(cuMemcpyHtoDAsync_v2(data, staging, 8, stream), "upload in order");
  staging[0] = 7;
  ok(enqueue_add(stream, data, 2, 1), "launch");
  int32_t pageable[2] = {1, 1};
  ok(cuMemcpyDtoHAsync_v2(pinned, data, 8, stream), "download in order");
  expect(staging[0] == 7, "a download ran before anybody waited");
  ok(cuStreamSynchronize(stream), "synchronize");
  expect(staging[0] == 8 && staging[1] == 101, "%d %d", staging[0], staging[1]);
  ok(cuMemcpyHtoDAsync_v2(data, pageable, 8, stream), "upload from pageable memory");
  pageable[0] = 50;
  ok(cuMemcpyDtoHAsync_v2(pageable, data, 8, stream), "download to pageable memory");
  expect(pageable[0] == 1, "pageable memory is staged: %d", pageable[0]);

  // Another stream waits for an event of the first.
  void *other = nullptr, *event = nullptr, *end = nullptr;
  ok(cuStreamCreate(&other, kNonBlocking), "stream");
  ok(cuEventCreate(&event, 0), "event");
  ok(cuEventCreate(&end, 0), "event");
  ok(cuMemsetD8Async(data, 0, 8, stream), "fill");
  ok(cuEventRecord(event, stream), "record");
  ok(cuStreamWaitEvent(other, event, 0), "wait");
  ok(enqueue_add(other, data, 2, 5), "launch");
  ok(cuEventRecord(end, other), "record");
  float milliseconds = -1;
  expect_result(cuEventElapsedTime(&milliseconds, event, end), 600, "time between what has not happened");
  ok(cuEventSynchronize(end), "event synchronize");
  expect(read(data, 2)[1] == 5, "the second stream ran first");
  ok(cuEventElapsedTime(&milliseconds, event, end), "elapsed");
  expect(milliseconds >= 0, "%f ms", milliseconds);
  ok(cuEventDestroy_v2(event), "destroy");
  expect_result(cuEventRecord(event, stream), 400, "an event after its end");
  ok(cuEventDestroy_v2(end), "destroy");
  ok(cuStreamDestroy_v2(other), "destroy");
  expect_result(enqueue_add(other, data, 2, 5), 400, "a stream after its end");

  // A queue is finite: launches go on, and every one of them runs.
  for (int i = 0; i < 3000; ++i) ok(enqueue_add(stream, data, 1, 1), "launch");
  ok(cuStreamDestroy_v2(stream), "destroy");
  expect(read(data, 1)[0] == 3005, "%d", read(data, 1)[0]);
  ok(cuMemFreeHost(pinned), "free pinned");
  expect_result(cuMemFreeHost(pinned), 1, "free pinned twice");
  ok(cuMemFree_v2(data), "free");
}

void check_legacy_stream() {
  void *blocking = nullptr, *free_running = nullptr;
  ok(cuStreamCreate(&blocking, 0), "stream");
  ok(cuStreamCreate(&free_running, kNonBlocking), "stream");
  uint64_t data = ints({0, 0});
  ok(enqueue_add(blocking, data, 1, 1), "launch");
  ok(enqueue_add(free_running, data + 4, 1, 1), "launch");
  // The legacy stream's copy waits for the blocking stream, not for the other.
  std::vector<int32_t> seen = read(data, 2);
  expect(seen[0] == 1 && seen[1] == 0, "%d %d", seen[0], seen[1]);
  ok(cuCtxSynchronize(), "context synchronize");
  expect(read(data, 2)[1] == 1, "the context waits for all");
  ok(cuStreamDestroy_v2(blocking), "destroy");
  ok(cuStreamDestroy_v2(free_running), "destroy");
  ok(cuMemFree_v2(data), "free");
}

void check_graphs() {
  void *stream = nullptr, *graph = nullptr, *executable = nullptr, *pinned = nullptr;
  ok(cuStreamCreate(&stream, kNonBlocking), "stream");
  ok(cuMemHostAlloc(&pinned, 4, 0), "pinned");
  auto* seen = static_cast<int32_t*>(pinned);
  uint64_t data = ints({0});
  expect_result(cuStreamEndCapture(stream, &graph), 903, "an end without a beginning");
  ok(cuStreamBeginCapture_v2(stream, kThreadLocal), "begin");
  {
    int32_t by = 3;
    ok(enqueue_add(stream, data, 1, by), "captured launch");
    by = 1000;  // the argument was copied
  }
  ok(cuMemcpyDtoHAsync_v2(pinned, data, 4, stream), "captured copy");
  ok(cuStreamEndCapture(stream, &graph), "end");
  size_t nodes = 0;
  ok(cuGraphGetNodes(graph, nullptr, &nodes), "nodes");
  expect(nodes == 2, "%zu nodes", nodes);
  expect(read(data, 1)[0] == 0, "capturing ran something");
  ok(cuGraphInstantiateWithFlags(&executable, graph, 0), "instantiate");
  ok(cuGraphDestroy(graph), "destroy graph");
  for (int i = 0; i < 4; ++i) ok(cuGraphLaunch(executable, stream), "replay");
  ok(cuGraphExecDestroy(executable), "destroy while launches are pending");
  ok(cuStreamSynchronize(stream), "synchronize");
  expect(*seen == 12, "four replays of 3 give %d", *seen);
  expect_result(cuGraphLaunch(executable, stream), 400, "a graph after its end");
  expect(sjd2_emu_count("cuGraphLaunch") == 5, "launches are counted");

  // What may not be called by the thread that captures.
  ok(cuStreamBeginCapture_v2(stream, kThreadLocal), "begin");
  uint64_t other = 0;
  expect_result(cuMemAlloc_v2(&other, 4), 900, "an allocation while capturing");
  expect_result(cuStreamEndCapture(stream, &graph), 901, "the capture is broken");
  ok(cuStreamBeginCapture_v2(stream, kThreadLocal), "begin");
  expect_result(cuStreamSynchronize(stream), 900, "a wait for what is being captured");
  expect_result(cuStreamEndCapture(stream, &graph), 901, "the capture is broken");
  ok(cuStreamBeginCapture_v2(stream, kThreadLocal), "begin");
  int32_t elsewhere = -1;
  std::thread([&] { elsewhere = cuStreamEndCapture(stream, &graph); }).join();
  expect_result(elsewhere, 201, "a thread without a context");
  ok(cuStreamEndCapture(stream, &graph), "end");
  ok(cuGraphDestroy(graph), "destroy graph");
  ok(cuStreamBeginCapture_v2(stream, kRelaxed), "begin");
  ok(cuMemAlloc_v2(&other, 4), "an allocation in a relaxed capture");
  ok(cuStreamEndCapture(stream, &graph), "end");
  ok(cuGraphDestroy(graph), "destroy graph");
  ok(cuMemFree_v2(other), "free");
  ok(cuMemFree_v2(data), "free");
  ok(cuMemFreeHost(pinned), "free pinned");
  ok(cuStreamDestroy_v2(stream), "destroy");
}

void check_faults() {
  uint64_t data = ints({1, 2, 3, 4, 5});
  uint64_t other = 0;
  sjd2_emu_fail("cuMemAlloc_v2", 1, 2);
  uint64_t first = 0;
  ok(cuMemAlloc_v2(&first, 4), "the call before the one that fails");
  expect_result(cuMemAlloc_v2(&other, 4), 2, "the call that was asked to fail");
  ok(cuMemAlloc_v2(&other, 4), "the call after it");
  ok(cuMemFree_v2(first), "free");

  // A fault in a kernel loses the device: nothing works any more, but memory can be given back.
  ok(sjd2_emu_enqueue(nullptr, "bad_kernel", fault, nullptr, 0), "launch");
  expect_result(cuCtxSynchronize(), 719, "the fault is reported where the host waits");
  const char* text = nullptr;
  ok(cuGetErrorString(719, &text), "text");
  expect(std::string(text) == "bad_kernel: barrier not reached by every thread", "says \"%s\"", text);
  expect_result(cuMemAlloc_v2(&first, 4), 719, "an allocation on a lost device");
  expect_result(enqueue_add(nullptr, data, 1, 1), 719, "a launch on a lost device");
  cuMemFree_v2(other);
  sjd2_emu_reset();
  expect(read(data, 1)[0] == 1, "nothing ran after the fault");

#if !defined(__SANITIZE_ADDRESS__)  // there the sanitizer ends the program at the write itself
  ok(enqueue_add(nullptr, data, 6, 1), "a launch that writes one element too far");
  expect_result(cuCtxSynchronize(), 700, "a write behind an allocation");
  expect(std::strstr(sjd2_emu_last_message(), "1 bytes behind the device allocation of 20 bytes") != nullptr,
         "says \"%s\"", sjd2_emu_last_message());
  cuMemFree_v2(data);
  sjd2_emu_reset();
#else
  ok(cuMemFree_v2(data), "free");
#endif
  expect(sjd2_emu_live_allocations() == 0, "%lld allocations are left",
         static_cast<long long>(sjd2_emu_live_allocations()));
}

void check_products() {
  void *handle = nullptr, *stream = nullptr, *graph = nullptr;
  ok(cublasCreate_v2(&handle), "create");
  ok(cuStreamCreate(&stream, kNonBlocking), "stream");
  ok(cublasSetStream_v2(handle, stream), "set stream");
  // Row-major out[r,n] = sum_k x[r,k] w[n,k], as the backend asks for it: column-major, w transposed.
  const float x[6] = {1, 2, 3, 4, 5, 6};                     // [2, 3]
  const float w[12] = {1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1, 1};  // [4, 3]
  uint64_t dx = 0, dw = 0, dout = 0, workspace = 0;
  ok(cuMemAlloc_v2(&dx, sizeof x), "alloc");
  ok(cuMemAlloc_v2(&dw, sizeof w), "alloc");
  ok(cuMemAlloc_v2(&dout, 32), "alloc");
  ok(cuMemAlloc_v2(&workspace, 4096), "alloc");
  ok(cuMemcpyHtoD_v2(dx, x, sizeof x), "upload");
  ok(cuMemcpyHtoD_v2(dw, w, sizeof w), "upload");
  const float one = 1, zero = 0;
  auto gemm = [&](const float* beta, int32_t type, uint64_t out) {
    return cublasGemmEx(handle, 1, 0, 4, 2, 3, &one, reinterpret_cast<void*>(dw), type, 3,
                        reinterpret_cast<void*>(dx), type, 3, beta, reinterpret_cast<void*>(out), 0, 4, 68,
                        -1);
  };
  ok(gemm(&zero, 0, dout), "product");
  ok(gemm(&one, 0, dout), "product added");
  ok(cuStreamSynchronize(stream), "synchronize");
  float out[8];
  ok(cuMemcpyDtoH_v2(out, dout, sizeof out), "download");
  const float want[8] = {2, 4, 6, 12, 8, 10, 12, 30};
  for (int i = 0; i < 8; ++i)
    expect(out[i] == want[i], "product element %d is %f, expected %f", i, out[i], want[i]);
  expect_result(gemm(&zero, 10, dout), 15, "a type that is not served");

  ok(cuStreamBeginCapture_v2(stream, kThreadLocal), "begin");
  expect_result(gemm(&zero, 0, dout), 13, "a captured product without a workspace of its own");
  ok(cuStreamEndCapture(stream, &graph), "end");
  ok(cuGraphDestroy(graph), "destroy");
  expect_result(cublasSetWorkspace_v2(handle, reinterpret_cast<void*>(workspace), 4097), 7,
                "a workspace too large");
  ok(cublasSetWorkspace_v2(handle, reinterpret_cast<void*>(workspace), 4096), "workspace");
  ok(cuStreamBeginCapture_v2(stream, kThreadLocal), "begin");
  ok(gemm(&zero, 0, dout), "a captured product");
  ok(cuStreamEndCapture(stream, &graph), "end");
  ok(cuGraphDestroy(graph), "destroy");

  ok(gemm(&zero, 0, dout + 4), "a product beyond its memory");
  expect_result(cuStreamSynchronize(stream), 700, "is found when it runs");
  sjd2_emu_reset();
  for (uint64_t address : {dx, dw, dout, workspace}) ok(cuMemFree_v2(address), "free");
  ok(cuStreamDestroy_v2(stream), "destroy");
  ok(cublasDestroy_v2(handle), "destroy");
  expect_result(cublasDestroy_v2(handle), 1, "a handle after its end");
}

}  // namespace

int main() {
  void* context = nullptr;
  check_context(&context);
  check_memory();
  check_order();
  check_legacy_stream();
  check_graphs();
  check_products();
  check_faults();
  expect_result(cuDevicePrimaryCtxRelease_v2(0), 0, "release");
  expect_result(cuDevicePrimaryCtxRelease_v2(0), 201, "release twice");
  expect_result(cuCtxSetCurrent(context), 201, "a context after its end");
  std::printf(failures == 0 ? "passed\n" : "%d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
