// The CUDA driver API, as far as the CUDA backend and its binding use it. Names and numbers are those of
// cuda.h, which is not needed to build this.
#include <cstdio>
#include <cstring>
#include <string>
#include <utility>

#include "device.h"
#include "fake_driver.h"

#define API extern "C" __attribute__((visibility("default"))) int32_t

namespace {

using namespace sjd2::emu;  // NOLINT: this file is that namespace's surface

using Lock = std::lock_guard<std::recursive_mutex>;

// What a call needs before it does anything.
enum Needs : unsigned {
  kNothing = 0,
  kInit = 1,       // cuInit was called
  kContext = 3,    // and a context is current
  kNoCapture = 4,  // and this thread captures no stream
  kSurvives = 8    // answers even when the device is lost
};

struct Context {};
Context primary;
thread_local Context* current = nullptr;

Device& device() { return Device::instance(); }

template <typename Body>
int32_t call(const char* function, unsigned needs, Body body) {
  Lock hold(device().lock());
  if (int32_t result = device().enter(function, (needs & kSurvives) != 0)) return result;
  if ((needs & kInit) != 0 && !device().initialised) {
    return device().fail(kNotInitialized, std::string(function) + " before cuInit");
  }
  if ((needs & kContext) == kContext && current == nullptr) {
    return device().fail(kInvalidContext, std::string(function) + " without a current context");
  }
  if ((needs & kNoCapture) != 0) {
    if (int32_t result = device().refuse_in_capture(function)) return result;
  }
  return body();
}

int32_t bad_handle(const char* what) {
  return device().fail(kInvalidHandle, std::string(what) + " that does not exist, or no longer");
}

int32_t bad_device(int32_t ordinal) {
  return device().fail(kInvalidDevice,
                       "device " + std::to_string(ordinal) + " of " + std::to_string(device().devices()));
}

bool has_device(int32_t ordinal) { return ordinal >= 0 && ordinal < device().devices(); }

// A copy or a fill, checked now and done in order.
int32_t enqueue(void* handle, const char* name, std::function<void()> move) {
  Stream* stream = device().stream(handle);
  if (stream == nullptr) return bad_handle("a stream");
  return device().enqueue(stream, {name, [move = std::move(move)](std::string&) -> int32_t {
                                     move();
                                     return kSuccess;
                                   }});
}

void* host(uint64_t address) { return reinterpret_cast<void*>(address); }

// The attributes that are asked for (CUdevice_attribute); a Hopper's, so that nothing is refused for want of
// them.
int32_t attribute(int32_t code) {
  switch (code) {
    case 1:
      return 1024;  // MAX_THREADS_PER_BLOCK
    case 8:
      return 49152;  // MAX_SHARED_MEMORY_PER_BLOCK
    case 10:
      return 32;  // WARP_SIZE
    case 13:
      return 1000000;  // CLOCK_RATE, kHz
    case 16:
      return 4;  // MULTIPROCESSOR_COUNT
    case 38:
      return 1 << 20;  // L2_CACHE_SIZE
    case 75:
      return 9;  // COMPUTE_CAPABILITY_MAJOR
    case 76:
      return 0;  // COMPUTE_CAPABILITY_MINOR
    case 81:
      return 233472;  // MAX_SHARED_MEMORY_PER_MULTIPROCESSOR
    case 97:
      return 232448;  // MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
    case 115:
      return 1;  // MEMORY_POOLS_SUPPORTED
    default:
      return 0;
  }
}

}  // namespace

// -----------------------------------------------------------------------------------------------------------
// Beside the driver API
// -----------------------------------------------------------------------------------------------------------

