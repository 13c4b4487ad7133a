// The device behind the fake driver: its memory, its streams and what is enqueued on them, graphs, and faults
// on demand. Everything is guarded by one lock; work runs under it, on the thread that waits.
#ifndef SJD2_CUDA_EMULATION_DEVICE_H
#define SJD2_CUDA_EMULATION_DEVICE_H

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace sjd2::emu {

// The CUresults that are used here, numbered as in cuda.h.
enum Result : int32_t {
  kSuccess = 0,
  kInvalidValue = 1,
  kOutOfMemory = 2,
  kNotInitialized = 3,
  kNoDevice = 100,
  kInvalidDevice = 101,
  kInvalidContext = 201,
  kInvalidHandle = 400,
  kNotReady = 600,
  kIllegalAddress = 700,
  kLaunchFailed = 719,
  kCaptureUnsupported = 900,
  kCaptureInvalidated = 901,
  kCaptureUnmatched = 903,
  kCaptureWrongThread = 908,
  kUnknown = 999
};

const char* name_of(int32_t result);

struct Event;
struct Stream;

// A piece of work in a stream or in a graph. Answers 0, or a CUresult after writing why.
struct Work {
  const char* name;
  std::function<int32_t(std::string& why)> run;
};

using Nodes = std::vector<Work>;

struct Capture {
  Nodes nodes;
  int32_t mode;
  std::thread::id thread;
  bool broken = false;
};

struct Stream {
  explicit Stream(bool blocks) : blocking(blocks) {}
  const bool blocking;  // ordered with the legacy stream
  std::deque<Work> pending;
  std::unique_ptr<Capture> capture;
};

struct Event {
  Stream* stream = nullptr;  // where it was recorded last
  bool done = true;
  bool timed = true;
  std::chrono::steady_clock::time_point time;
};

struct Graph {
  Nodes nodes;
};

// Shared with what is enqueued, so that an executable may be destroyed while a launch of it is pending.
struct Executable {
  std::shared_ptr<const Nodes> nodes;
};

class Device {
 public:
  static Device& instance();

  std::recursive_mutex& lock() { return lock_; }

  // --- what every call goes through
  // Counts the call; answers an injected failure, the fault that lost the device, or success.
  int32_t enter(const char* function, bool survives_loss);
  int32_t fail(int32_t result, std::string why);
  const std::string& message() const { return message_; }
  // A capture by this thread that the call would break, if any: marks it broken.
  int32_t refuse_in_capture(const char* function);

  // --- memory
  int32_t allocate(uint64_t* address, uint64_t bytes);
  int32_t release(uint64_t address);
  bool contains(uint64_t address, uint64_t bytes) const;
  int32_t require(const char* what, uint64_t address, uint64_t bytes);
  uint64_t free_bytes() const { return total_ > used_ ? total_ - used_ : 0; }
  uint64_t total_bytes() const { return total_; }
  int64_t live_allocations() const { return static_cast<int64_t>(allocations_.size()); }

  void* allocate_pinned(uint64_t bytes);
  bool release_pinned(void* address);
  bool pinned(const void* address, uint64_t bytes) const;

  // --- streams. A null handle, and the driver's two special ones, are the legacy stream.
  Stream* create_stream(bool blocking);
  Stream* stream(void* handle);  // nullptr if there is none
  int32_t destroy(Stream* stream);
  int32_t enqueue(Stream* stream, Work work);
  int32_t drain(Stream* stream);
  int32_t step(Stream* stream);  // runs one piece of work, as time would
  int32_t drain_all();
  // Ends what the legacy stream waits for: its own work and that of the blocking streams.
  int32_t drain_legacy();
  // Bands around allocations, looked at where the host waits.
  int32_t check_bands();

  // --- events and graphs
  Event* create_event(bool timed);
  Event* event(void* handle);
  void destroy(Event* event);
  int32_t reach(Event* event);
  Graph* create_graph(Nodes nodes);
  Graph* graph(void* handle);
  void destroy(Graph* graph);
  Executable* instantiate(const Graph* graph);
  Executable* executable(void* handle);
  void destroy(Executable* executable);

  // --- for tests
  void note(const char* name);  // that work of that name ran
  int64_t count(const std::string& name) const;
  void fail_call(const std::string& function, int32_t skip, int32_t result);
  void lose(int32_t result, const std::string& why);
  void set_memory(uint64_t bytes) { total_ = bytes; }
  void set_devices(int32_t count) { devices_ = count; }
  int32_t devices() const { return devices_; }
  void reset();

  bool initialised = false;
  int retained = 0;  // of the primary context

 private:
  struct Allocation {
    uint64_t bytes;
    unsigned char* raw;
  };
  struct Injection {
    int32_t skip;
    int32_t result;
  };

  static constexpr uint64_t kBand = 256;
  static constexpr uint64_t kMemory = uint64_t{8} << 30;
  static constexpr size_t kQueue = 1024;  // pieces of work that a stream holds before a launch waits

  Device() = default;
  int32_t run(const Work& work);

  mutable std::recursive_mutex lock_;
  std::map<uint64_t, Allocation> allocations_;
  std::map<const unsigned char*, uint64_t> pinned_;
  uint64_t used_ = 0;
  uint64_t total_ = kMemory;
  int32_t devices_ = 1;
  int32_t lost_ = kSuccess;
  std::string message_;
  std::map<std::string, int64_t> counts_;
  std::map<std::string, Injection> injections_;
  Stream legacy_{true};
  std::map<void*, std::unique_ptr<Stream>> streams_;
  std::map<void*, std::unique_ptr<Event>> events_;
  std::map<void*, std::unique_ptr<Graph>> graphs_;
  std::map<void*, std::unique_ptr<Executable>> executables_;
};

}  // namespace sjd2::emu

#endif
