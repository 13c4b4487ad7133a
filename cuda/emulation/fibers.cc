// The scheduler of the emulated device: one fiber per CUDA thread, one block at a time.
//
// A thread runs until it waits: at a barrier of its block, or at a collective of its warp, whose arguments the last lane to
// arrive computes on. It then returns to the scheduler, which resumes the next thread that is ready. If none is and some have
// not ended, the block has diverged, and the launch ends with the names of kernel, block and thread.
//
// Under ThreadSanitizer this file is not instrumented, the kernels are, and each CUDA thread is a TSan fiber whose switches
// order nothing: only barriers, collectives and the ends of a block do. What TSan then reports is what a GPU would race on.
#include <dlfcn.h>
#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <vector>

#include "emulation/cuda_emulation.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(SJD2_RACE_CHECK)
#include <sanitizer/tsan_interface.h>
#endif

#undef threadIdx
#undef blockIdx
#undef blockDim
#undef gridDim

namespace sjd2::emulation {

const Indices* current = nullptr;

namespace {

constexpr size_t kStackBytes = size_t{128} << 10;
constexpr size_t kGuardBytes = 4096;
constexpr uint32_t kWarp = 32;
constexpr uint32_t kMaxThreads = 1024;
constexpr int32_t kLaunchFailed = 719;  // CUDA_ERROR_LAUNCH_FAILED

#if defined(SJD2_RACE_CHECK)
constexpr bool kRaceCheck = true;
void order_before(void* point) { __tsan_release(point); }
void order_after(void* point) { __tsan_acquire(point); }
#else
constexpr bool kRaceCheck = false;
void order_before(void*) {}
void order_after(void*) {}
#endif

struct Thread {
  Indices indices;
  void* stack;  // lowest address, or NULL before the first run
  void* stack_pointer;
  void* fake_stack;  // ASan's
  void* race_fiber;  // TSan's
  uint32_t barriers, warp_barriers;  // that it has come to
  bool done;
};

struct Warp {
  Collective operation;
  uint32_t arrived;
  uint32_t generation;  // collectives that are over
  char points[2];       // of the race check: each collective orders its own arrivals
  void* arguments[kWarp];
};

// Saves the callee's registers on the stack that is left and loads those of the other one.
extern "C" void sjd2_emulation_switch(void** save, void* load);
asm(R"(
.text
.type sjd2_emulation_switch,@function
.hidden sjd2_emulation_switch
sjd2_emulation_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp,(%rdi)
  movq %rsi,%rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size sjd2_emulation_switch,.-sjd2_emulation_switch
)");

class Stacks {
 public:
  void* take() {
    if (free_.empty()) grow();
    void* stack = free_.back();
    free_.pop_back();
    return stack;
  }
  void give(void* stack) {
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(stack, kStackBytes);
#endif
    free_.push_back(stack);
  }

 private:
  // A guard page below each: a kernel that needs more stops there instead of writing over its neighbour.
  void grow() {
    constexpr size_t kCount = 32, kStride = kStackBytes + kGuardBytes;
    void* memory = mmap(nullptr, kCount * kStride, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    for (size_t i = kCount; i-- > 0;) {
      char* at = static_cast<char*>(memory) + i * kStride;
      mprotect(at, kGuardBytes, PROT_NONE);
      free_.push_back(at + kGuardBytes);
    }
  }

  std::vector<void*> free_;
};

class Device {
 public:
  int32_t run(const Grid& grid, void (*body)(const void*), const void* arguments, char* message, size_t capacity) {
    const std::lock_guard<std::mutex> lock(mutex_);
    grid_ = &grid;
    body_ = body;
    arguments_ = arguments;
    message_[0] = '\0';
    const uint32_t threads = grid.block.x * grid.block.y * grid.block.z;
    if (threads == 0 || threads > kMaxThreads || threads % kWarp != 0 || grid.grid.y > 65535 || grid.grid.z > 65535 ||
        grid.shared > (227 << 10)) {
      std::snprintf(message, capacity, "%s: a block of %u threads and %zu bytes, a grid of %u x %u x %u", grid.name, threads,
                    grid.shared, grid.grid.x, grid.grid.y, grid.grid.z);
      return 1;  // CUDA_ERROR_INVALID_VALUE
    }
    if (observer_ != nullptr) observer_(grid.name, grid.shared);
    bug_ = plant_.bug != Bug::kNone && std::strstr(grid.name, plant_.kernel) != nullptr ? plant_.bug : Bug::kNone;
    const char* order = std::getenv("SJD2_EMULATION_ORDER");
    reverse_ = order != nullptr && std::strcmp(order, "reverse") == 0;
    const uint64_t blocks = uint64_t{grid.grid.x} * grid.grid.y * grid.grid.z;
    for (uint64_t i = 0; i < blocks && message_[0] == '\0'; ++i) run_block(reverse_ ? blocks - 1 - i : i);
    if (message_[0] == '\0') return 0;
    std::snprintf(message, capacity, "%s", message_);
    return kLaunchFailed;
  }

