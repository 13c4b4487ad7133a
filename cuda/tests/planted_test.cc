// That the checks check: in every kernel that uses shared memory, or waits at a barrier, a bug is planted that ThreadSanitizer,
// AddressSanitizer and UndefinedBehaviorSanitizer have to find. Each runs in a child process, which must not survive it.
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include "check.h"
#include "emulation/cuda_emulation.h"

namespace {

using namespace sjd2::test;
using sjd2::emulation::Bug;
using sjd2::emulation::Plant;

// ------------------------------------------------------------------------------------------------------------------------
// Small cases that reach every field of a kernel's shared memory
// ------------------------------------------------------------------------------------------------------------------------

template <typename T>
void run_attention() {
  constexpr int64_t kHeads = 4, kKvHeads = 2, kDim = 64, kRows = 20, kCapacity = 90;
  Random random(1);
  Guarded<T> q(kRows * kHeads * kDim), out(kRows * kHeads * kDim);
  Guarded<T> k(kCapacity * kKvHeads * kDim, Place::kAligned), v(kCapacity * kKvHeads * kDim, Place::kAligned);
  q.fill_normal(random);
  k.fill_normal(random);
  v.fill_normal(random);
  Guarded<sjd2_sequence> sequence(1);
  sequence[0] = {70, kRows, 0, -1};
  ok(call(sjd2_attention_f32, sjd2_attention_bf16, stream, out.at(), q.in(), k.in(), v.in(), sequence.in(), 1, kRows,
          kCapacity, kHeads, kKvHeads, kDim, 0.125f),
     "attention");
}

template <typename T>
void run_matmul() {
  constexpr int64_t kRows = 20, kOut = 70, kIn = 130;
  Random random(2);
  Guarded<T> x(kRows * kIn), w(kOut * kIn);
  Guarded<float> out(kRows * kOut);
  x.fill_normal(random);
  w.fill_normal(random);
  int64_t elements = 0;
  ok(sjd2_packed_elements(&elements, kOut, kIn, dtype<T>()), "packed_elements");
  Guarded<T> packed(elements, Place::kAligned);
  packed.fill(T{});
  ok(sjd2_pack_weights(stream, packed.in(), w.in(), 0, kOut, kOut, kIn, dtype<T>(), dtype<T>()), "pack_weights");
  int32_t status;
  if constexpr (std::is_same_v<T, float>) {
    status = sjd2_matmul_f32(stream, out.at(), x.in(), packed.at(), nullptr, nullptr, kRows, 1, kOut, kIn, 0);
  } else {
    status = sjd2_matmul_bf16(stream, out.at(), x.in(), packed.at(), nullptr, nullptr, kRows, 1, kOut, kIn, 0);
  }
  ok(status, "matmul");
}

void run_rms_norm() {
  Guarded<float> x(512), weight(256), out(512);
  Random random(3);
  x.fill_normal(random);
  weight.fill_normal(random);
  ok(sjd2_rms_norm_f32(stream, out.at(), x.in(), weight.in(), nullptr, 2, 1, 256, 1e-5f), "rms_norm");
}

void run_rope_append() {
  constexpr int64_t kHeads = 4, kDim = 256, kRows = 2;
  Guarded<float> qkv(kRows * (kHeads + 2) * kDim), q(kRows * kHeads * kDim), k(kRows * kDim), v(kRows * kDim), rope(kRows * kDim);
  Guarded<sjd2_sequence> sequence(1);
  Random random(4);
  qkv.fill_normal(random);
  rope.fill_normal(random);
  sequence[0] = {0, kRows, 0, -1};
  ok(sjd2_rope_append_f32(stream, q.at(), k.at(), v.at(), qkv.in(), nullptr, nullptr, nullptr, nullptr, rope.in(), sequence.in(), 1,
                          kRows, kRows, kHeads, 1, kDim, 0, 0, kRows, 1, 1e-5f),
     "rope_append");
}

// A window of four drafts, each a token of an earlier pass.
struct Window {
  static constexpr int64_t kWindow = 4, kLength = 8, kCodes = 300, kHidden = 256;

  explicit Window(int32_t decoder)
      : image(1), sequence(1), drafts(kWindow), tokens(kLength), probs(2 * kWindow * kCodes), logits(kWindow * kCodes),
        table(kCodes * kHidden), input(kWindow * kHidden) {
    Random random(5);
    logits.fill_normal(random);
    table.fill_normal(random);
    tokens.fill(0);
    image[0] = {};
    image[0].length = kLength;
    image[0].window = kWindow;
    image[0].decoder = decoder;
    image[0].top_k = 200;
    image[0].top_p = 0.9f;
    image[0].temperature = image[0].guidance = 1.0f;
    image[0].uncond = -1;
    sequence[0] = {0, kWindow, 0, 0};
    for (int64_t w = 0; w < kWindow; ++w) drafts[w] = {static_cast<int32_t>(w), SJD2_DRAFT_NONE, 0, 0};
    for (int64_t i = 0; i < probs.size(); ++i) probs[i] = static_cast<float>(random.uniform() / kCodes);
    image.in(), sequence.in(), drafts.in(), tokens.in(), probs.in(), logits.in(), table.in();
  }

