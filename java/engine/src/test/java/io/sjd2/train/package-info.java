/// Tests of training: the golden gradients in f64 and f32, every operation against plain loops, and what a run
/// promises: that it learns, that threads do not show, and that a killed run continues bit for bit.
package io.sjd2.train;
