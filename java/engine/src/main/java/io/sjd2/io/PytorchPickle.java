package io.sjd2.io;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// The part of Python's pickle language that a file of tensors needs: a stack machine over plain values.
///
/// Nothing is ever called. The few functions that may be named are recognised and answered with values of this class;
/// any other name is an error that gives it. Values are `null`, [Boolean], [Long], [BigInteger], [Double], [String],
/// `byte[]`, [List] for lists and tuples and sets, [Map] for dictionaries, and [Tensor]. Memory stays proportional to
/// the program's length: no instruction makes more than it spells out.
final class PytorchPickle {
    /// A stretch of memory that tensors look into.
    ///
    /// @param type     the storage's class: `FloatStorage`, `UntypedStorage` ...
    /// @param key      its name within the file
    /// @param elements of its type
    /// @param first    its first element, within the memory of that name
    record Storage(String type, String key, long elements, long first) {}

    /// A view of a storage.
    ///
    /// @param dtype   what overrides the storage's own element type, or null
    /// @param offset  in elements
    /// @param shape   extents
    /// @param strides in elements
    record Tensor(Storage storage, @Nullable String dtype, long offset, long[] shape, long[] strides) {}

    private static final String REMEDY =
            "only tensors, dicts, lists, tuples and plain values are read; save the weights alone, or as safetensors";
    private static final Object MARK = new Object();
    private static final int LONGEST_NUMBER = 256;

    /// What GLOBAL may name.
    private enum Known {
        REBUILD_TENSOR,
        REBUILD_TENSOR_WITH_DTYPE,
        REBUILD_PARAMETER,
        DICTIONARY,
        SIZE,
        NAMESPACE,
        DEVICE
    }

    private static final Map<String, Known> KNOWN = Map.of(
            "torch._utils._rebuild_tensor", Known.REBUILD_TENSOR,
            "torch._utils._rebuild_tensor_v2", Known.REBUILD_TENSOR,
            "torch._utils._rebuild_tensor_v3", Known.REBUILD_TENSOR_WITH_DTYPE,
            "torch._utils._rebuild_parameter", Known.REBUILD_PARAMETER,
            "collections.OrderedDict", Known.DICTIONARY,
            "torch.Size", Known.SIZE,
            "torch.device", Known.DEVICE,
            // A container of plain values, as training scripts put their arguments beside the weights.
            "argparse.Namespace", Known.NAMESPACE);

    /// An object whose attributes are its content.
    private static final class Namespace extends LinkedHashMap<Object, @Nullable Object> {
        private static final long serialVersionUID = 1L;
    }

    /// A storage class or an element type.
    private record TypeName(String name) {}

    private final String source;
    private final MemorySegment program;
    private long at;
    private final ArrayList<@Nullable Object> stack = new ArrayList<>();
    private final Map<Long, @Nullable Object> memo = new HashMap<>();

    /// @param program whole file or entry; reading starts at `start`
    /// @param source  for messages
    PytorchPickle(MemorySegment program, long start, String source) {
        this.program = program;
        this.at = start;
        this.source = source;
    }

    /// Where the last program ended.
    long position() {
        return at;
    }

    /// Runs one program.
    ///
    /// @throws ModelFormatException if it is damaged or wants what is not known
    @Nullable
    Object run() throws ModelFormatException {
        stack.clear();
        memo.clear();
        while (true) {
            long here = at;
            int op = unsigned(1, "an instruction");
            if (op == '.') {
                Object result = pop();
                if (result == MARK) {
                    throw damaged("ends with a mark instead of a value");
                }
                return result;
            }
            step(op, here);
        }
    }

