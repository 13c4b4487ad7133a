// The training half of the choice that dispatch.cc makes: the table of the same instruction set.

#include <cstring>

#include "training_abi.h"

namespace sjd2 {

#define SJD2_DECLARE_SET(isa)                \
  namespace isa::training {                  \
  extern const TrainingTable training_table; \
  }
SJD2_DECLARE_SET(generic)
#ifdef SJD2_HAVE_avx2
SJD2_DECLARE_SET(avx2)
#endif
#ifdef SJD2_HAVE_avx512
SJD2_DECLARE_SET(avx512)
#endif
#ifdef SJD2_HAVE_avx512bf16
SJD2_DECLARE_SET(avx512bf16)
#endif
#ifdef SJD2_HAVE_amx
SJD2_DECLARE_SET(amx)
#endif
#undef SJD2_DECLARE_SET

// Asked per call, because tests change the set between streams; a few short compares against microseconds of work.
const TrainingTable& training_operations() {
  const char* isa = sjd2_isa();
#ifdef SJD2_HAVE_amx
  if (std::strcmp(isa, "amx") == 0) return amx::training::training_table;
#endif
#ifdef SJD2_HAVE_avx512bf16
  if (std::strcmp(isa, "avx512-bf16") == 0) return avx512bf16::training::training_table;
#endif
#ifdef SJD2_HAVE_avx512
  if (std::strcmp(isa, "avx512") == 0) return avx512::training::training_table;
#endif
#ifdef SJD2_HAVE_avx2
  if (std::strcmp(isa, "avx2") == 0) return avx2::training::training_table;
#endif
  (void)isa;
  return generic::training::training_table;
}

}  // namespace sjd2
