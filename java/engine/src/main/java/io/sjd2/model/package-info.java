/// One decoder-only transformer described by data, its weights, its KV cache and its forward pass.
///
/// {@link io.sjd2.model.ModelDescription} says what a checkpoint is: shapes, norm placement, rotary kind, names of
/// weights, prompt frame. Families are descriptions, never classes. {@link io.sjd2.model.Transformer} holds the
/// packed weights and {@link io.sjd2.model.TransformerForward} runs them; decoders see only {@link
/// io.sjd2.model.ForwardPass}.
@NullMarked
package io.sjd2.model;

import org.jspecify.annotations.NullMarked;
