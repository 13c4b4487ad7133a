/// Every operation as the obvious scalar loop with f64 sums: the oracle of the contract tests and the last resort of
/// machines without a native library.
///
/// Nothing here is clever, and nothing here is fast. Weights are packed row-major, as they came.
package io.sjd2.kernel.reference;
