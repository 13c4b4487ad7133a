/// What the tests of several packages share: seeded generators, guarded tensors, derived tolerances and statistics.
///
/// Everything random here is a function of a seed that appears in the failure message, so that a failing case can be
/// run again. Nothing in this package is timed.
package io.sjd2.testing;
