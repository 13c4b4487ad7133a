package io.sjd2.kernel;

/// The reference against the naive loops of the tests: each checks the other.
class ReferenceKernelsTest extends KernelsContract {
    @Override
    Backend open(int threads) {
        return Backends.open("reference", threads);
    }
}