API sjd2_emu_enqueue(void* stream, const char* name, sjd2_emu_task task, const void* arguments,
                     size_t bytes) {
  return call("sjd2_emu_enqueue", kContext, [&]() -> int32_t {
    Stream* target = device().stream(stream);
    if (target == nullptr) return bad_handle("a stream");
    auto copy = std::make_shared<std::vector<std::max_align_t>>((bytes + sizeof(std::max_align_t) - 1) /
                                                                sizeof(std::max_align_t));
    if (bytes != 0) std::memcpy(copy->data(), arguments, bytes);
    return device().enqueue(target, {name, [task, copy](std::string& why) -> int32_t {
                                       char message[512] = "";
                                       const int32_t result = task(copy->data(), message, sizeof message);
                                       why = message;
                                       return result;
                                     }});
  });
}

API sjd2_emu_is_device_memory(uint64_t address, uint64_t bytes) {
  Lock hold(device().lock());
  return device().contains(address, bytes) ? 1 : 0;
}

extern "C" __attribute__((visibility("default"))) int64_t sjd2_emu_count(const char* name) {
  Lock hold(device().lock());
  return device().count(name);
}

extern "C" __attribute__((visibility("default"))) void sjd2_emu_fail(const char* function, int32_t skip,
                                                                     int32_t result) {
  Lock hold(device().lock());
  device().fail_call(function, skip, result);
}

extern "C" __attribute__((visibility("default"))) void sjd2_emu_lose_device(int32_t result,
                                                                            const char* message) {
  Lock hold(device().lock());
  device().lose(result, message);
}

extern "C" __attribute__((visibility("default"))) void sjd2_emu_set_memory(uint64_t bytes) {
  Lock hold(device().lock());
  device().set_memory(bytes);
}

extern "C" __attribute__((visibility("default"))) void sjd2_emu_set_devices(int32_t count) {
  Lock hold(device().lock());
  device().set_devices(count);
}

extern "C" __attribute__((visibility("default"))) void sjd2_emu_reset(void) {
  Lock hold(device().lock());
  device().reset();
}

extern "C" __attribute__((visibility("default"))) int64_t sjd2_emu_live_allocations(void) {
  Lock hold(device().lock());
  return device().live_allocations();
}

extern "C" __attribute__((visibility("default"))) const char* sjd2_emu_last_message(void) {
  static thread_local std::string copy;
  Lock hold(device().lock());
  copy = device().message();
  return copy.c_str();
}

// -----------------------------------------------------------------------------------------------------------
// Driver, devices, contexts
// -----------------------------------------------------------------------------------------------------------

API cuInit(uint32_t flags) {
  return call("cuInit", kSurvives, [&]() -> int32_t {
    if (flags != 0) return kInvalidValue;
    if (device().devices() == 0) return device().fail(kNoDevice, "no device is there");
    device().initialised = true;
    return kSuccess;
  });
}

API cuDriverGetVersion(int32_t* version) {
  *version = 12080;
  return kSuccess;
}

API cuGetErrorName(int32_t result, const char** text) {
  *text = name_of(result);
  return *text == nullptr ? kInvalidValue : kSuccess;
}

API cuGetErrorString(int32_t result, const char** text) {
  static thread_local std::string copy;
  const char* name = name_of(result);
  if (name == nullptr) {
    *text = nullptr;
    return kInvalidValue;
  }
  Lock hold(device().lock());
  copy = device().message().empty() ? name : device().message();
  *text = copy.c_str();
  return kSuccess;
}

API cuDeviceGetCount(int32_t* count) {
  return call("cuDeviceGetCount", kInit | kSurvives, [&]() -> int32_t {
    *count = device().devices();
    return kSuccess;
  });
}

API cuDeviceGet(int32_t* out, int32_t ordinal) {
  return call("cuDeviceGet", kInit | kSurvives, [&]() -> int32_t {
    if (!has_device(ordinal)) return bad_device(ordinal);
    *out = ordinal;
    return kSuccess;
  });
}

API cuDeviceGetName(char* out, int32_t capacity, int32_t ordinal) {
  return call("cuDeviceGetName", kInit | kSurvives, [&]() -> int32_t {
    if (!has_device(ordinal)) return bad_device(ordinal);
    std::snprintf(out, static_cast<size_t>(capacity), "emulated device %d", ordinal);
    return kSuccess;
  });
}

