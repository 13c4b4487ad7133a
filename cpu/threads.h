// A stream of the CPU library: a pool of threads that spin briefly, then park, and scratch memory that only
// grows.
#ifndef SJD2_CPU_THREADS_H
#define SJD2_CPU_THREADS_H

#include <cstdint>
#include <type_traits>

#include "common.h"

namespace sjd2 {

// Threads of the stream, the caller among them. 1 inside a parallel_for, where nested calls run inline.
int64_t thread_count(sjd2_stream stream);

// Index of the running thread within the stream's pool: 0 is the caller.
int64_t thread_index();

// Scratch of one thread of the stream, 64-byte aligned and at least `bytes` large, or NULL if memory is
// short. It keeps what it held until it grows, and stays valid until the next call for the same thread.
void* thread_scratch(sjd2_stream stream, int64_t thread, int64_t bytes);

// Scratch that belongs to the call as a whole; taken by the caller before its parallel_for, under the same
// rules. Slots 0..7; an operation uses any of them, nothing survives the operation.
void* call_scratch(sjd2_stream stream, int64_t slot, int64_t bytes);

using TaskFunction = void (*)(void* context, int64_t task);
void run_tasks(sjd2_stream stream, int64_t n_tasks, TaskFunction function, void* context);

// f(task) for every task in [0, n_tasks), in no particular order, on all threads of the stream; returns when
// all are done. Each thread starts with tasks of its own that follow each other, then takes over what others
// have not begun. Taking a task is cheap, a call costs some cache misses: make a job worth microseconds.
// Which thread runs a task must not show in its result. Allocates nothing.
template <typename F>
inline void parallel_for(sjd2_stream stream, int64_t n_tasks, F&& f) {
  using Body = std::remove_reference_t<F>;
  run_tasks(
      stream, n_tasks, [](void* context, int64_t task) { (*static_cast<Body*>(context))(task); },
      const_cast<void*>(static_cast<const void*>(&f)));
}

// Tasks to cut `items` into, so that none is below `grain` items and threads can even each other out.
static inline int64_t task_count(sjd2_stream stream, int64_t items, int64_t grain) {
  const int64_t threads = thread_count(stream);
  if (threads <= 1 || items <= grain) return items > 0 ? 1 : 0;
  return min64(items / grain > 0 ? items / grain : 1, threads * 4);
}

// [begin, end) of part `i` of `n` even parts of `items`.
struct Part {
  int64_t begin;
  int64_t end;
};
static inline Part part_of(int64_t items, int64_t i, int64_t n) {
  return {items * i / n, items * (i + 1) / n};
}

}  // namespace sjd2

#endif  // SJD2_CPU_THREADS_H
