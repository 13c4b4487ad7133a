// Chooses the instruction set once, when the library is loaded.
#include <atomic>
#include <cstdlib>
#include <cstring>

#include "ops.h"
#include "sjd2/cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace sjd2 {

namespace generic {
extern const Ops table;
}
#ifdef SJD2_HAVE_avx2
namespace avx2 {
extern const Ops table;
}
#endif
#ifdef SJD2_HAVE_avx512
namespace avx512 {
extern const Ops table;
}
#endif
#ifdef SJD2_HAVE_avx512bf16
namespace avx512bf16 {
extern const Ops table;
}
#endif
#ifdef SJD2_HAVE_amx
namespace amx {
extern const Ops table;
}
#endif

namespace {

#if defined(__x86_64__)

bool has_avx2() {
  __builtin_cpu_init();
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0) return false;
  const bool movbe = (c >> 22 & 1) != 0, f16c = (c >> 29 & 1) != 0;
  if (__get_cpuid(0x80000001, &a, &b, &c, &d) == 0) return false;
  const bool lzcnt = (c >> 5 & 1) != 0;
  return movbe && f16c && lzcnt && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
}

bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
}

[[maybe_unused]] bool has_avx512bf16() { return has_avx512() && __builtin_cpu_supports("avx512bf16"); }

// Tiles need the processor, an operating system that saves their state, and its permission, given once per
// process.
[[maybe_unused]] bool has_amx() {
  if (!has_avx512bf16()) return false;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  const bool tiles = (d >> 24 & 1) != 0, bf16 = (d >> 22 & 1) != 0;
  if (!tiles || !bf16) return false;
  unsigned low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  constexpr unsigned kTileState = 3u << 17;
  if ((low & kTileState) != kTileState) return false;
  constexpr int kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

#endif

struct Set {
  const char* name;
  const Ops* table;
  bool available;
};

// Narrowest first.
struct Sets {
  Set all[5];
  int count = 0;

  void add(const char* name, const Ops* table, bool available) { all[count++] = {name, table, available}; }

  Sets() {
    add("generic", &generic::table, true);
#ifdef SJD2_HAVE_avx2
    add("avx2", &avx2::table, has_avx2());
#endif
#ifdef SJD2_HAVE_avx512
    add("avx512", &avx512::table, has_avx512());
#endif
#ifdef SJD2_HAVE_avx512bf16
    add("avx512-bf16", &avx512bf16::table, has_avx512bf16());
#endif
#ifdef SJD2_HAVE_amx
    add("amx", &amx::table, has_amx());
#endif
  }

  const Set* find(const char* name) const {
    for (int i = 0; i < count; ++i) {
      if (std::strcmp(all[i].name, name) == 0) return &all[i];
    }
    return nullptr;
  }

  const Set* best() const {
    const Set* best = &all[0];
    for (int i = 1; i < count; ++i) {
      if (all[i].available) best = &all[i];
    }
    return best;
  }

  void list(char* buffer, size_t n) const {
    size_t used = 0;
    buffer[0] = '\0';
    for (int i = 0; i < count; ++i) {
      if (!all[i].available) continue;
      const size_t length = std::strlen(all[i].name) + (used > 0 ? 1 : 0);
      if (used + length + 1 > n) return;
      if (used > 0) buffer[used++] = ',';
      std::strcpy(buffer + used, all[i].name);
      used = std::strlen(buffer);
    }
  }
};

const Sets& sets() {
  static const Sets instance;
  return instance;
}

const char* requested() {
  const char* name = std::getenv("SJD2_CPU_ISA");
  return name != nullptr && name[0] != '\0' ? name : nullptr;
}

// NULL when SJD2_CPU_ISA names a set that cannot be used: a request is never answered with something else.
const Set* choose(const char* name) {
  if (name == nullptr) return sets().best();
  const Set* set = sets().find(name);
  return set != nullptr && set->available ? set : nullptr;
}

std::atomic<const Set*>& selected() {
  static std::atomic<const Set*> set{choose(requested())};
  return set;
}

std::atomic<int32_t> streams{0};

}  // namespace

const Ops& ops() { return *selected().load(std::memory_order_relaxed)->table; }

void streams_changed(int32_t by) { streams.fetch_add(by); }

int32_t check_selection() {
  if (selected().load() != nullptr) return SJD2_OK;
  char names[64];
  sets().list(names, sizeof names);
  return fail(SJD2_UNSUPPORTED, "SJD2_CPU_ISA=%.32s cannot be used here; available: %s", requested(), names);
}

}  // namespace sjd2

SJD2_EXPORT const char* sjd2_isa(void) {
  const auto* set = sjd2::selected().load();
  return set != nullptr ? set->name : "none";
}

SJD2_EXPORT int32_t sjd2_isa_available(char* buffer, int64_t n) {
  if (buffer == nullptr) return sjd2::fail(SJD2_BAD_ARGUMENT, "isa_available: buffer is NULL");
  char names[64];
  sjd2::sets().list(names, sizeof names);
  const auto needed = static_cast<int64_t>(std::strlen(names)) + 1;
  if (n < needed) {
    return sjd2::fail(SJD2_BAD_SHAPE, "isa_available: buffer has %lld bytes, expected %lld",
                      static_cast<long long>(n), static_cast<long long>(needed));
  }
  std::memcpy(buffer, names, static_cast<size_t>(needed));
  return SJD2_OK;
}

SJD2_EXPORT int32_t sjd2_select_isa(const char* name) {
  if (sjd2::streams.load() != 0) return sjd2::fail(SJD2_BAD_ARGUMENT, "select_isa: close every stream first");
  if (name == nullptr) {
    sjd2::selected().store(sjd2::choose(sjd2::requested()));
    return SJD2_OK;
  }
  char names[64];
  sjd2::sets().list(names, sizeof names);
  const auto* set = sjd2::sets().find(name);
  if (set == nullptr)
    return sjd2::fail(SJD2_BAD_ARGUMENT, "select_isa: unknown set %.32s; available: %s", name, names);
  if (!set->available) {
    return sjd2::fail(SJD2_UNSUPPORTED, "select_isa: this machine lacks %s; available: %s", set->name, names);
  }
  sjd2::selected().store(set);
  return SJD2_OK;
}
