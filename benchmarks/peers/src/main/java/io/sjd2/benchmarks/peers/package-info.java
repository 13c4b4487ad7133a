/// Other engines at the shapes and with the weights of our own benchmarks: what their users would write, as well as
/// they would write it.
@NullMarked
package io.sjd2.benchmarks.peers;

import org.jspecify.annotations.NullMarked;
