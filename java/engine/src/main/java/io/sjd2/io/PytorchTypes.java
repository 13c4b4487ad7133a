package io.sjd2.io;

import java.util.Map;

/// PyTorch's names of element types, and the words that safetensors has for them.
final class PytorchTypes {
    /// More axes than any weight has.
    static final int MAX_RANK = 64;

    /// A storage of bytes, whose tensors say what they are.
    static final String UNTYPED = "UntypedStorage";

    private static final Map<String, String> STORAGES = Map.of(
            "FloatStorage", "F32",
            "HalfStorage", "F16",
            "BFloat16Storage", "BF16",
            "DoubleStorage", "F64",
            "LongStorage", "I64",
            "IntStorage", "I32",
            "ShortStorage", "I16",
            "CharStorage", "I8",
            "ByteStorage", "U8",
            "BoolStorage", "BOOL");
    private static final Map<String, String> DTYPES = Map.ofEntries(
            Map.entry("float32", "F32"),
            Map.entry("float", "F32"),
            Map.entry("float16", "F16"),
            Map.entry("half", "F16"),
            Map.entry("bfloat16", "BF16"),
            Map.entry("float64", "F64"),
            Map.entry("double", "F64"),
            Map.entry("int64", "I64"),
            Map.entry("int32", "I32"),
            Map.entry("int16", "I16"),
            Map.entry("int8", "I8"),
            Map.entry("uint8", "U8"),
            Map.entry("bool", "BOOL"));

    private PytorchTypes() {}

    static boolean isStorage(String name) {
        return STORAGES.containsKey(name) || name.equals(UNTYPED);
    }

    static boolean isDtype(String name) {
        return DTYPES.containsKey(name);
    }

    /// Bytes of one element of a storage.
    static int bytes(String storage) {
        return storage.equals(UNTYPED) ? 1 : Safetensors.bytesPerElement(STORAGES.get(storage));
    }

    /// The element type of a tensor, in safetensors' words; bytes where nothing says more.
    static String dtype(PytorchPickle.Tensor tensor) {
        String own = tensor.dtype();
        if (own != null) {
            return DTYPES.get(own);
        }
        String storage = tensor.storage().type();
        return storage.equals(UNTYPED) ? "U8" : STORAGES.get(storage);
    }
}
