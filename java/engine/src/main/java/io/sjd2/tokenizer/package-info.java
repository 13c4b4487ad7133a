/// Text to token ids and back, from the `tokenizer.json` that models are published with.
///
/// [io.sjd2.tokenizer.Tokenizer] reads the file and does what its components say: normalisers, pre-tokenisers,
/// byte-pair merges, post-processors, decoders, added tokens. A component that is not built ends in an error that names
/// it, never in slightly different ids. [io.sjd2.tokenizer.WordTokenizerBuilder] makes such a file for the demo model.
package io.sjd2.tokenizer;
