package io.sjd2.kernel.cuda;

import static jcuda.driver.JCudaDriver.cuGraphDestroy;
import static jcuda.driver.JCudaDriver.cuGraphExecDestroy;
import static jcuda.driver.JCudaDriver.cuGraphInstantiate;
import static jcuda.driver.JCudaDriver.cuGraphLaunch;
import static jcuda.driver.JCudaDriver.cuStreamBeginCapture;
import static jcuda.driver.JCudaDriver.cuStreamEndCapture;

import io.sjd2.kernel.Backend;
import java.util.function.BooleanSupplier;
import jcuda.driver.CUgraph;
import jcuda.driver.CUgraphExec;
import jcuda.driver.CUresult;
import jcuda.driver.CUstream;
import jcuda.driver.CUstreamCaptureMode;
import org.jspecify.annotations.Nullable;

/// Work that is recorded as a graph at its second run and replayed from then on.
///
/// The first run is an ordinary one: kernels are loaded, which may not happen while a stream is captured. A recording
/// holds addresses, so it lives as long as the memory that it works on; the library's workspace is the stream's and
/// never moves.
final class CudaGraph implements Backend.Recurring {
    private final CudaDevice device;
    private final CUstream stream;
    private final Runnable work;
    private final BooleanSupplier giveBack;
    private boolean warm;
    private @Nullable CUgraphExec recorded;

    /// @param giveBack  as of {@link Backend#reserve}: a recording takes memory of the device, too
    CudaGraph(CudaDevice device, CUstream stream, Runnable work, BooleanSupplier giveBack) {
        this.device = device;
        this.stream = stream;
        this.work = work;
        this.giveBack = giveBack;
    }

    @Override
    public void run() {
        if (!warm) {
            work.run();
            warm = true;
            return;
        }
        device.enter();
        if (recorded == null) {
            recorded = record();
        }
        device.require(cuGraphLaunch(recorded, stream), "cuGraphLaunch", "");
    }

    private CUgraphExec record() {
        // Other threads may do what they like meanwhile; this one must not allocate or wait.
        device.require(
                cuStreamBeginCapture(stream, CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL),
                "cuStreamBeginCapture",
                "");
        CUgraph graph = new CUgraph();
        try {
            work.run();
        } catch (RuntimeException | Error e) {
            // The stream must leave capture before it can be waited for; what went wrong is what `e` says.
            if (cuStreamEndCapture(stream, graph) == 0) {
                cuGraphDestroy(graph);
            }
            throw e;
        }
        device.require(cuStreamEndCapture(stream, graph), "cuStreamEndCapture", "");
        try {
            CUgraphExec executable = new CUgraphExec();
            int result = cuGraphInstantiate(executable, graph, 0);
            while (result == CUresult.CUDA_ERROR_OUT_OF_MEMORY && giveBack.getAsBoolean()) {
                result = cuGraphInstantiate(executable, graph, 0);
            }
            device.require(result, "cuGraphInstantiate", "a recording of an iteration; " + device.available());
            return executable;
        } finally {
            cuGraphDestroy(graph);
        }
    }

    @Override
    public void close() {
        if (recorded != null) {
            CUgraphExec last = recorded;
            recorded = null;
            device.enter();
            device.requireUnlessLost(cuGraphExecDestroy(last), "cuGraphExecDestroy");
        }
    }
}