  Guarded<sjd2_image> image;
  Guarded<sjd2_sequence> sequence;
  Guarded<sjd2_draft> drafts;
  Guarded<int32_t> tokens;
  Guarded<float> probs, logits, table, input;
};

void run_target_probs() {
  Window w(SJD2_INDEPENDENT);
  ok(sjd2_target_probs_f32(stream, w.probs.at(), w.logits.at(), w.image.at(), nullptr, 1, 1, Window::kWindow, Window::kCodes),
     "target_probs");
}
void run_verify() {
  Window w(SJD2_EXACT);
  ok(sjd2_verify_f32(stream, w.tokens.at(), w.drafts.at(), w.image.at(), w.sequence.at(), w.probs.at(), nullptr, 1, 1,
                     Window::kWindow, Window::kLength, Window::kCodes),
     "verify");
}
void run_window_input() {
  Window w(SJD2_INDEPENDENT);
  ok(sjd2_window_input_f32(stream, w.input.at(), nullptr, w.drafts.at(), w.image.at(), w.tokens.at(), w.table.at(), nullptr,
                           nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, 1, Window::kWindow, Window::kLength,
                           Window::kHidden, Window::kCodes, Window::kCodes, 0),
     "window_input");
}

// A row of weights and a draft that fails its test.
struct Rows {
  static constexpr int64_t kCodes = 300;

  Rows() : p(kCodes), q(kCodes), residual(kCodes), uniforms(1), likelihood(1), draft(1), result(4) {
    for (int64_t c = 0; c < kCodes; ++c) {
      p[c] = static_cast<float>(c + 1) / (kCodes * (kCodes + 1) / 2);
      q[c] = static_cast<float>(kCodes - c) / (kCodes * (kCodes + 1) / 2);
    }
    uniforms[0] = 0.9f;
    draft[0] = 0;
    p.in(), q.in(), uniforms.in(), draft.in();
  }

