package io.sjd2.io;

import java.io.IOException;

/// A file that exists but does not hold what its format promises, or is not the file it was taken for.
///
/// The message reads `file: what was found; what to do about it`, so that a command line can print it as it stands.
public final class ModelFormatException extends IOException {
    private static final long serialVersionUID = 1L;

    /// @param source  the file, or the name under which bytes were handed over
    /// @param problem what was found there, with the offending value
    /// @param remedy  what the reader of the message can do
    public ModelFormatException(String source, String problem, String remedy) {
        super(source + ": " + problem + "; " + remedy);
    }

    /// As [#ModelFormatException(String, String, String)], keeping the failure that revealed the problem.
    public ModelFormatException(String source, String problem, String remedy, Throwable cause) {
        super(source + ": " + problem + "; " + remedy, cause);
    }
}
