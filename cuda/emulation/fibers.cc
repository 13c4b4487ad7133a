// The scheduler of the emulated device: one fiber per CUDA thread that has to wait for others.
//
// A thread runs until it waits: at a barrier of its block, or at a collective of its warp, whose arguments the last lane to
// arrive computes on. It then gives its place to the next thread that can go on, else to the next of its block that has not
// begun. If there is neither and some have not ended, the block has diverged, and the launch ends with the names of kernel,
// block and thread. A fiber whose thread has ended begins the next one where it stands: threads that never wait cost a call.
//
// A block runs on one thread of the machine; the blocks of a launch that takes its time are shared out among all cores
// (SJD2_EMULATION_THREADS says among how many), but not under a sanitizer nor in reverse order.
//
// Under ThreadSanitizer this file is not instrumented, the kernels are, and each CUDA thread is a TSan fiber whose switches
// order nothing: only barriers, collectives and the ends of a block do. What TSan then reports is what a GPU would race on.
#include <dlfcn.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
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

__thread const Indices* current = nullptr;

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
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = kRaceCheck;
#endif

// A stack, and where on it to go on. The one of whoever launched has no memory of its own here.
struct Fiber {
  void* stack_pointer = nullptr;
  char* stack = nullptr;        // lowest address
  void* fake_stack = nullptr;   // ASan's
  const void* bottom = nullptr;  // as ASan has to be told
  size_t bytes = kStackBytes;
};

struct Thread {
  Fiber* fiber;
  dim3 position;
  uint32_t lane;
  uint32_t barriers, warp_barriers;  // that it has come to
  uint64_t ended;                    // the last block in which it did
  void* race_fiber;                  // TSan's
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

struct Launch {
  const Grid* grid;
  void (*body)(const void*);
  const void* arguments;
  Plant plant;  // of no effect on this kernel: Bug::kNone
  bool reverse;
  uint64_t blocks;
  std::atomic<uint64_t> next{0};
  std::atomic<bool> failed{false};
  char message[320] = "";

  // The first to fail says why.
  __attribute__((format(printf, 2, 3))) void fail(const char* format, ...) {
    static std::mutex mutex;
    const std::lock_guard<std::mutex> lock(mutex);
    if (failed.load(std::memory_order_relaxed)) return;
    va_list values;
    va_start(values, format);
    std::vsnprintf(message, sizeof message, format, values);
    va_end(values);
    failed.store(true, std::memory_order_relaxed);
  }
};

// What runs one block after the other on one thread of the machine.
class Worker {
 public:
  // Blocks of the launch until there are none left; after each, `between`.
  template <typename Between>
  void work(Launch& launch, const Between& between) {
    here = this;
    current = &indices_;
    prepare(launch);
    for (uint64_t i; !launch.failed.load(std::memory_order_relaxed) && (i = launch.next.fetch_add(1)) < launch.blocks;) {
      run_block(launch.reverse ? launch.blocks - 1 - i : i);
      between();
    }
    current = nullptr;
    here = nullptr;
  }

  void* shared() const {
    return launch_->plant.bug == Bug::kAskewShared ? static_cast<char*>(shared_) + launch_->plant.amount : shared_;
  }

  void barrier() {
    Thread& self = *running_;
    if (launch_->plant.bug == Bug::kNoBarrier && self.barriers++ == launch_->plant.amount) return;
    // A thread that is resumed late must not see what early ones do at the next barrier: two points take turns.
    char* const point = &barrier_points_[barriers_ % 2];
    order_before(point);
    waiting_.push_back(&self);
    if (waiting_.size() == alive_) {
      release_barrier(&self);
    } else {
      leave(*self.fiber);
    }
    order_after(point);
  }

  void collective(Collective operation, void* argument) {
    Thread& self = *running_;
    if (launch_->plant.bug == Bug::kNoWarpBarrier && operation == &meet && self.warp_barriers++ == launch_->plant.amount) {
      return;
    }
    Warp& warp = warps_[static_cast<size_t>(&self - threads_.data()) / kWarp];
    if (warp.arrived != 0 && warp.operation != operation) stop("the lanes of a warp are at different collectives");
    char* const point = &warp.points[warp.generation % 2];
    order_before(point);
    warp.operation = operation;
    warp.arguments[self.lane] = argument;
    warp.arrived |= 1u << self.lane;
    if (warp.arrived == 0xFFFFFFFFu) {
      warp.arrived = 0;
      ++warp.generation;
      order_after(point);
      operation(warp.arguments);
      order_before(point);
      Thread* first = threads_.data() + (&warp - warps_.data()) * kWarp;
      for (uint32_t i = 0; i < kWarp; ++i) {
        Thread* lane = first + (launch_->reverse ? kWarp - 1 - i : i);
        if (lane != &self) make_ready(lane);
      }
    } else {
      leave(*self.fiber);
    }
    order_after(point);
  }