  Guarded<float> p, q, residual, uniforms, likelihood;
  Guarded<int32_t> draft, result;
};

void run_verify_given() {
  Rows r;
  ok(sjd2_verify_given_f32(stream, r.result.at(), r.residual.at(), r.draft.at(), r.q.at(), r.p.at(), r.uniforms.at(), 0.5f, 1,
                           Rows::kCodes),
     "verify_given");
}
void run_draw_given() {
  Rows r;
  ok(sjd2_draw_given_f32(stream, r.result.at(), r.p.at(), r.uniforms.at(), 1, Rows::kCodes), "draw_given");
}
void run_log_likelihood() {
  Rows r;
  ok(sjd2_log_likelihood_f32(stream, r.likelihood.at(), r.p.at(), r.draft.at(), 1, Rows::kCodes), "log_likelihood");
}

template <typename T>
void run_conv() {
  sjd2_conv_shape s = {};
  s.batch = s.frames = s.out_frames = s.kernel_frames = 1;
  s.height = s.out_height = 8;
  s.width = s.out_width = 16;
  s.channels = 40, s.out_channels = 20;
  s.kernel_height = s.kernel_width = 3;
  s.stride_frames = s.stride_height = s.stride_width = s.enlarge_frames = s.enlarge_space = 1;
  s.pad_height = s.pad_width = 1;
  int64_t elements = 0;
  ok(sjd2_packed_conv_elements(&elements, s.out_channels, s.channels, 9, dtype<T>()), "packed_conv_elements");
  Guarded<T> w(elements, Place::kAligned);
  Guarded<float> x(8 * 16 * 40), out(8 * 16 * 20), moments(2 * 20);
  Random random(6);
  w.fill_normal(random);
  x.fill_normal(random);
  int32_t status;
  if constexpr (std::is_same_v<T, float>) {
    status = sjd2_conv_f32(stream, out.at(), moments.at(), x.in(), nullptr, nullptr, w.in(), nullptr, &s);
  } else {
    status = sjd2_conv_bf16(stream, out.at(), moments.at(), x.in(), nullptr, nullptr, w.in(), nullptr, &s);
  }
  ok(status, "conv");
}

void run_vq_attention() {
  constexpr int64_t kPositions = 260, kChannels = 32;
  Guarded<float> qkv(kPositions * 3 * kChannels), out(kPositions * kChannels);
  Random random(7);
  qkv.fill_normal(random);
  ok(sjd2_vq_attention_bf16(stream, out.at(), qkv.in(), 1, kPositions, kChannels, 0.2f), "vq_attention");
}

// ------------------------------------------------------------------------------------------------------------------------

struct Case {
  const char* kernel;
  void (*run)();
  Bug barrier;       // what is left out for the race check, and the how manyth one
  uint32_t skipped;
  uint32_t missing;  // bytes at the end of shared memory, such that something is written there; 0: it has none
};

const Case kCases[] = {
    {"attention_split_kv_kernel", run_attention<uint16_t>, Bug::kNoBarrier, 0, 2},
    {"attention_plain_kernel", run_attention<float>, Bug::kNoBarrier, 1, 4},
    {"attention_plain_kernel", run_attention<float>, Bug::kNoWarpBarrier, 0, 4},
    {"matmul_skinny_kernel", run_matmul<uint16_t>, Bug::kNoBarrier, 0, 8},
    {"matmul_skinny_kernel", run_matmul<uint16_t>, Bug::kNoBarrier, 1, 8},
    {"matmul_plain_kernel", run_matmul<float>, Bug::kNoBarrier, 1, 8},
    {"rms_norm_rows_kernel", run_rms_norm, Bug::kNoBarrier, 1, 124},
    {"rope_append_heads_kernel", run_rope_append, Bug::kNoWarpBarrier, 0, 4},
    {"window_input_slots_kernel", run_window_input, Bug::kNoBarrier, 0, 0},
    {"target_probs_rows_kernel", run_target_probs, Bug::kNoBarrier, 1, 4},
    {"target_probs_rows_kernel", run_target_probs, Bug::kNoBarrier, 6, 4},
    {"verify_search_kernel", run_verify, Bug::kNoBarrier, 2, 4},
    {"verify_commit_kernel", run_verify, Bug::kNoBarrier, 2, 4},
    {"verify_given_rows_kernel", run_verify_given, Bug::kNoBarrier, 1, 8},
    {"draw_given_rows_kernel", run_draw_given, Bug::kNoBarrier, 1, 8},
    {"log_likelihood_rows_kernel", run_log_likelihood, Bug::kNoBarrier, 3, 16},
    {"conv_tensor_kernel", run_conv<uint16_t>, Bug::kNoBarrier, 1, 2},
    {"conv_plain_kernel", run_conv<float>, Bug::kNoBarrier, 1, 8},
    {"vq_attention_pack_kernel", run_vq_attention, Bug::kNoBarrier, 0, 8},
    {"vq_attention_softmax_kernel", run_vq_attention, Bug::kNoBarrier, 1, 100},
};

bool survives(const Plant& bug, void (*body)()) {
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    // What the sanitizer and the checks have to say is expected.
    if (std::freopen("/dev/null", "w", stderr) == nullptr || std::freopen("/dev/null", "w", stdout) == nullptr) _exit(3);
    sjd2::emulation::plant(bug);
    body();
    std::exit(0);
  }
  int status = 0;
  return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void expect_found(const Case& c, Bug bug, uint32_t amount, const char* what) {
  expect(!survives({c.kernel, bug, amount}, c.run), "%s: %s goes unseen", c.kernel, what);
}

// The kernels in the sources that have shared memory or wait for the block.
std::set<std::string> kernels_in_sources() {
  std::set<std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator(SJD2_KERNEL_FOLDER)) {
    if (entry.path().extension() != ".cu") continue;
    std::ifstream in(entry.path());
    std::stringstream all;
    all << in.rdbuf();
    const std::string text = all.str();
    for (size_t at = text.find("__global__"); at != std::string::npos;) {
      const size_t next = text.find("__global__", at + 1);
      const std::string body = text.substr(at, next == std::string::npos ? next : next - at);
      const size_t end = body.find("_kernel(");
      at = next;
      if (end == std::string::npos) continue;
      if (body.find("SJD2_SHARED(") == std::string::npos && body.find("__syncthreads()") == std::string::npos) continue;
      size_t begin = end;
      while (begin > 0 && (std::isalnum(static_cast<unsigned char>(body[begin - 1])) || body[begin - 1] == '_')) --begin;
      found.insert(body.substr(begin, end - begin) + "_kernel");
    }
  }
  return found;
}

std::set<std::string> launched;

}  // namespace

int main() {
  return run("planted", [] {
    sjd2::emulation::observe_launches([](const char* kernel, size_t) { launched.insert(kernel); });
    std::set<std::string> listed;
    for (const Case& c : kCases) {
      listed.insert(c.kernel);
      c.run();
      const bool ran = std::any_of(launched.begin(), launched.end(), [&](const std::string& name) {
        return name.find(c.kernel) != std::string::npos;
      });
      expect(ran, "%s was not run by its case", c.kernel);
      launched.clear();
    }
    for (const std::string& kernel : kernels_in_sources()) {
      expect(listed.count(kernel) == 1, "%s has no planted bug here: add a case", kernel.c_str());
    }
    for (const Case& c : kCases) {
#if defined(SJD2_KIND_raced)
      expect_found(c, c.barrier, c.skipped, "a missing barrier");
#else
      if (c.missing == 0) continue;
      expect_found(c, Bug::kShortShared, c.missing, "a write beyond shared memory");
      expect_found(c, Bug::kAskewShared, 1, "a misaligned access");
#endif
    }
  });
}
