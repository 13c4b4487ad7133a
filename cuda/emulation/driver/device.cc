#include "device.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace sjd2::emu {

namespace {

constexpr unsigned char kBandByte = 0xC5;
constexpr unsigned char kFreshByte = 0xFF;  // NaN in every floating-point type

void poison([[maybe_unused]] const void* at, [[maybe_unused]] size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_poison_memory_region(at, bytes);
#endif
}

void unpoison([[maybe_unused]] const void* at, [[maybe_unused]] size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(at, bytes);
#endif
}

uint64_t round_up(uint64_t value, uint64_t to) { return (value + to - 1) / to * to; }

template <typename T>
T* find(const std::map<void*, std::unique_ptr<T>>& all, void* handle) {
  auto found = all.find(handle);
  return found == all.end() ? nullptr : found->second.get();
}

template <typename T>
T* keep(std::map<void*, std::unique_ptr<T>>& all, std::unique_ptr<T> made) {
  T* handle = made.get();
  all.emplace(handle, std::move(made));
  return handle;
}

}  // namespace

const char* name_of(int32_t result) {
  switch (result) {
    case kSuccess:
      return "CUDA_SUCCESS";
    case kInvalidValue:
      return "CUDA_ERROR_INVALID_VALUE";
    case kOutOfMemory:
      return "CUDA_ERROR_OUT_OF_MEMORY";
    case kNotInitialized:
      return "CUDA_ERROR_NOT_INITIALIZED";
    case kNoDevice:
      return "CUDA_ERROR_NO_DEVICE";
    case kInvalidDevice:
      return "CUDA_ERROR_INVALID_DEVICE";
    case kInvalidContext:
      return "CUDA_ERROR_INVALID_CONTEXT";
    case kInvalidHandle:
      return "CUDA_ERROR_INVALID_HANDLE";
    case kNotReady:
      return "CUDA_ERROR_NOT_READY";
    case kIllegalAddress:
      return "CUDA_ERROR_ILLEGAL_ADDRESS";
    case kLaunchFailed:
      return "CUDA_ERROR_LAUNCH_FAILED";
    case kCaptureUnsupported:
      return "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED";
    case kCaptureInvalidated:
      return "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED";
    case kCaptureUnmatched:
      return "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED";
    case kCaptureWrongThread:
      return "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD";
    case kUnknown:
      return "CUDA_ERROR_UNKNOWN";
    default:
      return nullptr;
  }
}

// Never destroyed: libraries may still free device memory while the process ends.
Device& Device::instance() {
  static Device* const device = new Device;
  return *device;
}

int32_t Device::enter(const char* function, bool survives_loss) {
  ++counts_[function];
  auto injected = injections_.find(function);
  if (injected != injections_.end() && injected->second.skip-- == 0) {
    const int32_t result = injected->second.result;
    injections_.erase(injected);
    return fail(result, std::string(function) + " was asked to fail");
  }
  return survives_loss ? kSuccess : lost_;
}

int32_t Device::fail(int32_t result, std::string why) {
  message_ = std::move(why);
  return result;
}

int32_t Device::refuse_in_capture(const char* function) {
  constexpr int32_t kRelaxed = 2;
  for (auto& [handle, stream] : streams_) {
    Capture* capture = stream->capture.get();
    if (capture != nullptr && capture->mode != kRelaxed && capture->thread == std::this_thread::get_id()) {
      capture->broken = true;
      return fail(kCaptureUnsupported, std::string(function) + " while this thread captures a stream");
    }
  }
  return kSuccess;
}