    private void step(int op, long here) throws ModelFormatException {
        switch (op) {
            case 0x80 -> {
                int protocol = unsigned(1, "the protocol");
                if (protocol > 5) {
                    throw damaged("is pickled by protocol " + protocol + ", known are 0 to 5");
                }
            }
            case 0x95 -> skip(8); // FRAME
            case '(' -> stack.add(MARK);
            case '0' -> pop();
            case '1' -> aboveMark();
            case '2' -> {
                Object top = pop();
                stack.add(top);
                stack.add(top);
            }
            case 'N' -> stack.add(null);
            case 0x88 -> stack.add(true);
            case 0x89 -> stack.add(false);
            case 'J' -> stack.add((long) (int) little(4));
            case 'K' -> stack.add(little(1));
            case 'M' -> stack.add(little(2));
            case 0x8a -> stack.add(whole(little(1)));
            case 0x8b -> stack.add(whole(little(4)));
            case 'I', 'L' -> stack.add(decimal(line()));
            case 'F' -> stack.add(floating(line()));
            case 'G' -> stack.add(Double.longBitsToDouble(Long.reverseBytes(little(8))));
            case 'S' -> stack.add(quoted(line()));
            case 'V' -> stack.add(line());
            case 'T', 'X' -> stack.add(text(little(4)));
            case 'U', 0x8c -> stack.add(text(little(1)));
            case 0x8d -> stack.add(text(little(8)));
            case 'B' -> stack.add(bytes(little(4)));
            case 'C' -> stack.add(bytes(little(1)));
            case 0x8e, 0x96 -> stack.add(bytes(little(8)));
            case ']', 0x8f -> stack.add(new ArrayList<>());
            case ')' -> stack.add(List.of());
            case '}' -> stack.add(new LinkedHashMap<>());
            case 'l', 0x91 -> stack.add(new ArrayList<>(aboveMark()));
            case 't' -> stack.add(Collections.unmodifiableList(aboveMark()));
            case 0x85 -> stack.add(tuple(1));
            case 0x86 -> stack.add(tuple(2));
            case 0x87 -> stack.add(tuple(3));
            case 'd' -> {
                Map<Object, @Nullable Object> map = new LinkedHashMap<>();
                putAll(map, aboveMark());
                stack.add(map);
            }
            case 'a' -> {
                Object value = pop();
                list().add(value);
            }
            case 'e', 0x90 -> {
                List<@Nullable Object> values = aboveMark();
                list().addAll(values);
            }
            case 's' -> {
                Object value = pop();
                Object key = pop();
                putAll(dictionary(), Arrays.asList(key, value));
            }
            case 'u' -> {
                List<@Nullable Object> values = aboveMark();
                putAll(dictionary(), values);
            }
            case 'p' -> memo.put(index(line()), top());
            case 'q' -> memo.put(little(1), top());
            case 'r' -> memo.put(little(4), top());
            case 0x94 -> memo.put((long) memo.size(), top());
            case 'g' -> stack.add(remembered(index(line())));
            case 'h' -> stack.add(remembered(little(1)));
            case 'j' -> stack.add(remembered(little(4)));
            case 'c' -> {
                String module = line();
                stack.add(named(module, line()));
            }
            case 0x93 -> {
                Object name = pop();
                Object module = pop();
                if (!(module instanceof String m && name instanceof String n)) {
                    throw damaged("names a global by something that is no text");
                }
                stack.add(named(m, n));
            }
            case 'R' -> {
                Object arguments = pop();
                Object function = pop();
                stack.add(call(function, arguments));
            }
            case 0x81 -> {
                Object arguments = pop();
                Object type = pop();
                stack.add(call(type, arguments));
            }
            case 'b' -> build();
            case 'Q' -> stack.add(storage(pop()));
            case 'P' -> throw damaged("refers to a storage by text, as no version of PyTorch does");
            default ->
                throw new ModelFormatException(
                        source,
                        String.format("holds the pickle instruction 0x%02x at byte %d, which is not known", op, here),
                        REMEDY);
        }
    }

    /// Looks a name up; nothing of that name is loaded, let alone run.
    private Object named(String module, String name) throws ModelFormatException {
        String full = module + "." + name;
        Known known = KNOWN.get(full);
        if (known != null) {
            return known;
        }
        boolean ofTorch = module.equals("torch") || module.equals("torch.storage");
        if (ofTorch && (PytorchTypes.isStorage(name) || PytorchTypes.isDtype(name))) {
            return new TypeName(name);
        }
        throw new ModelFormatException(source, "refers to " + printable(full) + ", which is refused", REMEDY);
    }

    private static String printable(String text) {
        String head = text.length() > 120 ? text.substring(0, 120) + ".." : text;
        return head.replaceAll("[^\\x20-\\x7e]", "?");
    }

    private @Nullable Object call(@Nullable Object function, @Nullable Object arguments) throws ModelFormatException {
        if (!(arguments instanceof List<?> values)) {
            throw damaged("hands over arguments that are no tuple");
        }
        if (!(function instanceof Known known)) {
            throw new ModelFormatException(source, "calls something that is no known function", REMEDY);
        }
        return switch (known) {
            case REBUILD_TENSOR -> tensor(values, null);
            case REBUILD_TENSOR_WITH_DTYPE -> {
                if (values.size() < 7 || !(values.get(6) instanceof TypeName type)) {
                    throw damaged("rebuilds a tensor without its element type");
                }
                yield tensor(values, type.name());
            }
            case REBUILD_PARAMETER -> {
                if (values.isEmpty() || !(values.getFirst() instanceof Tensor tensor)) {
                    throw damaged("rebuilds a parameter from something that is no tensor");
                }
                yield tensor;
            }
            case DICTIONARY, NAMESPACE -> {
                Map<Object, @Nullable Object> map = known == Known.NAMESPACE ? new Namespace() : new LinkedHashMap<>();
                if (!values.isEmpty()) {
                    if (!(values.getFirst() instanceof List<?> pairs)) {
                        throw damaged("fills a dictionary from something that is no list");
                    }
                    for (Object pair : pairs) {
                        if (!(pair instanceof List<?> two) || two.size() != 2) {
                            throw damaged("fills a dictionary from something that is no pair");
                        }
                        putAll(map, two);
                    }
                }
                yield map;
            }
            case SIZE -> {
                if (values.size() != 1 || !(values.getFirst() instanceof List<?> extents)) {
                    throw damaged("gives a size that is no tuple");
                }
                yield extents;
            }
            case DEVICE -> values;
        };
    }