  [[noreturn]] void stop(const char* why) {
    describe(why, *running_);
    order_before(&end_);
    switch_to(*running_->fiber, nullptr);
    __builtin_unreachable();
  }

  static thread_local Worker* here;

 private:
  void describe(const char* why, const Thread& thread) {
    const dim3& b = indices_.block;
    const dim3& t = thread.position;
    launch_->fail("%s in %s, block (%u, %u, %u), thread (%u, %u, %u)", why, launch_->grid->name, b.x, b.y, b.z, t.x, t.y, t.z);
  }

  void prepare(Launch& launch) {
    launch_ = &launch;
    const dim3& size = launch.grid->block;
    const dim3& last = indices_.block_size;
    const uint32_t n = size.x * size.y * size.z;
    if (threads_.size() != n || last.x != size.x || last.y != size.y) {
      threads_.assign(n, Thread{});
      for (uint32_t i = 0; i < n; ++i) {
        threads_[i].position = dim3(i % size.x, i / size.x % size.y, i / size.x / size.y);
        threads_[i].lane = i % kWarp;
      }
      waiting_.reserve(n);
    }
    warps_.assign(n / kWarp, Warp{});
    indices_.block_size = size;
    indices_.grid_size = launch.grid->grid;
  }

  void run_block(uint64_t index) {
    const dim3& grid = launch_->grid->grid;
    ++block_;
    next_thread_ = 0;
    waiting_.clear();
    first_ready_ = last_ready_ = 0;
    alive_ = threads_.size();
    indices_.block = dim3(static_cast<uint32_t>(index % grid.x), static_cast<uint32_t>(index / grid.x % grid.y),
                          static_cast<uint32_t>(index / grid.x / grid.y));
    take_shared();
    // There no fiber may grow what all of them share.
    while (kRaceCheck && idle_.size() < threads_.size()) grow();
    begin_race_check();
    switch_to(home_, next());
    if (alive_ > 0) {
      for (const Thread& thread : threads_) {
        if (thread.ended == block_) continue;
        if (!launch_->failed) {
          describe("threads wait for others that never come: a barrier or collective in divergent code", thread);
        }
        break;
      }
      abandon();
    }
    idle_.insert(idle_.end(), spent_.begin(), spent_.end());
    spent_.clear();
    end_race_check();
    give_shared();
  }

  // Of exactly the size asked for, so that ASan sees what lies behind it, and filled with NaN.
  void take_shared() {
    const size_t wanted = launch_->grid->shared;
    if (wanted == 0) return;
    const size_t missing = launch_->plant.bug == Bug::kShortShared ? launch_->plant.amount : 0,
                 extra = launch_->plant.bug == Bug::kAskewShared ? 128 : 0;
    const size_t bytes = wanted > missing ? wanted - missing + extra : 1;
    if (kSanitized || bytes > shared_bytes_) {
      std::free(shared_);
      if (posix_memalign(&shared_, 128, bytes) != 0) std::abort();
      shared_bytes_ = bytes;
    }
    std::memset(shared_, 0xFF, bytes);
  }
  void give_shared() {
    if (!kSanitized) return;
    std::free(shared_);
    shared_ = nullptr;
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
    if (launch_->reverse) std::reverse(waiting_.begin(), waiting_.end());
    for (Thread* thread : waiting_) {
      if (thread != self) make_ready(thread);
    }
    waiting_.clear();
  }

  // A thread that can go on, else one that has not begun, on a fiber of its own; NULL: there is none.
  Thread* next() {
    if (first_ready_ != last_ready_) return ready_[first_ready_++ % kMaxThreads];
    Thread* thread = next_to_begin();
    if (thread != nullptr) thread->fiber = take_fiber();
    return thread;
  }

  Thread* next_to_begin() {
    const size_t n = threads_.size();
    if (next_thread_ == n) return nullptr;
    Thread* thread = &threads_[launch_->reverse ? n - 1 - next_thread_ : next_thread_];
    ++next_thread_;
    thread->barriers = thread->warp_barriers = 0;
    return thread;
  }

  void become(Thread* thread) {
    running_ = thread;
    indices_.thread = thread->position;
    indices_.lane = thread->lane;
  }

  // Gives this fiber's place to another thread; returns when it is given back.
  void leave(Fiber& self) { switch_to(self, next()); }

  // To a thread, or to whoever launched where it is NULL.
  void switch_to(Fiber& self, Thread* thread) {
    Fiber& other = thread == nullptr ? home_ : *thread->fiber;
    if (thread != nullptr) become(thread);
#if defined(__SANITIZE_ADDRESS__)
    from_home_ = &self == &home_;
    __sanitizer_start_switch_fiber(&self.fake_stack, other.bottom, other.bytes);
#endif
#if defined(SJD2_RACE_CHECK)
    __tsan_switch_to_fiber(thread == nullptr ? race_home_ : thread->race_fiber, __tsan_switch_to_fiber_no_sync);
#endif
    sjd2_emulation_switch(&self.stack_pointer, other.stack_pointer);
    arrive(self.fake_stack);
  }

