package io.sjd2.model;

import io.sjd2.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/// A packed matrix with its extents.
///
/// @param weight  packed `[nOut, nIn]`
/// @param bias    `[nOut]` f32 or null
record Linear(Tensor weight, @Nullable Tensor bias, int nOut, int nIn) {}