    private Tensor tensor(List<?> values, @Nullable String dtype) throws ModelFormatException {
        if (values.size() < 4
                || !(values.getFirst() instanceof Storage storage)
                || !(values.get(1) instanceof Long offset)) {
            throw damaged("rebuilds a tensor from other things than a storage, an offset, a shape and strides");
        }
        long[] shape = extents(values.get(2));
        long[] strides = extents(values.get(3));
        if (shape.length != strides.length || offset < 0) {
            throw damaged("rebuilds a tensor of shape " + Arrays.toString(shape) + " with strides "
                    + Arrays.toString(strides) + " from element " + offset);
        }
        return new Tensor(storage, dtype, offset, shape, strides);
    }

    private long[] extents(@Nullable Object value) throws ModelFormatException {
        if (!(value instanceof List<?> list) || list.size() > PytorchTypes.MAX_RANK) {
            throw damaged("gives a shape that is no tuple of at most " + PytorchTypes.MAX_RANK + " numbers");
        }
        long[] out = new long[list.size()];
        for (int i = 0; i < out.length; i++) {
            if (!(list.get(i) instanceof Long extent) || extent < 0) {
                throw damaged("gives a shape with an extent that is no number >= 0");
            }
            out[i] = extent;
        }
        return out;
    }

    /// `("storage", class, key, device, elements)`; in the oldest files followed by None or `(key, first, elements)`.
    private Storage storage(@Nullable Object id) throws ModelFormatException {
        if (!(id instanceof List<?> parts)
                || parts.size() < 5
                || !"storage".equals(parts.getFirst())
                || !(parts.get(1) instanceof TypeName type)
                || !PytorchTypes.isStorage(type.name())
                || !(parts.get(2) instanceof String key)
                || !(parts.get(4) instanceof Long elements)
                || elements < 0) {
            throw damaged("refers to a storage in a form that is not known");
        }
        if (parts.size() > 5 && parts.get(5) instanceof List<?> view) {
            if (view.size() != 3
                    || !(view.get(1) instanceof Long first)
                    || !(view.get(2) instanceof Long length)
                    || first < 0
                    || length < 0
                    || first > elements - length) {
                throw damaged("refers to a part of a storage that is not inside of it");
            }
            return new Storage(type.name(), key, length, first);
        }
        return new Storage(type.name(), key, elements, 0);
    }

    /// State given to an object: a dictionary's attributes do not matter, a namespace's are its content.
    private void build() throws ModelFormatException {
        Object state = pop();
        if (dictionary() instanceof Namespace namespace && state instanceof Map<?, ?> attributes) {
            attributes.forEach(namespace::put);
        }
    }

    private @Nullable Object top() throws ModelFormatException {
        if (stack.isEmpty() || stack.getLast() == MARK) {
            throw damaged("remembers a value where there is none");
        }
        return stack.getLast();
    }

    private @Nullable Object pop() throws ModelFormatException {
        if (stack.isEmpty()) {
            throw damaged("takes a value from an empty stack");
        }
        return stack.removeLast();
    }

    private List<@Nullable Object> tuple(int n) throws ModelFormatException {
        @Nullable Object[] values = new Object[n];
        for (int i = n - 1; i >= 0; i--) {
            values[i] = pop();
        }
        return Collections.unmodifiableList(Arrays.asList(values));
    }

    private List<@Nullable Object> aboveMark() throws ModelFormatException {
        int mark = stack.size() - 1;
        while (mark >= 0 && stack.get(mark) != MARK) {
            mark--;
        }
        if (mark < 0) {
            throw damaged("closes a group that was never opened");
        }
        List<@Nullable Object> above = stack.subList(mark + 1, stack.size());
        List<@Nullable Object> values = new ArrayList<>(above);
        stack.subList(mark, stack.size()).clear();
        return values;
    }

    @SuppressWarnings("unchecked") // lists that may grow are made by this class alone
    private ArrayList<@Nullable Object> list() throws ModelFormatException {
        if (top() instanceof ArrayList<?> list) {
            return (ArrayList<@Nullable Object>) list;
        }
        throw damaged("appends to something that is no list");
    }