API cuDeviceTotalMem_v2(size_t* bytes, int32_t ordinal) {
  return call("cuDeviceTotalMem_v2", kInit | kSurvives, [&]() -> int32_t {
    if (!has_device(ordinal)) return bad_device(ordinal);
    *bytes = device().total_bytes();
    return kSuccess;
  });
}

API cuDeviceGetAttribute(int32_t* value, int32_t code, int32_t ordinal) {
  return call("cuDeviceGetAttribute", kInit | kSurvives, [&]() -> int32_t {
    if (!has_device(ordinal)) return bad_device(ordinal);
    *value = attribute(code);
    return kSuccess;
  });
}

API cuDevicePrimaryCtxRetain(void** context, int32_t ordinal) {
  return call("cuDevicePrimaryCtxRetain", kInit, [&]() -> int32_t {
    if (!has_device(ordinal)) return bad_device(ordinal);
    ++device().retained;
    *context = &primary;
    return kSuccess;
  });
}

API cuDevicePrimaryCtxRelease_v2(int32_t ordinal) {
  return call("cuDevicePrimaryCtxRelease_v2", kInit | kSurvives, [&]() -> int32_t {
    if (!has_device(ordinal)) return bad_device(ordinal);
    if (device().retained == 0) return device().fail(kInvalidContext, "the primary context is not retained");
    --device().retained;
    return kSuccess;
  });
}

API cuDevicePrimaryCtxGetState(int32_t ordinal, uint32_t* flags, int32_t* active) {
  return call("cuDevicePrimaryCtxGetState", kInit | kSurvives, [&]() -> int32_t {
    if (!has_device(ordinal)) return bad_device(ordinal);
    *flags = 0;
    *active = device().retained > 0 ? 1 : 0;
    return kSuccess;
  });
}

API cuCtxSetCurrent(void* context) {
  return call("cuCtxSetCurrent", kInit | kSurvives, [&]() -> int32_t {
    if (context != nullptr && (context != &primary || device().retained == 0)) {
      return device().fail(kInvalidContext, "cuCtxSetCurrent of a context that does not exist, or no longer");
    }
    current = static_cast<Context*>(context);
    return kSuccess;
  });
}

API cuCtxGetCurrent(void** context) {
  return call("cuCtxGetCurrent", kInit | kSurvives, [&]() -> int32_t {
    *context = current;
    return kSuccess;
  });
}

API cuCtxSynchronize(void) {
  return call("cuCtxSynchronize", kContext | kNoCapture, []() -> int32_t {
    if (int32_t result = device().drain_all()) return result;
    return device().check_bands();
  });
}

// -----------------------------------------------------------------------------------------------------------
// Memory
// -----------------------------------------------------------------------------------------------------------

API cuMemGetInfo_v2(size_t* free, size_t* total) {
  return call("cuMemGetInfo_v2", kContext, [&]() -> int32_t {
    *free = device().free_bytes();
    *total = device().total_bytes();
    return kSuccess;
  });
}

API cuMemAlloc_v2(uint64_t* address, size_t bytes) {
  return call("cuMemAlloc_v2", kContext | kNoCapture, [&]() -> int32_t {
    if (bytes == 0) return device().fail(kInvalidValue, "cuMemAlloc of no bytes");
    return device().allocate(address, bytes);
  });
}

API cuMemFree_v2(uint64_t address) {
  return call("cuMemFree_v2", kContext | kNoCapture | kSurvives,
              [&]() -> int32_t { return address == 0 ? kSuccess : device().release(address); });
}

API cuMemHostAlloc(void** out, size_t bytes, uint32_t) {
  return call("cuMemHostAlloc", kContext | kNoCapture, [&]() -> int32_t {
    if (bytes == 0) return device().fail(kInvalidValue, "cuMemHostAlloc of no bytes");
    *out = device().allocate_pinned(bytes);
    return *out == nullptr ? kOutOfMemory : kSuccess;
  });
}

