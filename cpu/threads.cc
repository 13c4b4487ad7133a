#include "threads.h"

#include <sched.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#include "ops.h"

namespace {

// How long an idle thread spins before it parks. A parked thread costs its next task about 50 us of wake-up,
// a decode step leaves it idle for a few microseconds between operations, and a core spun on for longer is
// missed elsewhere.
constexpr std::chrono::microseconds kSpin{60};
constexpr int kSpinsPerClockRead = 32;

constexpr int64_t kCallSlots = 8;
constexpr int64_t kRowSlot = kCallSlots;  // find_live_rows keeps its list apart from the operations' slots
constexpr int64_t kMaxThreads = 1024;

thread_local char error_text[512] = "";
thread_local int64_t running_index = 0;
thread_local bool inside_task = false;

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { std::free(data_); }

  void* reserve(int64_t bytes) {
    if (bytes <= size_) return data_;
    // Growth by half at least, so that a window that widens by one row at a time does not reallocate at every
    // pass.
    const int64_t wanted = sjd2::round_up(sjd2::max64(bytes, size_ + size_ / 2), 4096);
    void* grown = std::aligned_alloc(4096, static_cast<size_t>(wanted));
    if (grown == nullptr) return nullptr;
    std::free(data_);
    data_ = grown;
    size_ = wanted;
    return data_;
  }

 private:
  void* data_ = nullptr;
  int64_t size_ = 0;
};

struct alignas(64) ThreadScratch {
  Buffer buffer;
};

}  // namespace

// A job gives every thread a lane of tasks that follow each other, so that a thread meets the same weights at
// every pass and, as long as all keep up, touches no other's lane. A thread that is through with its own
// takes from the others': a core that is busy elsewhere holds nobody up.
//
// A lane's ticket has the job's generation in its upper half and in its lower half the tasks nobody has taken
// yet. Taking one is one compare-and-swap, so a thread that comes late, still looking at an older job, cannot
// take a task of it, and the caller need not wait for threads that never woke: it waits for the tasks to be
// finished, not for the threads.
namespace {

struct alignas(64) Lane {
  std::atomic<uint64_t> ticket{0};
  // Written only while no task is outstanding, read only by the holder of one. On the ticket's line, so that
  // a thread that sees its ticket has all it needs.
  sjd2::TaskFunction function = nullptr;
  void* context = nullptr;
  int64_t end = 0;  // the tasks are end - n .. end - 1

  // Runs tasks of the generation until there are none left; returns how many.
  int64_t work_off(uint32_t generation) {
    int64_t done = 0;
    uint64_t seen = ticket.load(std::memory_order_acquire);
    while (static_cast<uint32_t>(seen >> 32) == generation && static_cast<uint32_t>(seen) != 0) {
      if (!ticket.compare_exchange_weak(seen, seen - 1, std::memory_order_acq_rel, std::memory_order_acquire))
        continue;
      function(context, end - static_cast<int64_t>(static_cast<uint32_t>(seen)));
      ++done;
      seen = ticket.load(std::memory_order_acquire);
    }
    return done;
  }
};

}  // namespace

struct sjd2_stream_t {
  explicit sjd2_stream_t(int64_t n)
      : n_threads(n), lanes(static_cast<size_t>(n)), scratch(static_cast<size_t>(n)) {}

  const int64_t n_threads;
  uint32_t generation = 0;  // the caller's
  std::vector<Lane> lanes;
  alignas(64) std::atomic<int64_t> finished{0};  // tasks, by other threads than the caller
  alignas(64) std::atomic<int32_t> parked{0};
  std::atomic<bool> closing{false};
  std::mutex mutex;
  std::condition_variable wake;

  std::vector<ThreadScratch> scratch;
  Buffer slots[kCallSlots + 1];
  std::vector<std::thread> workers;

  uint32_t generation_of(int64_t lane) const {
    const uint64_t ticket = lanes[static_cast<size_t>(lane)].ticket.load(std::memory_order_acquire);
    return static_cast<uint32_t>(ticket >> 32);
  }

