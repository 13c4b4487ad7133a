/// Decoding: from a prompt's forward pass to committed tokens, by autoregression, Jacobi iteration, SJD and SJD2.
///
/// {@link io.sjd2.decode.Decoder} is one loop for all of them: what differs between decoders happens in the kernels'
/// `windowInput` and `verify`, told apart by the state block. The model is seen as {@link io.sjd2.model.ForwardPass},
/// so that tests drive the real loop with tables. Nothing here reads a logit or allocates per iteration.
/// `docs/decoding.md` states and derives the algorithms.
@NullMarked
package io.sjd2.decode;

import org.jspecify.annotations.NullMarked;
