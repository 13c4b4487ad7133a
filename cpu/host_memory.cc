// Large pieces of host memory, every page of which is there when they are handed out.
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <exception>
#include <thread>
#include <vector>

#include "common.h"
#include "sjd2/cpu.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace sjd2 {
namespace {

constexpr int64_t kLargePage = int64_t{1} << 21;

// From so many bytes on, several threads ask for the pages: the system hands them out side by side.
constexpr size_t kShare = size_t{16} << 20;
constexpr size_t kMostThreads = 8;

// Whether the pages are there, or will come as they are touched: systems that do not know the advice say EINVAL.
bool populate(char* begin, size_t size) { return madvise(begin, size, MADV_POPULATE_WRITE) == 0 || errno != ENOMEM; }

bool populate_together(char* begin, size_t size) {
  const size_t cores = std::max<size_t>(1, std::thread::hardware_concurrency());
  const size_t n = std::min({cores, kMostThreads, size / kShare});
  if (n < 2) return populate(begin, size);
  // Parts begin on large pages.
  const size_t part = (size / n + kLargePage - 1) & ~static_cast<size_t>(kLargePage - 1);
  std::atomic<bool> there{true};
  const auto one = [&there, begin, size, part](size_t at) {
    if (!populate(begin + at, std::min(part, size - at))) there = false;
  };
  std::vector<std::thread> others;
  size_t next = part;
  try {
    for (; next < size; next += part) others.emplace_back(one, next);
  } catch (const std::exception&) {
    // No thread more, or no memory to note it in: this one does what is left.
    for (; next < size; next += part) one(next);
  }
  one(0);
  for (std::thread& other : others) other.join();
  return there;
}

int32_t refused(int64_t bytes) {
  return fail(SJD2_OUT_OF_MEMORY, "host_allocate: %lld MiB cannot be had", static_cast<long long>(bytes >> 20));
}

}  // namespace
}  // namespace sjd2

SJD2_EXPORT int32_t sjd2_host_allocate(void** out, int64_t bytes) {
  if (out == nullptr) return sjd2::fail(SJD2_BAD_ARGUMENT, "host_allocate: out is NULL");
  *out = nullptr;
  if (bytes < 1 || bytes > INT64_MAX - sjd2::kLargePage) {
    return sjd2::fail(SJD2_BAD_ARGUMENT, "host_allocate: bytes is %lld, expected at least 1",
                      static_cast<long long>(bytes));
  }
  // Mapped larger than asked for and cut down to begin on a large page.
  const auto size = static_cast<size_t>(bytes);
  const size_t slack = bytes < sjd2::kLargePage ? 0 : static_cast<size_t>(sjd2::kLargePage);
  void* mapped = mmap(nullptr, size + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return sjd2::refused(bytes);
  auto* begin = static_cast<char*>(mapped);
  if (slack > 0) {
    const size_t before = -reinterpret_cast<uintptr_t>(begin) & (slack - 1);
    if (before > 0) munmap(begin, before);
    begin += before;
    // munmap takes whole pages: what is left of the last one belongs to the piece.
    const size_t pages = (size + 4095) & ~size_t{4095};
    if (slack - before > pages - size) munmap(begin + pages, slack - before - (pages - size));
    madvise(begin, size, MADV_HUGEPAGE);
  }
  // A fault per page is what first use costs otherwise: in virtual machines more than the work on the page.
  if (!sjd2::populate_together(begin, size)) {
    munmap(begin, size);
    return sjd2::refused(bytes);
  }
  *out = begin;
  return SJD2_OK;
}

SJD2_EXPORT int32_t sjd2_host_free(void* memory, int64_t bytes) {
  if (memory != nullptr && munmap(memory, static_cast<size_t>(bytes)) != 0) {
    return sjd2::fail(SJD2_BAD_ARGUMENT, "host_free: %lld bytes were not handed out by host_allocate",
                      static_cast<long long>(bytes));
  }
  return SJD2_OK;
}