int32_t Device::allocate(uint64_t* address, uint64_t bytes) {
  if (bytes > free_bytes()) {
    return fail(kOutOfMemory,
                std::to_string(bytes) + " bytes asked for, " + std::to_string(free_bytes()) + " are free");
  }
  const uint64_t padded = round_up(bytes, kBand);
  auto* raw = static_cast<unsigned char*>(std::aligned_alloc(kBand, padded + 2 * kBand));
  if (raw == nullptr) return fail(kOutOfMemory, "the host has not that much memory");
  std::memset(raw, kBandByte, kBand);
  std::memset(raw + kBand, kFreshByte, bytes);
  std::memset(raw + kBand + bytes, kBandByte, padded - bytes + kBand);
  poison(raw, kBand);
  poison(raw + kBand + bytes, padded - bytes + kBand);
  *address = reinterpret_cast<uint64_t>(raw + kBand);
  allocations_[*address] = {bytes, raw};
  used_ += bytes;
  return kSuccess;
}

int32_t Device::release(uint64_t address) {
  auto found = allocations_.find(address);
  if (found == allocations_.end()) return fail(kInvalidValue, "not the address of an allocation");
  // Looked at before it goes, as later nobody can. The memory goes even on a device that is lost.
  const int32_t result = drain_all();
  const int32_t bands = check_bands();
  unpoison(found->second.raw, round_up(found->second.bytes, kBand) + 2 * kBand);
  used_ -= found->second.bytes;
  std::free(found->second.raw);
  allocations_.erase(found);
  return result != kSuccess ? result : bands;
}

bool Device::contains(uint64_t address, uint64_t bytes) const {
  auto above = allocations_.upper_bound(address);
  if (above == allocations_.begin()) return false;
  const auto& [start, allocation] = *std::prev(above);
  const uint64_t offset = address - start;
  return offset <= allocation.bytes && bytes <= allocation.bytes - offset;
}

int32_t Device::require(const char* what, uint64_t address, uint64_t bytes) {
  if (contains(address, bytes)) return kSuccess;
  char text[160];
  std::snprintf(text, sizeof text, "%s: %llu bytes at 0x%llx are not inside of one device allocation", what,
                static_cast<unsigned long long>(bytes), static_cast<unsigned long long>(address));
  return fail(kInvalidValue, text);
}

void* Device::allocate_pinned(uint64_t bytes) {
  void* memory = std::aligned_alloc(4096, round_up(bytes, 4096));
  if (memory != nullptr) pinned_[static_cast<unsigned char*>(memory)] = bytes;
  return memory;
}

bool Device::release_pinned(void* address) {
  if (pinned_.erase(static_cast<unsigned char*>(address)) == 0) return false;
  std::free(address);
  return true;
}

bool Device::pinned(const void* address, uint64_t bytes) const {
  const auto* at = static_cast<const unsigned char*>(address);
  auto above = pinned_.upper_bound(at);
  if (above == pinned_.begin()) return false;
  const auto& [start, size] = *std::prev(above);
  const auto offset = static_cast<uint64_t>(at - start);
  return offset <= size && bytes <= size - offset;
}

Stream* Device::create_stream(bool blocking) { return keep(streams_, std::make_unique<Stream>(blocking)); }

Stream* Device::stream(void* handle) {
  constexpr uintptr_t kLastSpecial = 2;  // CU_STREAM_LEGACY, CU_STREAM_PER_THREAD
  return reinterpret_cast<uintptr_t>(handle) <= kLastSpecial ? &legacy_ : find(streams_, handle);
}

int32_t Device::destroy(Stream* stream) {
  const int32_t result = drain(stream);
  for (auto& [handle, event] : events_) {
    if (event->stream == stream) event->stream = nullptr;
  }
  streams_.erase(stream);
  return result;
}

int32_t Device::enqueue(Stream* stream, Work work) {
  if (stream->capture != nullptr) {
    stream->capture->nodes.push_back(std::move(work));
    return kSuccess;
  }
  // The legacy stream and the blocking ones wait for each other; here by ending the other's work first.
  if (stream == &legacy_) {
    for (auto& [handle, other] : streams_) {
      if (other->blocking && drain(other.get()) != kSuccess) return lost_;
    }
  } else if (stream->blocking && drain(&legacy_) != kSuccess) {
    return lost_;
  }
  while (stream->pending.size() >= kQueue) {
    if (step(stream) != kSuccess) return lost_;
  }
  ++counts_["launches"];
  stream->pending.push_back(std::move(work));
  return kSuccess;
}

