package io.sjd2.kernel;

/// A native operation failed: names the operation, the backend, the shapes and the native message. Close the backend.
public final class KernelException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    private final int status;

    public KernelException(String message, int status) {
        super(message);
        this.status = status;
    }

    public KernelException(String message, Throwable cause) {
        super(message, cause);
        this.status = 0;
    }

    /// The negative `sjd2_status` that the library returned, or 0 when the failure was on the Java side.
    public int status() {
        return status;
    }
}
