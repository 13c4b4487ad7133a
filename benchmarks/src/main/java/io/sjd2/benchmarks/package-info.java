/// Measurements that can be believed: JMH benchmarks of every operation, of whole passes and of generation, each
/// of which checks its answer before it is timed and knows what it cost in bytes and operations.
///
/// {@link io.sjd2.benchmarks.BenchMain} runs a selection, measures the machine's own limits beside it and says how
/// far each result is from them. Every class is also an ordinary JMH benchmark, to be run by its name with JMH's
/// own options.
@NullMarked
package io.sjd2.benchmarks;

import org.jspecify.annotations.NullMarked;