  void arrive([[maybe_unused]] void* fake_stack) {
#if defined(__SANITIZE_ADDRESS__)
    const void* bottom;
    size_t bytes;
    __sanitizer_finish_switch_fiber(fake_stack, &bottom, &bytes);
    if (from_home_) home_.bottom = bottom, home_.bytes = bytes;
    from_home_ = false;
#endif
  }

  // What a fiber does: one thread after the other.
  static void carry() {
    Worker& worker = *here;
    worker.arrive(nullptr);
    for (;;) worker.run_thread();
  }

  void run_thread() {
    Thread& self = *running_;
    Fiber& fiber = *self.fiber;
    order_after(&begin_);
    launch_->body(launch_->arguments);
    order_before(&end_);
    self.ended = block_;
    --alive_;
    // Threads that have ended are not waited for.
    if (alive_ > 0 && waiting_.size() == alive_) release_barrier(nullptr);
    // Under the race check, and in a block's own time, a stack belongs to one thread.
    if (!kRaceCheck && first_ready_ == last_ready_) {
      Thread* const other = next_to_begin();
      if (other != nullptr) {
        other->fiber = &fiber;
        become(other);
        return;
      }
    }
    (kRaceCheck ? spent_ : idle_).push_back(&fiber);
    switch_to(fiber, next());
  }

  Fiber* take_fiber() {
    if (idle_.empty()) grow();
    Fiber* fiber = idle_.back();
    idle_.pop_back();
    return fiber;
  }

  // A guard page below each: a kernel that needs more stops there instead of writing over its neighbour.
  void grow() {
    constexpr size_t kCount = 32, kStride = kStackBytes + kGuardBytes;
    void* memory = mmap(nullptr, kCount * kStride, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    for (size_t i = kCount; i-- > 0;) {
      char* at = static_cast<char*>(memory) + i * kStride;
      mprotect(at, kGuardBytes, PROT_NONE);
      fibers_.push_back(std::make_unique<Fiber>());
      Fiber& fiber = *fibers_.back();
      fiber.stack = at + kGuardBytes;
      fiber.bottom = fiber.stack;
      start(fiber, fibers_.size());
      idle_.push_back(&fiber);
    }
    spent_.reserve(fibers_.size());
    idle_.reserve(fibers_.size());
  }

  // The return address of the first switch, behind six registers. Tops differ, or all stacks would share cache sets.
  static void start(Fiber& fiber, size_t number) {
    auto** top = reinterpret_cast<void**>(fiber.stack + kStackBytes - 64 - number % 61 * 320);
    *--top = nullptr;
    *--top = reinterpret_cast<void*>(&Worker::carry);
    for (int i = 0; i < 6; ++i) *--top = nullptr;
    fiber.stack_pointer = top;
  }

  // Takes all fibers out of the threads that they are in.
  void abandon() {
    idle_.clear();
    spent_.clear();
    for (size_t i = 0; i < fibers_.size(); ++i) {
#if defined(__SANITIZE_ADDRESS__)
      __asan_unpoison_memory_region(fibers_[i]->stack, kStackBytes);
#endif
      fibers_[i]->fake_stack = nullptr;
      start(*fibers_[i], i);
      idle_.push_back(fibers_[i].get());
    }
    for (Warp& warp : warps_) warp = Warp{};
  }

  Launch* launch_ = nullptr;
  Indices indices_ = {};
  std::vector<Thread> threads_;
  std::vector<Warp> warps_;
  // None of these grows while a fiber runs, but for the fibers themselves.
  std::vector<Thread*> waiting_;
  Thread* ready_[kMaxThreads];  // a ring: no thread is in it twice
  size_t first_ready_ = 0, last_ready_ = 0;
  size_t next_thread_ = 0, alive_ = 0;
  uint64_t block_ = 0;  // counted
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> idle_, spent_;
  Fiber home_;
  bool from_home_ = false;
  void* shared_ = nullptr;
  size_t shared_bytes_ = 0;
  Thread* running_ = nullptr;
  void* race_home_ = nullptr;
  std::vector<void*> race_fibers_;
  char begin_ = 0, end_ = 0;
  uint64_t barriers_ = 0;  // that are over
  char barrier_points_[2] = {};
};

thread_local Worker* Worker::here = nullptr;

// Threads of the machine that help with a launch. They wait for one for as long as the process lives.
class Helpers {
 public:
  void help(Launch& launch) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      for (; started_ < count_; ++started_) std::thread([this] { serve(); }).detach();
      launch_ = &launch;
      ++launches_;
    }
    wake_.notify_all();
  }
  // Returns when nobody looks at the launch any more.
  void finish() {
    std::unique_lock<std::mutex> lock(mutex_);
    launch_ = nullptr;
    done_.wait(lock, [this] { return busy_ == 0; });
  }
  size_t count() const { return count_; }

