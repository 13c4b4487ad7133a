#include "timing.h"

#if defined(SJD2_GPU)

#include <cuda_runtime_api.h>
#include <dlfcn.h>

namespace sjd2::bench {
namespace {

using test::cuda_ok;

cudaStream_t native = nullptr;
cudaEvent_t before = nullptr, after = nullptr;
void* scratch = nullptr;
size_t scratch_bytes = 0, l2 = 0;

Time summary(std::vector<double> micros) {
  std::sort(micros.begin(), micros.end());
  const size_t n = micros.size();
  return {micros[n / 2], micros[n / 4], micros[3 * n / 4], static_cast<int>(n)};
}

double elapsed_micros() {
  cuda_ok(cudaEventSynchronize(after), "waiting for an event");
  float milliseconds = 0.0f;
  cuda_ok(cudaEventElapsedTime(&milliseconds, before, after), "cudaEventElapsedTime");
  return static_cast<double>(milliseconds) * 1e3;
}

// Keeps the device busy while the host enqueues what is timed, so that no launch latency is counted.
void occupy(size_t bytes) { cuda_ok(cudaMemsetAsync(scratch, 0, bytes, native), "cudaMemsetAsync"); }

// `repeats` runs of what `enqueue` hands to the stream, as one graph.
template <typename Enqueue>
cudaGraphExec_t recorded(int repeats, Enqueue&& enqueue) {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  cuda_ok(cudaStreamBeginCapture(native, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
  for (int i = 0; i < repeats; ++i) {
    if (!expect(enqueue() == 0, "an operation cannot be recorded: %s", sjd2_last_error())) break;
  }
  cuda_ok(cudaStreamEndCapture(native, &graph), "cudaStreamEndCapture");
  cuda_ok(cudaGraphInstantiate(&executable, graph, 0), "cudaGraphInstantiate");
  cudaGraphDestroy(graph);
  return executable;
}

template <typename Prepare, typename Enqueue>
Time warm_time(int repeats, int runs, Prepare&& prepare, Enqueue&& enqueue) {
  cudaGraphExec_t graph = recorded(repeats, enqueue);
  std::vector<double> micros;
  for (int run = -2; run < runs; ++run) {
    prepare();
    occupy(l2 / 8);
    if (repeats > 1) cuda_ok(cudaGraphLaunch(graph, native), "cudaGraphLaunch");
    cuda_ok(cudaEventRecord(before, native), "cudaEventRecord");
    cuda_ok(cudaGraphLaunch(graph, native), "cudaGraphLaunch");
    cuda_ok(cudaEventRecord(after, native), "cudaEventRecord");
    const double took = elapsed_micros() / repeats;
    if (run >= 0) micros.push_back(took);
  }
  cudaGraphExecDestroy(graph);
  return summary(std::move(micros));
}

// As much of cuBLAS as a product takes, of whichever version is installed. Numbers are those of its headers.
struct Library {
  using Handle = void*;
  int (*create)(Handle*) = nullptr;
  int (*set_stream)(Handle, cudaStream_t) = nullptr;
  int (*set_workspace)(Handle, void*, size_t) = nullptr;
  int (*gemm)(Handle, int, int, int, int, int, const void*, const void*, int, int, const void*, int, int, const void*, void*,
              int, int, int, int) = nullptr;
  Handle handle = nullptr;
  std::string name;

  Library() {
    for (const char* file : {"libcublas.so.13", "libcublas.so.12"}) {
      void* opened = dlopen(file, RTLD_NOW | RTLD_LOCAL);
      if (opened == nullptr) continue;
      const auto find = [&](auto& function, const char* symbol) {
        function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(opened, symbol));
        return function != nullptr;
      };
      if (find(create, "cublasCreate_v2") && find(set_stream, "cublasSetStream_v2") &&
          find(set_workspace, "cublasSetWorkspace_v2") && find(gemm, "cublasGemmEx") && create(&handle) == 0) {
        constexpr size_t kWorkspace = size_t{32} << 20;
        // Its stream first: setting it forgets the workspace.
        if (set_stream(handle, native) == 0 && set_workspace(handle, test::device_allocate(kWorkspace), kWorkspace) == 0) {
          name = file;
          return;
        }
      }
    }
  }

  // Row-major x w^T is column-major w x^T: the weights come first, transposed.
  int multiply(const Product& p) const {
    constexpr int kTranspose = 1, kAsIs = 0, kF32 = 0, kBf16 = 14, kSumsF32 = 68, kAnyAlgorithm = -1;
    static const float one = 1.0f, zero = 0.0f;
    return gemm(handle, kTranspose, kAsIs, static_cast<int>(p.n_out), static_cast<int>(p.rows), static_cast<int>(p.n_in), &one,
                p.w, kBf16, static_cast<int>(p.stride), p.x, kBf16, static_cast<int>(p.n_in), &zero, p.out, kF32,
                static_cast<int>(p.n_out), kSumsF32, kAnyAlgorithm);
  }
};

Library& library() {
  static Library instance;
  return instance;
}

}  // namespace

bool Device::open(DeviceInfo* info) {
  int devices = 0;
  const cudaError_t status = cudaGetDeviceCount(&devices);
  if (status != cudaSuccess || devices == 0) {
    std::printf("sjd2_cuda_bench: skipped, no CUDA device (%s)\n",
                status == cudaSuccess ? "the driver sees none" : cudaGetErrorString(status));
    return false;
  }
  cudaDeviceProp properties = {};
  cuda_ok(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  cudaDriverGetVersion(&info->driver);
  cudaRuntimeGetVersion(&info->runtime);
  info->name = properties.name;
  info->architecture = text("sm_%d%d", properties.major, properties.minor);
  info->multiprocessors = properties.multiProcessorCount;
  info->memory_bytes = static_cast<int64_t>(properties.totalGlobalMem);
  info->l2_bytes = properties.l2CacheSize;
  l2 = static_cast<size_t>(properties.l2CacheSize);
  scratch_bytes = std::max<size_t>(4 * l2, size_t{64} << 20);
  cuda_ok(cudaStreamCreateWithFlags(&native, cudaStreamNonBlocking), "cudaStreamCreate");
  cuda_ok(cudaEventCreate(&before), "cudaEventCreate");
  cuda_ok(cudaEventCreate(&after), "cudaEventCreate");
  scratch = test::device_allocate(scratch_bytes);
  return test::expect(sjd2_stream_create(&stream, 0, native) == SJD2_OK, "%s", sjd2_last_error());
}

void Device::close() {
  expect(sjd2_stream_destroy(stream) == SJD2_OK, "stream_destroy: %s", sjd2_last_error());
  cudaFree(scratch);
  cudaEventDestroy(before);
  cudaEventDestroy(after);
  cudaStreamDestroy(native);
}

Time Device::cold(const Case& c, int runs) {
  std::vector<double> micros;
  for (int run = -2; run < runs; ++run) {
    if (c.prepare) c.prepare();
    occupy(scratch_bytes);
    cuda_ok(cudaEventRecord(before, native), "cudaEventRecord");
    if (!expect(c.enqueue() == SJD2_OK, "%s: %s", c.operation.c_str(), sjd2_last_error())) return {};
    cuda_ok(cudaEventRecord(after, native), "cudaEventRecord");
    const double took = elapsed_micros();
    if (run >= 0) micros.push_back(took);
  }
  return summary(std::move(micros));
}

Time Device::warm(const Case& c, int runs) {
  // What changes its own input starts afresh before every run.
  return warm_time(c.prepare ? 1 : 20, runs, [&] { if (c.prepare) c.prepare(); }, [&] { return c.enqueue(); });
}

bool Device::library_product(const Product& product, int runs, Time* time) {
  if (library().name.empty() || library().multiply(product) != 0) return false;
  *time = warm_time(20, runs, [] {}, [&] { return library().multiply(product); });
  return true;
}

double Device::library_peak() {
  if (library().name.empty()) return 0.0;
  constexpr int64_t kSide = 8192;
  Product product = {};
  product.rows = product.n_out = product.n_in = product.stride = kSide;
  product.out = test::device_allocate(kSide * kSide * 4);
  product.x = test::device_allocate(kSide * kSide * 2);
  product.w = test::device_allocate(kSide * kSide * 2);
  Time time;
  // Small numbers of either sign, as weights are: zeros would let the clock run faster than it ever does.
  std::vector<uint16_t> values(kSide * kSide);
  Random random(1);
  for (uint16_t& value : values) value = narrow<uint16_t>(static_cast<float>(random.uniform() - 0.5));
  test::to_device(product.x, values.data(), values.size() * 2);
  test::to_device(product.w, values.data(), values.size() * 2);
  const bool ran = library_product(product, 5, &time);
  for (void* p : {product.out, product.x, product.w}) test::device_free(p);
  return ran ? 2.0 * kSide * kSide * kSide / (time.median * 1e-6) : 0.0;
}

std::string Device::library_name() { return library().name; }

}  // namespace sjd2::bench

#else

namespace sjd2::bench {

bool Device::open(DeviceInfo* info) {
  info->name = "emulated device";
  info->architecture = sjd2_isa();
  return expect(sjd2_stream_create(&stream, 0, nullptr) == SJD2_OK, "%s", sjd2_last_error());
}

void Device::close() { expect(sjd2_stream_destroy(stream) == SJD2_OK, "stream_destroy: %s", sjd2_last_error()); }

}  // namespace sjd2::bench

#endif
