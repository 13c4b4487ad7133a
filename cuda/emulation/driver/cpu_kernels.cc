// kernels.h over the fake driver with the CPU library's arithmetic: a stand-in for a library of kernels, as
// fast as the CPU backend, so that the host side of the CUDA backend (copies, order, graphs, faults) has
// whole generations to prove itself on. It says nothing about the kernels themselves.
//
// Every operation that takes a stream becomes one piece of work with its arguments copied. What it answers
// when it runs is kept like the fault word of a real library: the next sjd2_stream_synchronize reports it.
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <tuple>
#include <type_traits>

#include "fake_driver.h"
#include "sjd2/kernels.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

extern "C" int32_t cuStreamSynchronize(void* stream);

namespace {

thread_local std::string error_text;

int32_t fail(int32_t status, std::string why) {
  error_text = std::move(why);
  return status;
}

void* symbol(const char* name) {
  static void* const library = [] {
    const char* elsewhere = std::getenv("SJD2_CPU_LIBRARY");
    return dlopen(elsewhere != nullptr ? elsewhere : SJD2_CPU_LIBRARY, RTLD_NOW | RTLD_LOCAL);
  }();
  void* const found = library == nullptr ? nullptr : dlsym(library, name);
  if (found == nullptr) {
    std::fprintf(stderr, "cpu_kernels: %s\n", dlerror());
    std::abort();
  }
  return found;
}

template <typename Function>
Function* cpu(const char* name) {
  return reinterpret_cast<Function*>(symbol(name));
}

std::string cpu_error() { return cpu<decltype(sjd2_last_error)>("sjd2_last_error")(); }

struct Stream {
  sjd2_stream cpu_stream;
  void* native;
  int32_t status;  // of the first operation that failed since the last wait
  std::string why;
};

Stream* stream_of(sjd2_stream stream) { return reinterpret_cast<Stream*>(stream); }

int32_t device_failure(const char* what, int32_t result) {
  constexpr int32_t kFirstFault = 700;
  return fail(result >= kFirstFault && result < 800 ? SJD2_DEVICE_LOST : SJD2_LAUNCH_FAILED,
              std::string(what) + ": CUDA error " + std::to_string(result) + ": " + sjd2_emu_last_message());
}

// Arguments in the host's memory, which may change before the work runs, are copied with it.
template <typename T>
T by_value(T value) {
  return value;
}
sjd2_conv_shape by_value(const sjd2_conv_shape* shape) { return *shape; }

template <typename T>
T& as_argument(T& value) {
  return value;
}
const sjd2_conv_shape* as_argument(const sjd2_conv_shape& shape) { return &shape; }

template <typename Function, typename... Values>
struct Call {
  Function* function;
  Stream* stream;
  const char* name;
  std::tuple<Values...> values;

  static int32_t run(const void* bytes, char*, size_t) {
    const Call& call = *static_cast<const Call*>(bytes);
    Stream* stream = call.stream;
    const int32_t status = std::apply(
        [&](const auto&... value) { return call.function(stream->cpu_stream, as_argument(value)...); },
        call.values);
    if (status != SJD2_OK && stream->status == SJD2_OK) {
      stream->status = status;
      stream->why = cpu_error();
    }
    return 0;
  }
};

// The function that an operation's symbol stands for.
template <const char* const& Name, typename Signature>
struct Operation;

template <const char* const& Name, typename... Arguments>
struct Operation<Name, int32_t(sjd2_stream, Arguments...)> {
  static int32_t invoke(sjd2_stream stream, Arguments... arguments) {
    using Work = Call<int32_t(sjd2_stream, Arguments...), decltype(by_value(arguments))...>;
    static const auto function = cpu<int32_t(sjd2_stream, Arguments...)>(Name);
    const Work work{function, stream_of(stream), Name, {by_value(arguments)...}};
    const int32_t result = sjd2_emu_enqueue(stream_of(stream)->native, Name, &Work::run, &work, sizeof work);
    return result == 0 ? SJD2_OK : device_failure(Name, result);
  }
};

// Without a stream there is nothing to wait for.
template <const char* const& Name, typename... Arguments>
struct Operation<Name, int32_t(int64_t*, Arguments...)> {
  static int32_t invoke(int64_t* out, Arguments... arguments) {
    const int32_t status = cpu<int32_t(int64_t*, Arguments...)>(Name)(out, arguments...);
    return status == SJD2_OK ? status : fail(status, cpu_error());
  }
};

}  // namespace

