package io.sjd2.kernel.cuda;

import static jcuda.driver.JCudaDriver.cuMemsetD8Async;
import static jcuda.driver.JCudaDriver.cuStreamCreate;
import static jcuda.driver.JCudaDriver.cuStreamDestroy;

import io.sjd2.kernel.Backend;
import io.sjd2.kernel.KernelException;
import io.sjd2.kernel.Kernels;
import io.sjd2.kernel.TrainingKernels;
import io.sjd2.kernel.cuda.CudaPointers.DevicePointer;
import io.sjd2.kernel.cuda.CudaPointers.Stream;
import io.sjd2.kernel.ffm.NativeKernels;
import io.sjd2.kernel.ffm.NativeLibrary;
import io.sjd2.kernel.ffm.NativeStream;
import io.sjd2.kernel.ffm.NvtxRanges;
import io.sjd2.tensor.DType;
import io.sjd2.tensor.Tensor;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.Objects;
import java.util.OptionalLong;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.BooleanSupplier;
import jcuda.driver.CUstream_flags;
import org.jspecify.annotations.Nullable;

/// A CUDA device, or the emulated one: memory, one stream and graphs through JCuda, kernels through `libsjd2_cuda`.
///
/// A tensor's segment spans device addresses: it may be sliced and handed to kernels, never read by the host. Several
/// backends may be open at a time; each has a stream of its own and is used by one thread at a time.
public final class CudaBackend implements Backend {
    /// System property: the device to open, 0 if it is not set.
    static final String DEVICE_PROPERTY = "sjd2.cuda.device";
    /// System property: `false` runs every iteration kernel by kernel, for debuggers and profilers.
    static final String GRAPHS_PROPERTY = "sjd2.cuda.graphs";

    /// System property: `auto`, or nothing, leaves the products of long prompts to NVIDIA's library where there is one;
    /// `own` computes all of them with the engine's kernels; `cublas` leaves every product of more than 128 rows to the
    /// library, whose rows then depend on what is beside them. `docs/adr/0010`.
    static final String PRODUCTS_PROPERTY = "sjd2.cuda.products";

    private static final Logger LOG = System.getLogger(CudaBackend.class.getName());
    private static final Set<String> LOGGED = ConcurrentHashMap.newKeySet();
    private static final boolean SYNC = Boolean.getBoolean("sjd2.sync");

    private final CudaDevice device;
    private final String name;
    private final Stream handle = new Stream();
    private final Arena arena;
    private final NativeStream stream;
    private final CudaStaging staging;
    private final Kernels kernels;
    private final CudaProducts.@Nullable Binding library;
    private final String productsChoice;
    private @Nullable CudaProducts products;
    private final boolean graphs;
    private BooleanSupplier giveBack = () -> false;
    private boolean closed;

    /// @throws KernelException if there is no driver or no such device, or the library refuses
    CudaBackend(CudaDriver driver) {
        this.device = CudaDevice.open(driver, ordinal());
        this.name = driver.kind() == CudaDriver.Kind.EMULATED ? "cuda-emulated" : "cuda-" + device.architecture();
        // With -Dsjd2.sync=true every operation waits, which cannot be recorded.
        this.graphs = !SYNC && !"false".equals(System.getProperty(GRAPHS_PROPERTY));
        device.enter();
        device.require(cuStreamCreate(handle, CUstream_flags.CU_STREAM_NON_BLOCKING), "cuStreamCreate", "");
        this.arena = Arena.ofShared();
        NativeStream opened = null;
        try {
            opened = openStream(driver);
            this.stream = opened;
            String wanted = System.getProperty(PRODUCTS_PROPERTY, "auto");
            this.library = chooseLibrary(wanted);
            this.productsChoice = describeChoice(wanted);
            logOnce(productsChoice);
            this.kernels = NvtxRanges.around(
                    library == null
                            ? new NativeKernels(stream, name, arena)
                            : new CudaKernels(stream, name, arena, device, this::products, wanted.equals("cublas")));
            this.staging = new CudaStaging(device, handle, stream);
        } catch (RuntimeException | Error e) {
            if (opened != null) {
                opened.close();
            }
            arena.close();
            cuStreamDestroy(handle);
            throw e;
        }
    }

    private NativeStream openStream(CudaDriver driver) {
        try {
            return driver.kernels().openStream(1, MemorySegment.ofAddress(handle.address()), device::enter);
        } catch (KernelException e) {
            throw e.outOfMemory() ? e.explained(device.available()) : e;
        }
    }

    /// The device that is asked for.
    static int ordinal() {
        return Integer.getInteger(DEVICE_PROPERTY, 0);
    }

    private static CudaProducts.@Nullable Binding chooseLibrary(String wanted) {
        return switch (wanted) {
            case "own" -> null;
            case "auto" -> CudaProducts.find().orElse(null);
            case "cublas" ->
                CudaProducts.find()
                        .orElseThrow(() -> new KernelException(
                                "-D" + PRODUCTS_PROPERTY + "=cublas: " + CudaProducts.MISSING
                                        + "; install CUDA's libraries, or leave the products to the engine's own kernels",
                                NativeLibrary.UNSUPPORTED));
            default ->
                throw new IllegalArgumentException(
                        "-D" + PRODUCTS_PROPERTY + "=" + wanted + ": expected auto, own or cublas");
        };
    }

    /// Backends are opened again and again, and choose alike.
    private void logOnce(String text) {
        if (LOGGED.add(text)) {
            LOG.log(Level.INFO, () -> name + ": " + text);
        }
    }

