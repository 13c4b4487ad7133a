// Which instruction set's training operations this process runs.
#ifndef SJD2_CPU_TRAINING_ABI_H
#define SJD2_CPU_TRAINING_ABI_H

#include <initializer_list>

#include "training_table.h"

namespace sjd2 {

// The table that fits the instruction set chosen at load (sjd2_isa()).
const TrainingTable& training_operations();

}  // namespace sjd2

#endif
