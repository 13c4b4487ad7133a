/// The engine as others embed it: open a model, ask for pictures, watch them grow, cancel.
///
/// {@link io.sjd2.Engine} is the entry. This package is the only one with a compatibility promise; the packages below
/// it are the engine's own and may change. An embedder starts the JVM with `--enable-native-access=ALL-UNNAMED` (or
/// the module that holds the engine) and needs no other flag.
@NullMarked
package io.sjd2;

import org.jspecify.annotations.NullMarked;
