/// Training: pre-training of small models and the next-clean-token fine-tuning that speculative denoising needs.
///
/// A {@link io.sjd2.train.Trainer} draws batches from a {@link io.sjd2.train.TrainingData}, runs the network forward
/// and backward through {@link io.sjd2.kernel.TrainingKernels} and updates the weights. Everything random is a
/// function of (seed, step, index), so a run that was killed continues from its checkpoint bit for bit.
@NullMarked
package io.sjd2.train;

import org.jspecify.annotations.NullMarked;