// One line per operation: the signature is the header's.
#define OPERATION(name)                                                                  \
  static const char* const name##_text = #name;                                          \
  extern "C" {                                                                           \
  __attribute__((used)) static auto name##_resolve(void) -> decltype(&::name) {          \
    return &Operation<name##_text, decltype(::name)>::invoke;                            \
  }                                                                                      \
  __attribute__((ifunc(#name "_resolve"), visibility("default"))) decltype(::name) name; \
  }

OPERATION(sjd2_packed_elements)
OPERATION(sjd2_pack_weights)
OPERATION(sjd2_convert)
OPERATION(sjd2_embed_f32)
OPERATION(sjd2_embed_bf16)
OPERATION(sjd2_sequence_input_f32)
OPERATION(sjd2_rms_norm_f32)
OPERATION(sjd2_rms_norm_bf16)
OPERATION(sjd2_rms_norm_add_f32)
OPERATION(sjd2_round_f32)
OPERATION(sjd2_round_bf16)
OPERATION(sjd2_matmul_f32)
OPERATION(sjd2_matmul_bf16)
OPERATION(sjd2_rope_append_f32)
OPERATION(sjd2_rope_append_bf16)
OPERATION(sjd2_attention_f32)
OPERATION(sjd2_attention_bf16)
OPERATION(sjd2_swiglu_f32)
OPERATION(sjd2_swiglu_bf16)
OPERATION(sjd2_gelu_f32)
OPERATION(sjd2_gelu_bf16)
OPERATION(sjd2_window_input_f32)
OPERATION(sjd2_window_input_bf16)
OPERATION(sjd2_target_probs_f32)
OPERATION(sjd2_verify_f32)
OPERATION(sjd2_verify_given_f32)
OPERATION(sjd2_draw_given_f32)
OPERATION(sjd2_log_likelihood_f32)
OPERATION(sjd2_philox_words)
OPERATION(sjd2_philox_normals_f32)
OPERATION(sjd2_packed_conv_elements)
OPERATION(sjd2_pack_conv)
OPERATION(sjd2_conv_f32)
OPERATION(sjd2_conv_bf16)
OPERATION(sjd2_group_norm_f32)
OPERATION(sjd2_vq_attention_f32)
OPERATION(sjd2_vq_attention_bf16)

EXPORT int32_t sjd2_abi_version(void) { return SJD2_ABI_VERSION; }

EXPORT const char* sjd2_last_error(void) { return error_text.c_str(); }

EXPORT const char* sjd2_isa(void) { return "cpu-kernels"; }

EXPORT int32_t sjd2_stream_create(sjd2_stream* out, int32_t, void* native) {
  auto* made = new Stream{nullptr, native, SJD2_OK, {}};
  const int32_t status =
      cpu<decltype(sjd2_stream_create)>("sjd2_stream_create")(&made->cpu_stream, 1, nullptr);
  if (status != SJD2_OK) {
    delete made;
    return fail(status, cpu_error());
  }
  *out = reinterpret_cast<sjd2_stream>(made);
  return SJD2_OK;
}

EXPORT int32_t sjd2_stream_threads(sjd2_stream, int32_t* out) {
  *out = 1;
  return SJD2_OK;
}

EXPORT int32_t sjd2_stream_synchronize(sjd2_stream handle) {
  Stream* stream = stream_of(handle);
  if (const int32_t result = cuStreamSynchronize(stream->native))
    return device_failure("stream_synchronize", result);
  const int32_t status = stream->status;
  stream->status = SJD2_OK;
  return status == SJD2_OK ? SJD2_OK : fail(status, stream->why);
}

EXPORT int32_t sjd2_stream_destroy(sjd2_stream handle) {
  Stream* stream = stream_of(handle);
  const int32_t result = cuStreamSynchronize(stream->native);
  cpu<decltype(sjd2_stream_destroy)>("sjd2_stream_destroy")(stream->cpu_stream);
  delete stream;
  return result == 0 ? SJD2_OK : device_failure("stream_destroy", result);
}
