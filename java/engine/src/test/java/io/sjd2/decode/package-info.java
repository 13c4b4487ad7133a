/// Tests of the decoders: fixtures, the exact-law harness over tables, equality with autoregression, and their mutants.
///
/// Everything runs through the real {@link io.sjd2.decode.Decoder} over a forward pass backed by a table, on the
/// reference and on the native operations alike.
package io.sjd2.decode;
