// Operations that go row by row: tasks of whole live rows, so that no sum is ever cut by a task's edge.
#ifndef SJD2_CPU_ROWS_H
#define SJD2_CPU_ROWS_H

#include "threads.h"

namespace sjd2::SJD2_ISA {

// Elements below which handing work to another thread costs more than the work: about 2 us of one core.
constexpr int64_t kRowGrain = 16384;

// f(row) for every live row; `width` elements are touched per row.
template <typename F>
static inline int32_t for_live_rows(sjd2_stream stream, const sjd2_sequence* sequences, int64_t batch,
                                    int64_t max_window, int64_t width, F&& f) {
  LiveRows live;
  const int32_t found = find_live_rows(stream, &live, sequences, batch, max_window);
  if (found != SJD2_OK) return found;
  const int64_t rows_per_task = div_up(kRowGrain, max64(width, 1));
  const int64_t tasks = task_count(stream, live.count, rows_per_task);
  parallel_for(stream, tasks, [&](int64_t task) {
    const Part part = part_of(live.count, task, tasks);
    for (int64_t i = part.begin; i < part.end; ++i) f(live[i]);
  });
  return SJD2_OK;
}

}  // namespace sjd2::SJD2_ISA

#endif  // SJD2_CPU_ROWS_H