  void worker(int64_t index) {
    running_index = index;
    inside_task = true;
    uint32_t done = 0;
    while (true) {
      const uint32_t job = await(index, done);
      if (closing.load(std::memory_order_acquire)) return;
      for (int64_t i = 0; i < n_threads; ++i) {
        const int64_t count = lanes[static_cast<size_t>((index + i) % n_threads)].work_off(job);
        if (count > 0) finished.fetch_add(count, std::memory_order_acq_rel);
      }
      done = job;
    }
  }

  // Returns the generation of a job other than `done`, or anything at all when the stream is closing.
  uint32_t await(int64_t index, uint32_t done) {
    const auto deadline = std::chrono::steady_clock::now() + kSpin;
    do {
      for (int i = 0; i < kSpinsPerClockRead; ++i) {
        const uint32_t job = generation_of(index);
        if (job != done || closing.load(std::memory_order_acquire)) return job;
        relax();
      }
    } while (std::chrono::steady_clock::now() < deadline);
    std::unique_lock<std::mutex> lock(mutex);
    // Sequentially consistent with the publication in run: either this thread sees the new job, or the caller
    // sees it parked and takes the mutex to wake it.
    parked.fetch_add(1);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    uint32_t job = done;
    wake.wait(lock, [&] {
      job = generation_of(index);
      return job != done || closing.load();
    });
    parked.fetch_sub(1);
    return job;
  }

  void run(int64_t n, sjd2::TaskFunction f, void* c) {
    ++generation;
    finished.store(0, std::memory_order_relaxed);
    // The caller's own lane last: the others start meanwhile.
    for (int64_t t = n_threads - 1; t >= 0; --t) {
      Lane& lane = lanes[static_cast<size_t>(t)];
      const sjd2::Part part = sjd2::part_of(n, t, n_threads);
      lane.function = f;
      lane.context = c;
      lane.end = part.end;
      const auto count = static_cast<uint64_t>(part.end - part.begin);
      lane.ticket.store(static_cast<uint64_t>(generation) << 32 | count, std::memory_order_release);
    }
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (parked.load(std::memory_order_relaxed) > 0) {
      {
        std::lock_guard<std::mutex> lock(mutex);
      }
      wake.notify_all();
    }
    inside_task = true;
    int64_t own = 0;
    for (Lane& lane : lanes) own += lane.work_off(generation);
    inside_task = false;
    // The last tasks are running elsewhere. On a machine with more threads than cores their thread may not
    // be: yield.
    for (int spins = 0; finished.load(std::memory_order_acquire) != n - own; ++spins) {
      if (spins < 4096) {
        relax();
      } else {
        std::this_thread::yield();
      }
    }
  }

  void close() {
    {
      std::lock_guard<std::mutex> lock(mutex);
      closing.store(true);
    }
    wake.notify_all();
    for (std::thread& thread : workers) thread.join();
  }
};

