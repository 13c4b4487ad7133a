/// Image tokenisers: pictures to grids of codes and back.
///
/// [io.sjd2.vq.ImageTokenizer] is what the engine and the trainer see. [io.sjd2.vq.PatchTokenizer] is the one of the
/// demo model, a table of small patches, and [io.sjd2.vq.PatchCodebookTrainer] makes that table by k-means.
package io.sjd2.vq;