  void* shared() const { return bug_ == Bug::kAskewShared ? static_cast<char*>(shared_) + plant_.amount : shared_; }

  void plant(const Plant& bug) { plant_ = bug; }
  void observe(void (*observer)(const char*, size_t)) { observer_ = observer; }

  void barrier() {
    Thread& self = *running_;
    if (bug_ == Bug::kNoBarrier && self.barriers++ == plant_.amount) return;
    // A thread that is resumed late must not see what early ones do at the next barrier: two points take turns.
    char* const point = &barrier_points_[barriers_ % 2];
    order_before(point);
    waiting_.push_back(&self);
    if (waiting_.size() == alive_) {
      release_barrier(&self);
    } else {
      leave(self, false);
    }
    order_after(point);
  }

  void collective(Collective operation, void* argument) {
    Thread& self = *running_;
    if (bug_ == Bug::kNoWarpBarrier && operation == &meet && self.warp_barriers++ == plant_.amount) return;
    Warp& warp = warps_[static_cast<size_t>(&self - threads_.data()) / kWarp];
    if (warp.arrived != 0 && warp.operation != operation) stop("the lanes of a warp are at different collectives");
    char* const point = &warp.points[warp.generation % 2];
    order_before(point);
    warp.operation = operation;
    warp.arguments[self.indices.lane] = argument;
    warp.arrived |= 1u << self.indices.lane;
    if (warp.arrived == 0xFFFFFFFFu) {
      warp.arrived = 0;
      ++warp.generation;
      order_after(point);
      operation(warp.arguments);
      order_before(point);
      Thread* first = threads_.data() + (&warp - warps_.data()) * kWarp;
      for (uint32_t i = 0; i < kWarp; ++i) {
        Thread* lane = first + (reverse_ ? kWarp - 1 - i : i);
        if (lane != &self) make_ready(lane);
      }
    } else {
      leave(self, false);
    }
    order_after(point);
  }

  [[noreturn]] void stop(const char* why) {
    describe(why, *running_);
    order_before(&end_);
    leave(*running_, true);
    __builtin_unreachable();
  }

 private:
  void describe(const char* why, const Thread& thread) {
    const dim3& b = thread.indices.block;
    const dim3& t = thread.indices.thread;
    std::snprintf(message_, sizeof message_, "%s in %s, block (%u, %u, %u), thread (%u, %u, %u)", why, grid_->name, b.x, b.y,
                  b.z, t.x, t.y, t.z);
  }

