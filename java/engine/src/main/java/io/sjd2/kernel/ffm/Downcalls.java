package io.sjd2.kernel.ffm;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.invoke.MethodHandle;

/// Handles of C signatures. The symbol's address is the first argument of a handle, so that one serves every library.
final class Downcalls {
    private static final Linker LINKER = Linker.nativeLinker();

    private Downcalls() {}

    /// A function that answers a status: `P` stands for a pointer, `I` for int32, `J` for int64, `F` for float.
    static MethodHandle status(String signature) {
        return LINKER.downcallHandle(FunctionDescriptor.of(JAVA_INT, layouts(signature)));
    }

    /// A function without parameters that answers a pointer.
    static MethodHandle pointer() {
        return LINKER.downcallHandle(FunctionDescriptor.of(ADDRESS));
    }

    private static MemoryLayout[] layouts(String signature) {
        MemoryLayout[] layouts = new MemoryLayout[signature.length()];
        for (int i = 0; i < layouts.length; i++) {
            layouts[i] = switch (signature.charAt(i)) {
                case 'P' -> ADDRESS;
                case 'I' -> JAVA_INT;
                case 'J' -> JAVA_LONG;
                case 'F' -> JAVA_FLOAT;
                default -> throw new AssertionError("unknown type in signature " + signature);
            };
        }
        return layouts;
    }

    /// What to throw for a throwable out of `invokeExact`: unchecked ones as they are (a closed arena, a wrong thread);
    /// anything checked is a bug here.
    static RuntimeException unexpected(Throwable thrown) {
        if (thrown instanceof RuntimeException e) {
            return e;
        }
        if (thrown instanceof Error e) {
            throw e;
        }
        throw new AssertionError(thrown);
    }
}