API cuMemFreeHost(void* address) {
  return call("cuMemFreeHost", kContext | kNoCapture | kSurvives, [&]() -> int32_t {
    device().drain_all();
    return device().release_pinned(address)
               ? kSuccess
               : device().fail(kInvalidValue, "not the address of pinned memory");
  });
}

API cuMemcpyHtoD_v2(uint64_t to, const void* from, size_t bytes) {
  return call("cuMemcpyHtoD_v2", kContext | kNoCapture, [&]() -> int32_t {
    if (int32_t result = device().require("cuMemcpyHtoD", to, bytes)) return result;
    if (int32_t result = device().drain_legacy()) return result;
    std::memcpy(host(to), from, bytes);
    return kSuccess;
  });
}

API cuMemcpyDtoH_v2(void* to, uint64_t from, size_t bytes) {
  return call("cuMemcpyDtoH_v2", kContext | kNoCapture, [&]() -> int32_t {
    if (int32_t result = device().require("cuMemcpyDtoH", from, bytes)) return result;
    if (int32_t result = device().drain_legacy()) return result;
    std::memcpy(to, host(from), bytes);
    return device().check_bands();
  });
}

// Pinned bytes are read when the copy's turn comes; pageable ones now, as the driver stages them.
API cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t bytes, void* stream) {
  return call("cuMemcpyHtoDAsync_v2", kContext, [&]() -> int32_t {
    if (int32_t result = device().require("cuMemcpyHtoDAsync", to, bytes)) return result;
    if (device().pinned(from, bytes)) {
      return enqueue(stream, "copy to the device", [=] { std::memcpy(host(to), from, bytes); });
    }
    const auto* first = static_cast<const unsigned char*>(from);
    auto staged = std::make_shared<std::vector<unsigned char>>(first, first + bytes);
    return enqueue(stream, "copy to the device",
                   [=] { std::memcpy(host(to), staged->data(), staged->size()); });
  });
}

// Into pageable memory the driver waits; into pinned memory it does not.
API cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t bytes, void* stream) {
  return call("cuMemcpyDtoHAsync_v2", kContext, [&]() -> int32_t {
    if (int32_t result = device().require("cuMemcpyDtoHAsync", from, bytes)) return result;
    auto move = [=] { std::memcpy(to, host(from), bytes); };
    if (int32_t result = enqueue(stream, "copy to the host", move)) return result;
    return device().pinned(to, bytes) ? kSuccess : device().drain(device().stream(stream));
  });
}

API cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void* stream) {
  return call("cuMemcpyDtoDAsync_v2", kContext, [&]() -> int32_t {
    if (int32_t result = device().require("cuMemcpyDtoDAsync", to, bytes)) return result;
    if (int32_t result = device().require("cuMemcpyDtoDAsync", from, bytes)) return result;
    return enqueue(stream, "copy on the device", [=] { std::memmove(host(to), host(from), bytes); });
  });
}

API cuMemsetD8Async(uint64_t to, uint8_t value, size_t count, void* stream) {
  return call("cuMemsetD8Async", kContext, [&]() -> int32_t {
    if (int32_t result = device().require("cuMemsetD8Async", to, count)) return result;
    return enqueue(stream, "fill", [=] { std::memset(host(to), value, count); });
  });
}

// -----------------------------------------------------------------------------------------------------------
// Streams and events
// -----------------------------------------------------------------------------------------------------------

API cuStreamCreate(void** stream, uint32_t flags) {
  return call("cuStreamCreate", kContext, [&]() -> int32_t {
    constexpr uint32_t kNonBlocking = 1;
    *stream = device().create_stream((flags & kNonBlocking) == 0);
    return kSuccess;
  });
}

API cuStreamDestroy_v2(void* handle) {
  return call("cuStreamDestroy_v2", kContext | kSurvives, [&]() -> int32_t {
    Stream* stream = device().stream(handle);
    if (handle == nullptr || stream == nullptr) return bad_handle("a stream");
    return device().destroy(stream);
  });
}

