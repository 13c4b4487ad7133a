/// Smoke tests: every benchmark sets itself up, finds its answer right and runs once.
@org.jspecify.annotations.NullMarked
package io.sjd2.benchmarks;