    private String describeChoice(String wanted) {
        String asked = ", as -D" + PRODUCTS_PROPERTY + "=" + wanted + " asks";
        if (library == null) {
            return "products by the engine's kernels" + (wanted.equals("own") ? asked : ": " + CudaProducts.MISSING);
        }
        return wanted.equals("cublas")
                ? "products of more than 128 rows by " + library.label() + asked + ", whatever is beside a row"
                : "products of prompts of more than 128 rows by " + library.label()
                        + ", all others by the engine's kernels";
    }

    /// The library's handle; made when a product first needs it, which costs time and memory that most prompts are too
    /// short for. The first run of recurring work is not recorded, so that it is there before one is.
    private CudaProducts products() {
        CudaProducts opened = products;
        while (opened == null) {
            try {
                opened = CudaProducts.open(
                        Objects.requireNonNull(library, "a backend without a library asks for none"), device, handle);
                logOnce("products by " + opened.description());
                products = opened;
            } catch (KernelException e) {
                device.noticeLoss(e);
                if (!e.outOfMemory() || !giveBack.getAsBoolean()) {
                    throw e.explained("-D" + PRODUCTS_PROPERTY + "=own does without cuBLAS");
                }
            }
        }
        return opened;
    }

    /// For `doctor`: what computes products, and why.
    String productsDescription() {
        if (library == null) {
            return productsChoice;
        }
        try {
            return productsChoice + "; it is " + products().description();
        } catch (KernelException e) {
            return productsChoice + "; it does not open: " + e.getMessage();
        }
    }

    CudaDevice device() {
        return device;
    }

    @Override
    public String name() {
        return name;
    }

    @Override
    public Kernels kernels() {
        return kernels;
    }

    @Override
    public TrainingKernels training() {
        throw new UnsupportedOperationException(name + " cannot train; use --backend cpu or reference");
    }

    @Override
    public Tensor allocate(Arena owner, DType dtype, long... shape) {
        requireOpen();
        long bytes = dtype.bytes();
        for (long extent : shape) {
            bytes = Math.multiplyExact(bytes, extent);
        }
        MemorySegment memory = allocateOrGiveBack(owner, bytes, dtype.label() + Arrays.toString(shape));
        Tensor tensor = Tensor.of(memory, dtype, shape);
        if (bytes > 0) {
            device.require(
                    cuMemsetD8Async(new DevicePointer(memory.address()), (byte) 0, bytes, handle),
                    "allocate",
                    tensor.toString());
        }
        return tensor;
    }

    private MemorySegment allocateOrGiveBack(Arena owner, long bytes, String what) {
        while (true) {
            try {
                return device.allocate(owner, bytes, what);
            } catch (KernelException e) {
                if (!e.outOfMemory() || !giveBack.getAsBoolean()) {
                    throw e;
                }
            }
        }
    }

    @Override
    public void reserve(BooleanSupplier kept) {
        giveBack = kept;
    }

    @Override
    public OptionalLong freeMemory() {
        requireOpen();
        return OptionalLong.of(device.memory().free());
    }

    @Override
    public void upload(Tensor dst, MemorySegment src) {
        requireSize("upload", "src", src, dst);
        requireOpen();
        staging.upload(dst.data(), src);
    }

    @Override
    public void download(MemorySegment dst, Tensor src) {
        requireSize("download", "dst", dst, src);
        requireOpen();
        try {
            staging.download(dst, src.data());
        } catch (KernelException e) {
            throw named(e);
        }
    }

    /// What kernels found is told by the library where the host waits; this says on which backend.
    private KernelException named(KernelException e) {
        device.noticeLoss(e);
        return new KernelException(name + ": " + e.getMessage(), e.status());
    }

    private static void requireSize(String op, String argument, MemorySegment host, Tensor tensor) {
        if (host.byteSize() != tensor.bytes()) {
            throw new IllegalArgumentException(op + ": " + argument + " has " + host.byteSize()
                    + " bytes, expected the " + tensor.bytes() + " of " + tensor);
        }
    }

    private void requireOpen() {
        if (closed) {
            throw new IllegalStateException("the backend " + name + " is closed; open another");
        }
        device.enter();
    }

    @Override
    public void synchronize() {
        try {
            stream.synchronize();
        } catch (KernelException e) {
            throw named(e);
        }
    }

    @Override
    public Recurring recurring(Runnable work) {
        return NvtxRanges.around(
                NvtxRanges.DECODE_STEP,
                graphs
                        ? new CudaGraph(device, handle, work, () -> giveBack.getAsBoolean())
                        : Backend.super.recurring(work));
    }

    @Override
    public boolean records() {
        return graphs;
    }

    @Override
    public boolean hostMemory() {
        return false;
    }

    @Override
    public int threads() {
        return stream.threads();
    }

    @Override
    public void close() {
        if (closed) {
            return;
        }
        closed = true;
        // Who lost the device has heard of it from the operation that did.
        boolean told = device.lost();
        try {
            stream.close();
        } catch (KernelException e) {
            device.noticeLoss(e);
            if (!told) {
                throw e;
            }
        } finally {
            release();
        }
    }

    private void release() {
        try {
            device.enter();
            CudaProducts opened = products;
            if (opened != null) {
                opened.close();
            }
            staging.close();
            device.requireUnlessLost(cuStreamDestroy(handle), "cuStreamDestroy");
        } finally {
            arena.close();
        }
    }
}