void Device::note(const char* name) { ++counts_[std::string("ran ") + name]; }

int32_t Device::run(const Work& work) {
  ++counts_["tasks"];
  note(work.name);
  std::string why;
  const int32_t result = work.run(why);
  if (result != kSuccess) lose(result, std::string(work.name) + ": " + why);
  return result;
}

int32_t Device::step(Stream* stream) {
  if (lost_ != kSuccess) {
    stream->pending.clear();
    return lost_;
  }
  if (!stream->pending.empty()) {
    const Work work = std::move(stream->pending.front());
    stream->pending.pop_front();
    run(work);
  }
  return lost_;
}

int32_t Device::drain(Stream* stream) {
  while (!stream->pending.empty()) step(stream);
  return lost_;
}

int32_t Device::drain_all() {
  drain(&legacy_);
  for (auto& [handle, stream] : streams_) drain(stream.get());
  return lost_;
}

int32_t Device::drain_legacy() {
  for (auto& [handle, stream] : streams_) {
    if (stream->blocking) drain(stream.get());
  }
  return drain(&legacy_);
}

int32_t Device::check_bands() {
#if !defined(__SANITIZE_ADDRESS__)  // there the bands may not be read, and nobody can write to them unseen
  for (auto& [address, allocation] : allocations_) {
    const unsigned char* before = allocation.raw;
    const unsigned char* behind = allocation.raw + kBand + allocation.bytes;
    for (uint64_t i = 0; i < kBand; ++i) {
      if (before[i] == kBandByte && behind[i] == kBandByte) continue;
      const bool low = before[i] != kBandByte;
      char text[160];
      std::snprintf(text, sizeof text, "a write %llu bytes %s the device allocation of %llu bytes at 0x%llx",
                    static_cast<unsigned long long>(low ? kBand - i : i + 1), low ? "before" : "behind",
                    static_cast<unsigned long long>(allocation.bytes),
                    static_cast<unsigned long long>(address));
      lose(kIllegalAddress, text);
      return lost_;
    }
  }
#endif
  return lost_;
}

Event* Device::create_event(bool timed) {
  Event* made = keep(events_, std::make_unique<Event>());
  made->timed = timed;
  return made;
}

Event* Device::event(void* handle) { return find(events_, handle); }

void Device::destroy(Event* event) {
  reach(event);
  events_.erase(event);
}

int32_t Device::reach(Event* event) {
  while (!event->done && event->stream != nullptr && !event->stream->pending.empty()) step(event->stream);
  return lost_;
}

Graph* Device::create_graph(Nodes nodes) {
  return keep(graphs_, std::make_unique<Graph>(Graph{std::move(nodes)}));
}

Graph* Device::graph(void* handle) { return find(graphs_, handle); }

void Device::destroy(Graph* graph) { graphs_.erase(graph); }

Executable* Device::instantiate(const Graph* graph) {
  return keep(executables_,
              std::make_unique<Executable>(Executable{std::make_shared<const Nodes>(graph->nodes)}));
}

Executable* Device::executable(void* handle) { return find(executables_, handle); }

void Device::destroy(Executable* executable) { executables_.erase(executable); }

int64_t Device::count(const std::string& name) const {
  auto found = counts_.find(name);
  return found == counts_.end() ? 0 : found->second;
}

void Device::fail_call(const std::string& function, int32_t skip, int32_t result) {
  injections_[function] = {skip, result};
}

void Device::lose(int32_t result, const std::string& why) {
  if (lost_ == kSuccess) {
    lost_ = result;
    message_ = why;
  }
}

void Device::reset() {
  lost_ = kSuccess;
  message_.clear();
  counts_.clear();
  injections_.clear();
  total_ = kMemory;
  devices_ = 1;
}

}  // namespace sjd2::emu