  void run_block(uint64_t index) {
    const dim3& size = grid_->block;
    const uint32_t n = size.x * size.y * size.z;
    threads_.assign(n, Thread{});
    warps_.assign(n / kWarp, Warp{});
    waiting_.clear();
    waiting_.reserve(n);
    first_ready_ = last_ready_ = 0;
    alive_ = n;
    // Of exactly the size asked for, so that ASan sees what lies behind it, and filled with NaN.
    shared_ = nullptr;
    if (grid_->shared > 0) {
      const size_t missing = bug_ == Bug::kShortShared ? plant_.amount : 0, extra = bug_ == Bug::kAskewShared ? 128 : 0;
      const size_t bytes = grid_->shared > missing ? grid_->shared - missing + extra : 1;
      if (posix_memalign(&shared_, 128, bytes) != 0) std::abort();
      std::memset(shared_, 0xFF, bytes);
    }
    const dim3 block(static_cast<uint32_t>(index % grid_->grid.x),
                     static_cast<uint32_t>(index / grid_->grid.x % grid_->grid.y),
                     static_cast<uint32_t>(index / grid_->grid.x / grid_->grid.y));
    for (uint32_t i = 0; i < n; ++i) {
      Indices& indices = threads_[i].indices;
      indices = {dim3(i % size.x, i / size.x % size.y, i / size.x / size.y), block, size, grid_->grid, i % kWarp};
    }
    begin_race_check();
    for (uint32_t i = 0; i < n && message_[0] == '\0'; ++i) {
      resume(threads_[reverse_ ? n - 1 - i : i]);
    }
    while (message_[0] == '\0' && first_ready_ != last_ready_) resume(*ready_[first_ready_++ % kMaxThreads]);
    if (message_[0] == '\0' && alive_ > 0) {
      for (const Thread& thread : threads_) {
        if (thread.done) continue;
        describe("threads wait for others that never come: a barrier or collective in divergent code", thread);
        break;
      }
    }
    for (Thread& thread : threads_) {
      if (thread.stack != nullptr) stacks_.give(thread.stack);
    }
    end_race_check();
    std::free(shared_);
    shared_ = nullptr;
    current = nullptr;
  }

  void begin_race_check() {
#if defined(SJD2_RACE_CHECK)
    // Making a TSan fiber takes longer than running a block, so that each thread index keeps its own: what a block does
    // comes after what the blocks before it did.
    race_home_ = __tsan_get_current_fiber();
    while (race_fibers_.size() < threads_.size()) race_fibers_.push_back(__tsan_create_fiber(0));
    for (size_t i = 0; i < threads_.size(); ++i) threads_[i].race_fiber = race_fibers_[i];
    __tsan_release(&begin_);
#endif
  }
  void end_race_check() {
#if defined(SJD2_RACE_CHECK)
    __tsan_acquire(&end_);
#endif
  }

  void make_ready(Thread* thread) { ready_[last_ready_++ % kMaxThreads] = thread; }

  void release_barrier(const Thread* self) {
    ++barriers_;
    if (reverse_) {
      for (size_t i = waiting_.size(); i-- > 0;) {
        if (waiting_[i] != self) make_ready(waiting_[i]);
      }
    } else {
      for (Thread* thread : waiting_) {
        if (thread != self) make_ready(thread);
      }
    }
    waiting_.clear();
  }

  void resume(Thread& thread) {
    if (thread.stack == nullptr) {
      thread.stack = stacks_.take();
      // The return address of the first switch, behind six registers. Tops differ, or all stacks would share cache sets.
      const size_t colour = static_cast<size_t>(&thread - threads_.data()) % 61 * 320;
      auto** top = reinterpret_cast<void**>(static_cast<char*>(thread.stack) + kStackBytes - 64 - colour);
      *--top = nullptr;
      *--top = reinterpret_cast<void*>(&Device::start);
      for (int i = 0; i < 6; ++i) *--top = nullptr;
      thread.stack_pointer = top;
    }
    running_ = &thread;
    current = &thread.indices;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&home_fake_stack_, thread.stack, kStackBytes);
#endif
#if defined(SJD2_RACE_CHECK)
    __tsan_switch_to_fiber(thread.race_fiber, __tsan_switch_to_fiber_no_sync);
#endif
    sjd2_emulation_switch(&home_, thread.stack_pointer);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(home_fake_stack_, nullptr, nullptr);
#endif
    if (thread.done && !kRaceCheck) {
      stacks_.give(thread.stack);
      thread.stack = nullptr;
    }
  }

