/// Files in and out: safetensors, JSON, PNG, and the atomic writes beneath all of them.
///
/// Every reader treats its file as hostile: sizes are checked against the file before anything is allocated, and a
/// file that breaks its format ends in a [io.sjd2.io.ModelFormatException] that names the file, the value and the
/// remedy. Every writer goes through [io.sjd2.io.AtomicFiles], so that a reader sees the old file or the new one and
/// never half of either.
package io.sjd2.io;
