/// Tools that compare the engine with other implementations: they read and write safetensors and JSON files.
///
/// {@link io.sjd2.debug.DebugLogits} runs a model's transformer on given inputs, {@link io.sjd2.debug.DebugTokens}
/// its text tokeniser. Nothing of the engine depends on this package.
@NullMarked
package io.sjd2.debug;

import org.jspecify.annotations.NullMarked;