namespace sjd2 {

int32_t fail(int32_t status, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(error_text, sizeof error_text, format, arguments);
  va_end(arguments);
  return status;
}

int64_t thread_count(sjd2_stream stream) { return inside_task ? 1 : stream->n_threads; }

int64_t thread_index() { return running_index; }

void* thread_scratch(sjd2_stream stream, int64_t thread, int64_t bytes) {
  return stream->scratch[static_cast<size_t>(thread)].buffer.reserve(bytes);
}

void* call_scratch(sjd2_stream stream, int64_t slot, int64_t bytes) {
  return stream->slots[slot].reserve(bytes);
}

void run_tasks(sjd2_stream stream, int64_t n_tasks, TaskFunction function, void* context) {
  if (n_tasks <= 0) return;
  if (n_tasks == 1 || inside_task || stream->n_threads == 1 || n_tasks > INT32_MAX) {
    for (int64_t task = 0; task < n_tasks; ++task) function(context, task);
    return;
  }
  stream->run(n_tasks, function, context);
}

int32_t find_live_rows(sjd2_stream stream, LiveRows* live, const sjd2_sequence* sequences, int64_t batch,
                       int64_t max_window) {
  live->index = nullptr;
  live->count = batch * max_window;
  if (sequences == nullptr) return SJD2_OK;
  int64_t count = 0;
  for (int64_t b = 0; b < batch; ++b) {
    const int64_t rows = sequences[b].rows;
    if (rows < 0 || rows > max_window) {
      return fail(SJD2_BAD_ARGUMENT, "sequence %lld has %lld rows, expected 0..max_window=%lld",
                  static_cast<long long>(b), static_cast<long long>(rows),
                  static_cast<long long>(max_window));
    }
    count += rows;
  }
  if (count == live->count) return SJD2_OK;
  auto* index = static_cast<int32_t*>(call_scratch(stream, kRowSlot, max64(count, 1) * 4));
  if (index == nullptr)
    return fail(SJD2_OUT_OF_MEMORY, "no memory for the list of %lld rows", static_cast<long long>(count));
  int64_t next = 0;
  for (int64_t b = 0; b < batch; ++b) {
    for (int32_t w = 0; w < sequences[b].rows; ++w) index[next++] = static_cast<int32_t>(b * max_window + w);
  }
  live->index = index;
  live->count = count;
  return SJD2_OK;
}

}  // namespace sjd2

static int64_t usable_cores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
  const unsigned cores = std::thread::hardware_concurrency();
  return cores > 0 ? static_cast<int64_t>(cores) : 1;
}

SJD2_EXPORT int32_t sjd2_abi_version(void) { return SJD2_ABI_VERSION; }

SJD2_EXPORT const char* sjd2_last_error(void) { return error_text; }

SJD2_EXPORT int32_t sjd2_stream_create(sjd2_stream* out, int32_t threads, void* native) {
  if (out == nullptr) return sjd2::fail(SJD2_BAD_ARGUMENT, "stream_create: out is NULL");
  *out = nullptr;
  if (native != nullptr)
    return sjd2::fail(SJD2_BAD_ARGUMENT, "stream_create: the CPU library takes no native stream");
  if (threads > kMaxThreads) {
    return sjd2::fail(SJD2_BAD_ARGUMENT, "stream_create: %d threads, expected at most %lld", threads,
                      static_cast<long long>(kMaxThreads));
  }
  const int32_t selected = sjd2::check_selection();
  if (selected != SJD2_OK) return selected;
  const int64_t n = threads > 0 ? threads : usable_cores();
  sjd2_stream stream = nullptr;
  try {
    stream = new sjd2_stream_t(n);
    stream->workers.reserve(static_cast<size_t>(n - 1));
    for (int64_t i = 1; i < n; ++i) stream->workers.emplace_back([stream, i] { stream->worker(i); });
  } catch (const std::exception& failure) {
    if (stream != nullptr) stream->close();
    delete stream;
    return sjd2::fail(SJD2_OUT_OF_MEMORY, "stream_create: %lld threads could not be started: %s",
                      static_cast<long long>(n), failure.what());
  }
  sjd2::streams_changed(1);
  *out = stream;
  return SJD2_OK;
}

SJD2_EXPORT int32_t sjd2_stream_threads(sjd2_stream stream, int32_t* out) {
  if (stream == nullptr || out == nullptr)
    return sjd2::fail(SJD2_BAD_ARGUMENT, "stream_threads: an argument is NULL");
  *out = static_cast<int32_t>(stream->n_threads);
  return SJD2_OK;
}

SJD2_EXPORT int32_t sjd2_stream_synchronize(sjd2_stream stream) {
  // Every operation is finished when its call returns.
  return stream != nullptr ? SJD2_OK : sjd2::fail(SJD2_BAD_ARGUMENT, "stream_synchronize: stream is NULL");
}

SJD2_EXPORT int32_t sjd2_stream_destroy(sjd2_stream stream) {
  if (stream == nullptr) return SJD2_OK;
  stream->close();
  delete stream;
  sjd2::streams_changed(-1);
  return SJD2_OK;
}