  // Back to the scheduler; returns when the thread is resumed, never if it is its last time.
  void leave(Thread& thread, bool last) {
    (void)last;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(last ? nullptr : &thread.fake_stack, home_bottom_, home_bytes_);
#endif
#if defined(SJD2_RACE_CHECK)
    __tsan_switch_to_fiber(race_home_, __tsan_switch_to_fiber_no_sync);
#endif
    sjd2_emulation_switch(&thread.stack_pointer, home_);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(thread.fake_stack, &home_bottom_, &home_bytes_);
#endif
  }

  static void start() {
    Device& device = instance();
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &device.home_bottom_, &device.home_bytes_);
#endif
    Thread& self = *device.running_;
    order_after(&device.begin_);
    device.body_(device.arguments_);
    order_before(&device.end_);
    self.done = true;
    --device.alive_;
    // Threads that have ended are not waited for.
    if (device.alive_ > 0 && device.waiting_.size() == device.alive_) device.release_barrier(nullptr);
    device.leave(self, true);
    __builtin_unreachable();
  }

 public:
  static Device& instance() {
    static Device device;
    return device;
  }

 private:
  std::mutex mutex_;
  const Grid* grid_ = nullptr;
  void (*body_)(const void*) = nullptr;
  const void* arguments_ = nullptr;
  Plant plant_ = {"", Bug::kNone, 0};
  Bug bug_ = Bug::kNone;  // of the launch under way
  void (*observer_)(const char*, size_t) = nullptr;
  bool reverse_ = false;
  std::vector<Thread> threads_;
  std::vector<Warp> warps_;
  // None of these grows while a fiber runs.
  std::vector<Thread*> waiting_;
  Thread* ready_[kMaxThreads];  // a ring: no thread is in it twice
  size_t first_ready_ = 0, last_ready_ = 0;
  size_t alive_ = 0;
  Stacks stacks_;
  void* shared_ = nullptr;
  Thread* running_ = nullptr;
  void* home_ = nullptr;
  void* home_fake_stack_ = nullptr;
  const void* home_bottom_ = nullptr;
  size_t home_bytes_ = 0;
  void* race_home_ = nullptr;
  std::vector<void*> race_fibers_;
  char begin_ = 0, end_ = 0;
  uint64_t barriers_ = 0;  // that are over
  char barrier_points_[2] = {};
  char message_[320] = "";
};

// The fake driver's side, where one is loaded.
using Enqueue = int32_t (*)(void*, const char*, Task, const void*, size_t);
using Synchronize = int32_t (*)(void*);
using Message = const char* (*)();
Enqueue driver_enqueue = nullptr;
Synchronize driver_synchronize = nullptr;
Message driver_message = nullptr;
thread_local char last_text[320] = "";

}  // namespace

void* block_shared() { return Device::instance().shared(); }
void block_barrier() { Device::instance().barrier(); }
void warp_collective(Collective operation, void* argument) { Device::instance().collective(operation, argument); }
void meet(void* const*) {}
void trap(const char* why) { Device::instance().stop(why); }
void plant(const Plant& bug) { Device::instance().plant(bug); }
void observe_launches(void (*observer)(const char*, size_t)) { Device::instance().observe(observer); }

int32_t run_grid(const Grid& grid, void (*body)(const void*), const void* arguments, char* message, size_t capacity) {
  return Device::instance().run(grid, body, arguments, message, capacity);
}

bool find_driver() {
  void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  if (library == nullptr) return false;
  driver_enqueue = reinterpret_cast<Enqueue>(dlsym(library, "sjd2_emu_enqueue"));
  driver_synchronize = reinterpret_cast<Synchronize>(dlsym(library, "cuStreamSynchronize"));
  driver_message = reinterpret_cast<Message>(dlsym(library, "sjd2_emu_last_message"));
  return driver_enqueue != nullptr;
}

int32_t enqueue_task(void* native, const char* name, Task task, const void* arguments, size_t bytes) {
  last_text[0] = '\0';
  if (driver_enqueue != nullptr) return driver_enqueue(native, name, task, arguments, bytes);
  return task(arguments, last_text, sizeof last_text);
}

int32_t synchronize(void* native) { return driver_enqueue != nullptr ? driver_synchronize(native) : 0; }

const char* last_message() { return driver_message != nullptr ? driver_message() : last_text; }

}  // namespace sjd2::emulation