 private:
  static size_t wanted() {
    if (kSanitized) return 0;
    const char* set = std::getenv("SJD2_EMULATION_THREADS");
    const long threads = set != nullptr ? std::atol(set) : static_cast<long>(std::thread::hardware_concurrency());
    return static_cast<size_t>(std::clamp(threads, 1l, 64l) - 1);
  }
  void serve() {
    auto* const worker = new Worker;
    std::unique_lock<std::mutex> lock(mutex_);
    for (uint64_t last = 0;;) {
      wake_.wait(lock, [&] { return launch_ != nullptr && launches_ != last; });
      last = launches_;
      Launch& launch = *launch_;
      ++busy_;
      lock.unlock();
      worker->work(launch, [] {});
      lock.lock();
      if (--busy_ == 0) done_.notify_all();
    }
  }

  const size_t count_ = wanted();
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  Launch* launch_ = nullptr;
  uint64_t launches_ = 0;
  size_t started_ = 0, busy_ = 0;
};

class Device {
 public:
  int32_t run(const Grid& grid, void (*body)(const void*), const void* arguments, char* message, size_t capacity) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const uint32_t threads = grid.block.x * grid.block.y * grid.block.z;
    if (threads == 0 || threads > kMaxThreads || threads % kWarp != 0 || grid.grid.y > 65535 || grid.grid.z > 65535 ||
        grid.shared > (227 << 10)) {
      std::snprintf(message, capacity, "%s: a block of %u threads and %zu bytes, a grid of %u x %u x %u", grid.name, threads,
                    grid.shared, grid.grid.x, grid.grid.y, grid.grid.z);
      return 1;  // CUDA_ERROR_INVALID_VALUE
    }
    if (observer_ != nullptr) observer_(grid.name, grid.shared);
    note(grid);
    Launch launch;
    launch.grid = &grid;
    launch.body = body;
    launch.arguments = arguments;
    launch.plant = plant_.bug != Bug::kNone && std::strstr(grid.name, plant_.kernel) != nullptr ? plant_ : Plant{"", Bug::kNone, 0};
    const char* order = std::getenv("SJD2_EMULATION_ORDER");
    launch.reverse = order != nullptr && std::strcmp(order, "reverse") == 0;
    launch.blocks = uint64_t{grid.grid.x} * grid.grid.y * grid.grid.z;
    run(launch);
    if (!launch.failed) return 0;
    std::snprintf(message, capacity, "%s", launch.message);
    return kLaunchFailed;
  }

  void plant(const Plant& bug) { plant_ = bug; }
  void observe(void (*observer)(const char*, size_t)) { observer_ = observer; }

  // Never destroyed: helpers may still look at it while the process ends.
  static Device& instance() {
    static Device* const device = new Device;
    return *device;
  }

 private:
  // A line for each kernel and amount of shared memory in the file that SJD2_EMULATION_LAUNCHES names: the build's report.
  void note(const Grid& grid) {
    static const char* const path = std::getenv("SJD2_EMULATION_LAUNCHES");
    if (path == nullptr || !noted_.emplace(grid.name, grid.shared).second) return;
    std::FILE* const file = std::fopen(path, "a");
    if (file == nullptr) return;
    std::fprintf(file, "%zu %s\n", grid.shared, grid.name);
    std::fclose(file);
  }

  // Waking somebody takes longer than most launches do: help is called once one has taken its time.
  void run(Launch& launch) {
    constexpr auto kAlone = std::chrono::microseconds(40);
    const bool alone = helpers_.count() == 0 || launch.reverse;
    const auto start = std::chrono::steady_clock::now();
    bool helped = false;
    worker_.work(launch, [&] {
      if (alone || helped || launch.next.load(std::memory_order_relaxed) + 1 >= launch.blocks) return;
      if (std::chrono::steady_clock::now() - start < kAlone) return;
      helped = true;
      helpers_.help(launch);
    });
    if (helped) helpers_.finish();
  }

  std::mutex mutex_;
  Plant plant_ = {"", Bug::kNone, 0};
  void (*observer_)(const char*, size_t) = nullptr;
  std::set<std::pair<std::string, size_t>> noted_;
  Worker worker_;  // of whoever holds the lock
  Helpers helpers_;
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

void* block_shared() { return Worker::here->shared(); }
void block_barrier() { Worker::here->barrier(); }
void warp_collective(Collective operation, void* argument) { Worker::here->collective(operation, argument); }
void meet(void* const*) {}
void trap(const char* why) { Worker::here->stop(why); }
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
