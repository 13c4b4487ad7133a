/// The seam between the engine and the hardware: what a backend must offer, and how it fails.
///
/// {@link io.sjd2.kernel.Kernels} is the closed set of operations of inference, {@link io.sjd2.kernel.TrainingKernels}
/// its training half. Contracts only: no arithmetic lives here, and nothing here imports an implementation of itself.
package io.sjd2.kernel;