    @SuppressWarnings("unchecked") // maps are made by this class alone
    private Map<Object, @Nullable Object> dictionary() throws ModelFormatException {
        if (top() instanceof LinkedHashMap<?, ?> map) {
            return (Map<Object, @Nullable Object>) map;
        }
        throw damaged("sets an item of something that is no dictionary");
    }

    private void putAll(Map<Object, @Nullable Object> map, List<?> values) throws ModelFormatException {
        if (values.size() % 2 != 0) {
            throw damaged("sets a key without a value");
        }
        for (int i = 0; i < values.size(); i += 2) {
            Object key = values.get(i);
            if (!(key instanceof String || key instanceof Long || key instanceof Boolean || key instanceof Double)) {
                throw damaged("uses a key that is neither text nor a number");
            }
            map.put(key, values.get(i + 1));
        }
    }

    private @Nullable Object remembered(long index) throws ModelFormatException {
        Object value = memo.get(index);
        if (value == null && !memo.containsKey(index)) {
            throw damaged("recalls a value that it never remembered");
        }
        return value;
    }

    private long index(String text) throws ModelFormatException {
        if (decimal(text) instanceof Long index) {
            return index;
        }
        throw damaged("counts remembered values in an unknown way");
    }

    private Object decimal(String line) throws ModelFormatException {
        String text = line.endsWith("L") ? line.substring(0, line.length() - 1) : line;
        if (line.equals("00") || line.equals("01")) {
            return line.equals("01");
        }
        if (text.isEmpty() || text.length() > LONGEST_NUMBER) {
            throw damaged("holds a number of " + text.length() + " digits");
        }
        try {
            return narrow(new BigInteger(text));
        } catch (NumberFormatException e) {
            throw new ModelFormatException(source, "holds a number that is none: " + printable(text), REMEDY, e);
        }
    }

    private double floating(String line) throws ModelFormatException {
        if (line.length() > LONGEST_NUMBER) {
            throw damaged("holds a number of " + line.length() + " digits");
        }
        try {
            return Double.parseDouble(line.equals("inf") ? "Infinity" : line.equals("-inf") ? "-Infinity" : line);
        } catch (NumberFormatException e) {
            throw new ModelFormatException(source, "holds a number that is none: " + printable(line), REMEDY, e);
        }
    }

    /// Two's complement, little endian.
    private Object whole(long length) throws ModelFormatException {
        if (length > LONGEST_NUMBER) {
            throw damaged("holds a number of " + length + " bytes");
        }
        byte[] bytes = bytes(length);
        for (int i = 0, j = bytes.length - 1; i < j; i++, j--) {
            byte low = bytes[i];
            bytes[i] = bytes[j];
            bytes[j] = low;
        }
        return bytes.length == 0 ? (Object) 0L : narrow(new BigInteger(bytes));
    }

    private static Object narrow(BigInteger value) {
        return value.bitLength() < Long.SIZE ? (Object) value.longValue() : value;
    }

    private String quoted(String line) throws ModelFormatException {
        if (line.length() < 2 || line.charAt(0) != line.charAt(line.length() - 1)) {
            throw damaged("holds text without quotes");
        }
        return line.substring(1, line.length() - 1);
    }

    private String line() throws ModelFormatException {
        long end = at;
        while (end < program.byteSize() && program.get(ValueLayout.JAVA_BYTE, end) != '\n') {
            end++;
        }
        if (end == program.byteSize()) {
            throw damaged("ends within a line");
        }
        String text = text(end - at);
        at++;
        return text;
    }

    private String text(long length) throws ModelFormatException {
        return new String(bytes(length), StandardCharsets.UTF_8);
    }

    private byte[] bytes(long length) throws ModelFormatException {
        need(length, "text");
        byte[] out = program.asSlice(at, length).toArray(ValueLayout.JAVA_BYTE);
        at += length;
        return out;
    }

    private long little(int size) throws ModelFormatException {
        need(size, "a number");
        long value = 0;
        for (int i = 0; i < size; i++) {
            value |= (program.get(ValueLayout.JAVA_BYTE, at + i) & 0xffL) << (8 * i);
        }
        at += size;
        return value;
    }

    private int unsigned(int size, String what) throws ModelFormatException {
        need(size, what);
        return (int) little(size);
    }

    private void skip(int size) throws ModelFormatException {
        need(size, "a frame");
        at += size;
    }

    private void need(long size, String what) throws ModelFormatException {
        if (size < 0 || size > program.byteSize() - at || size > Integer.MAX_VALUE - 8) {
            throw damaged("ends within " + what + ": " + Long.toUnsignedString(size) + " bytes wanted, "
                    + (program.byteSize() - at) + " are left");
        }
    }

    private ModelFormatException damaged(String problem) {
        return new ModelFormatException(
                source, problem + " (byte " + at + " of the pickle)", "the file is damaged, fetch it again");
    }
}
