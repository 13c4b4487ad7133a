/// Image tokenisers: pictures to grids of codes and back.
///
/// [io.sjd2.vq.ImageTokenizer] is what the engine and the trainer see, [io.sjd2.vq.ImageCodec] the same before a size
/// is chosen; [io.sjd2.vq.ImageTokenizers] opens them. [io.sjd2.vq.VqTokenizer] runs the convolutional networks of
/// the published families, described by [io.sjd2.vq.VqConfig]. [io.sjd2.vq.PatchTokenizer] is the one of the demo
/// model, a table of small patches, and [io.sjd2.vq.PatchCodebookTrainer] makes that table by k-means.
@NullMarked
package io.sjd2.vq;

import org.jspecify.annotations.NullMarked;