API cuStreamSynchronize(void* handle) {
  return call("cuStreamSynchronize", kContext, [&]() -> int32_t {
    Stream* stream = device().stream(handle);
    if (stream == nullptr) return bad_handle("a stream");
    if (stream->capture != nullptr) {
      stream->capture->broken = true;
      return device().fail(kCaptureUnsupported, "cuStreamSynchronize of a stream that is being captured");
    }
    if (int32_t result = device().drain(stream)) return result;
    return device().check_bands();
  });
}

// Time passes with every question, so that a loop around it ends.
API cuStreamQuery(void* handle) {
  return call("cuStreamQuery", kContext, [&]() -> int32_t {
    Stream* stream = device().stream(handle);
    if (stream == nullptr) return bad_handle("a stream");
    if (int32_t result = device().step(stream)) return result;
    return stream->pending.empty() ? kSuccess : kNotReady;
  });
}

API cuStreamWaitEvent(void* handle, void* event_handle, uint32_t) {
  return call("cuStreamWaitEvent", kContext, [&]() -> int32_t {
    Stream* stream = device().stream(handle);
    Event* event = device().event(event_handle);
    if (stream == nullptr || event == nullptr) return bad_handle("a stream or an event");
    return device().enqueue(stream, {"wait for an event", [event_handle](std::string&) -> int32_t {
                                       Event* waited = Device::instance().event(event_handle);
                                       return waited == nullptr ? kSuccess : Device::instance().reach(waited);
                                     }});
  });
}

API cuEventCreate(void** event, uint32_t flags) {
  return call("cuEventCreate", kContext, [&]() -> int32_t {
    constexpr uint32_t kDisableTiming = 2;
    *event = device().create_event((flags & kDisableTiming) == 0);
    return kSuccess;
  });
}

API cuEventDestroy_v2(void* handle) {
  return call("cuEventDestroy_v2", kContext | kSurvives, [&]() -> int32_t {
    Event* event = device().event(handle);
    if (event == nullptr) return bad_handle("an event");
    device().destroy(event);
    return kSuccess;
  });
}

API cuEventRecord(void* handle, void* stream_handle) {
  return call("cuEventRecord", kContext, [&]() -> int32_t {
    Event* event = device().event(handle);
    Stream* stream = device().stream(stream_handle);
    if (stream == nullptr || event == nullptr) return bad_handle("a stream or an event");
    event->stream = stream;
    event->done = false;
    return device().enqueue(stream, {"event", [handle](std::string&) -> int32_t {
                                       if (Event* reached = Device::instance().event(handle)) {
                                         reached->time = std::chrono::steady_clock::now();
                                         reached->done = true;
                                       }
                                       return kSuccess;
                                     }});
  });
}

API cuEventSynchronize(void* handle) {
  return call("cuEventSynchronize", kContext | kNoCapture, [&]() -> int32_t {
    Event* event = device().event(handle);
    return event == nullptr ? bad_handle("an event") : device().reach(event);
  });
}

API cuEventQuery(void* handle) {
  return call("cuEventQuery", kContext | kNoCapture, [&]() -> int32_t {
    Event* event = device().event(handle);
    if (event == nullptr) return bad_handle("an event");
    if (!event->done && event->stream != nullptr) device().step(event->stream);
    return event->done ? kSuccess : kNotReady;
  });
}

API cuEventElapsedTime(float* milliseconds, void* from_handle, void* to_handle) {
  return call("cuEventElapsedTime", kContext, [&]() -> int32_t {
    Event* from = device().event(from_handle);
    Event* to = device().event(to_handle);
    if (from == nullptr || to == nullptr || !from->timed || !to->timed) return bad_handle("a timed event");
    if (!from->done || !to->done) return kNotReady;
    *milliseconds = std::chrono::duration<float, std::milli>(to->time - from->time).count();
    return kSuccess;
  });
}

// -----------------------------------------------------------------------------------------------------------
// Graphs
// -----------------------------------------------------------------------------------------------------------

