/// Element types, shapes and borrowed memory.
///
/// A {@link io.sjd2.tensor.Tensor} never owns what it points to: every byte, on the host or on a device, belongs to an
/// {@link java.lang.foreign.Arena} and dies with it. This package imports `java.base` only.
package io.sjd2.tensor;
