package io.sjd2.kernel;

/// A native operation failed: names the operation, the backend, the shapes and the native message. Close the backend.
public final class KernelException extends RuntimeException {
    private static final long serialVersionUID = 1L;
    /// `SJD2_OUT_OF_MEMORY`.
    private static final int OUT_OF_MEMORY = -3;
    /// `SJD2_DEVICE_LOST`.
    private static final int DEVICE_LOST = -5;

    private final int status;

    public KernelException(String message, int status) {
        super(message);
        this.status = status;
    }

    public KernelException(String message, Throwable cause) {
        super(message, cause);
        this.status = 0;
    }

    /// Whether the device had not enough memory; the backend may be used on.
    public boolean outOfMemory() {
        return status == OUT_OF_MEMORY;
    }

    /// Whether the device is gone: everything on it can be closed and nothing else.
    public boolean deviceLost() {
        return status == DEVICE_LOST;
    }

    /// The same failure with more to say about it.
    public KernelException explained(String more) {
        KernelException explained = new KernelException(getMessage() + "; " + more, status);
        explained.initCause(this);
        return explained;
    }

    /// The negative `sjd2_status` that the library returned, or 0 when the failure was on the Java side.
    public int status() {
        return status;
    }
}
