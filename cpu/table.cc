// One instruction set's operations; compiled once per set.
#include "ops.h"

#ifndef SJD2_BASE_ISA
#define SJD2_BASE_ISA SJD2_ISA
#endif

#define SJD2_NOTHING(name)
#define SJD2_DECLARE(name) decltype(::sjd2_##name) name;

namespace sjd2::SJD2_ISA {
#define SJD2_DECLARE_EVERY(name) SJD2_DECLARE(name)
#define SJD2_DECLARE_BASE(name) SJD2_NOTHING(name)
#define SJD2_DECLARE_KIND(kind, name) SJD2_DECLARE_##kind(name)
SJD2_ALL_OPS(SJD2_DECLARE_KIND)
#undef SJD2_DECLARE_EVERY
#undef SJD2_DECLARE_BASE
}  // namespace sjd2::SJD2_ISA

namespace sjd2::SJD2_BASE_ISA {
#define SJD2_DECLARE_EVERY(name) SJD2_NOTHING(name)
#define SJD2_DECLARE_BASE(name) SJD2_DECLARE(name)
SJD2_ALL_OPS(SJD2_DECLARE_KIND)
}  // namespace sjd2::SJD2_BASE_ISA

namespace sjd2::SJD2_ISA {

extern const Ops table;
const Ops table = {
#define SJD2_ENTRY_EVERY(name) sjd2::SJD2_ISA::name
#define SJD2_ENTRY_BASE(name) sjd2::SJD2_BASE_ISA::name
#define SJD2_ENTRY(kind, name) .name = SJD2_ENTRY_##kind(name),
    SJD2_ALL_OPS(SJD2_ENTRY)};

}  // namespace sjd2::SJD2_ISA