API cuStreamBeginCapture_v2(void* handle, int32_t mode) {
  return call("cuStreamBeginCapture_v2", kContext, [&]() -> int32_t {
    Stream* stream = device().stream(handle);
    if (handle == nullptr || stream == nullptr) return bad_handle("a stream");
    if (stream->capture != nullptr)
      return device().fail(kInvalidValue, "the stream is being captured already");
    stream->capture = std::make_unique<Capture>(Capture{{}, mode, std::this_thread::get_id()});
    return kSuccess;
  });
}

API cuStreamIsCapturing(void* handle, int32_t* status) {
  return call("cuStreamIsCapturing", kContext, [&]() -> int32_t {
    Stream* stream = device().stream(handle);
    if (stream == nullptr) return bad_handle("a stream");
    *status = stream->capture == nullptr ? 0 : stream->capture->broken ? 2 : 1;
    return kSuccess;
  });
}

API cuStreamEndCapture(void* handle, void** graph) {
  return call("cuStreamEndCapture", kContext | kSurvives, [&]() -> int32_t {
    *graph = nullptr;
    Stream* stream = device().stream(handle);
    if (stream == nullptr) return bad_handle("a stream");
    if (stream->capture == nullptr)
      return device().fail(kCaptureUnmatched, "the stream is not being captured");
    constexpr int32_t kRelaxed = 2;
    if (stream->capture->mode != kRelaxed && stream->capture->thread != std::this_thread::get_id()) {
      return device().fail(kCaptureWrongThread, "another thread began the capture");
    }
    const std::unique_ptr<Capture> capture = std::move(stream->capture);
    if (capture->broken)
      return device().fail(kCaptureInvalidated, "a call that cannot be captured broke the capture");
    *graph = device().create_graph(std::move(capture->nodes));
    return kSuccess;
  });
}

API cuGraphGetNodes(void* handle, void** nodes, size_t* count) {
  return call("cuGraphGetNodes", kInit, [&]() -> int32_t {
    Graph* graph = device().graph(handle);
    if (graph == nullptr) return bad_handle("a graph");
    if (nodes != nullptr) return device().fail(kInvalidValue, "only the number of nodes can be asked for");
    *count = graph->nodes.size();
    return kSuccess;
  });
}

API cuGraphInstantiateWithFlags(void** executable, void* handle, unsigned long long) {
  return call("cuGraphInstantiateWithFlags", kContext, [&]() -> int32_t {
    Graph* graph = device().graph(handle);
    if (graph == nullptr) return bad_handle("a graph");
    *executable = device().instantiate(graph);
    return kSuccess;
  });
}

API cuGraphUpload(void* executable, void* stream) {
  return call("cuGraphUpload", kContext, [&]() -> int32_t {
    return device().executable(executable) == nullptr || device().stream(stream) == nullptr
               ? bad_handle("a graph or a stream")
               : kSuccess;
  });
}

API cuGraphLaunch(void* handle, void* stream_handle) {
  return call("cuGraphLaunch", kContext, [&]() -> int32_t {
    Executable* executable = device().executable(handle);
    Stream* stream = device().stream(stream_handle);
    if (executable == nullptr || stream == nullptr) return bad_handle("a graph or a stream");
    return device().enqueue(stream, {"graph", [nodes = executable->nodes](std::string& why) -> int32_t {
                                       for (const Work& node : *nodes) {
                                         device().note(node.name);
                                         if (int32_t result = node.run(why)) {
                                           why = std::string(node.name) + ": " + why;
                                           return result;
                                         }
                                       }
                                       return kSuccess;
                                     }});
  });
}

API cuGraphDestroy(void* handle) {
  return call("cuGraphDestroy", kInit | kSurvives, [&]() -> int32_t {
    Graph* graph = device().graph(handle);
    if (graph == nullptr) return bad_handle("a graph");
    device().destroy(graph);
    return kSuccess;
  });
}

API cuGraphExecDestroy(void* handle) {
  return call("cuGraphExecDestroy", kInit | kSurvives, [&]() -> int32_t {
    Executable* executable = device().executable(handle);
    if (executable == nullptr) return bad_handle("a graph");
    device().destroy(executable);
    return kSuccess;
  });
}
