// verify: the accept test, the prefix, fresh draws and the state block's next step; verify_given: the test alone.
#include "check.h"
#include "device/decode.cuh"

namespace sjd2::cuda {
namespace {

// What a row has to do to find its token.
enum Action : int32_t {
  kNothing,   // not this time: behind autoregression's one row
  kKeep,      // a structural token, or a draft that passed its test
  kResidual,  // a draft that failed
  kDraw,      // from the target
  kArgmax,
  kGumbel,
  kSequential  // inverse CDF with the picture's own uniforms
};

struct Choice {
  int32_t action;
  int32_t token;
};

struct VerifyCall {
  int32_t* tokens;
  sjd2_draft* drafts;
  sjd2_image* images;
  sjd2_sequence* sequences;
  const float* probs;
  Choice* choices;  // [I, M] by row of the pass
  int64_t batch, max_window, max_length, codes;

  __device__ sjd2_draft& draft(int64_t i, int64_t position) const {
    return drafts[i * max_window + position % max_window];
  }
  __device__ const float* target(const sjd2_image& image, int64_t i, int64_t position) const {
    return probs + prob_row(image, i, position, max_window, 0) * codes;
  }
  // NULL: uniform.
  __device__ const float* draft_row(const sjd2_image& image, int64_t i, int64_t position) const {
    if (draft(i, position).kind == SJD2_DRAFT_UNIFORM) return nullptr;
    return probs + prob_row(image, i, position, max_window, 1) * codes;
  }
  __device__ Action test(const sjd2_image& image, int64_t i, int64_t position) const {
    const sjd2_draft slot = draft(i, position);
    if (slot.kind == SJD2_DRAFT_FORCED) return kKeep;
    if (slot.kind == SJD2_DRAFT_NONE) return kDraw;
    const float* row = draft_row(image, i, position);
    const float q = row == nullptr ? 1.0f / static_cast<float>(codes) : row[slot.token];
    const float u = position_uniform(image, position, SJD2_PURPOSE_ACCEPT);
    return accepts(target(image, i, position)[slot.token], q, u) ? kKeep : kResidual;
  }
};

struct SearchShared {
  DrawShared draw;
  int32_t limit;   // rows of [0, limit) may be committed
  int32_t failed;  // the first row whose draft is not kept
  double times[kDrawThreads];
  int32_t tokens[kDrawThreads];
};

// Behind a noisy input no target is conditioned on committed tokens. Every thread gets the limit.
__device__ int32_t commit_limit(const VerifyCall& call, const sjd2_image& image, int64_t i, int32_t rows, int32_t* limit) {
  if (threadIdx.x == 0) *limit = image.decoder == SJD2_SEQUENTIAL && rows > 1 ? 1 : rows;
  __syncthreads();
  for (int32_t row = static_cast<int32_t>(threadIdx.x) + 1; row < rows; row += static_cast<int32_t>(blockDim.x)) {
    if (call.draft(i, image.committed + row - 1).level != 0) atomicMin(limit, row);
  }
  __syncthreads();
  return *limit;
}

// The token of the thread with the lowest time, the lowest id among equals; every thread gets it.
__device__ int32_t earliest(double time, int32_t token, SearchShared& shared) {
  shared.times[threadIdx.x] = time;
  shared.tokens[threadIdx.x] = token;
  for (uint32_t half = kDrawThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) {
      const double other = shared.times[threadIdx.x + half];
      const int32_t its = shared.tokens[threadIdx.x + half];
      const bool wins = other < shared.times[threadIdx.x] ||
                        (other == shared.times[threadIdx.x] && its < shared.tokens[threadIdx.x]);
      if (wins) {
        shared.times[threadIdx.x] = other;
        shared.tokens[threadIdx.x] = its;
      }
    }
  }
  __syncthreads();
  return shared.tokens[0];
}

__device__ int32_t find_largest(const float* p, int64_t codes, SearchShared& shared) {
  double best = 1e300;
  int32_t token = 0x7FFFFFFF;
  for (int64_t c = threadIdx.x; c < codes; c += kDrawThreads) {
    if (-static_cast<double>(p[c]) < best) {
      best = -static_cast<double>(p[c]);
      token = static_cast<int32_t>(c);
    }
  }
  return earliest(best, token, shared);
}

// argmax(log p + gumbel) as the race argmin(E / p), E = -log u: log p - log(-log u) = -log(E / p).
__device__ int32_t find_gumbel(const float* p, int64_t codes, const sjd2_image& image, int64_t position,
                               SearchShared& shared) {
  const uint32_t high = stream_high(SJD2_PURPOSE_GUMBEL, 0);
  double best = 1e300;
  int32_t token = 0;
  for (int64_t first = threadIdx.x * 4; first < codes; first += kDrawThreads * 4) {
    const PhiloxBlock block = philox(key_of(image), static_cast<uint32_t>(first / 4), image.index,
                                     static_cast<uint32_t>(position), high);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (first + j >= codes || !(p[first + j] > 0.0f)) continue;
      const double u = uniform_open(block.word[j]);
      // -log u >= 1 - u: most codes lose without a logarithm; the margin covers its rounding.
      if (!((1 - u) * (1 - 1e-12) < best * p[first + j])) continue;
      const double time = -log(u) / p[first + j];
      if (time < best) {
        best = time;
        token = static_cast<int32_t>(first + j);
      }
    }
  }
  return earliest(best, token, shared);
}

// A block owns one row of one image, a thread a run, or every 128th, of its codes. Each block tests the drafts of the rows
// before its own again: a few numbers, against a launch between the test and the search.
//   shared     partial sums, and each thread's best code
//   bytes      4 codes for a draw, 8 for a residual, twice where the sums cross; nothing for a draft that is kept
//   FLOP       1 to 3 a code in f64; for shared noise a quarter of a Philox block a code, and a logarithm for the few that
//              could win
//   source     docs/decoding.md, "The rejection test", "Redrawing", "The exact decoder"
__global__ void __launch_bounds__(kDrawThreads) verify_search_kernel(const VerifyCall call, Fault* fault) {
  SJD2_SHARED(SearchShared, shared);
  const int64_t i = blockIdx.x / call.max_window;
  const auto row = static_cast<int32_t>(blockIdx.x % call.max_window);
  const sjd2_image image = call.images[i];
  if (!image_fits(kVerify, image, i, call.max_window, call.max_length, fault)) return;
  if (image.decoder < SJD2_SEQUENTIAL || image.decoder > SJD2_EXACT) {
    if (threadIdx.x == 0) raise(fault, kBadDecoder, i, image.decoder, SJD2_EXACT);
    return;
  }
  const auto rows = static_cast<int32_t>(live_rows(image, call.max_window));
  if (row >= rows) return;
  const int32_t limit = commit_limit(call, image, i, rows, &shared.limit);
  const int64_t position = static_cast<int64_t>(image.committed) + row;
  const sjd2_draft slot = call.draft(i, position);
  Action action = kKeep;
  if (slot.kind != SJD2_DRAFT_FORCED) {
    switch (image.decoder) {
      case SJD2_SEQUENTIAL:
        action = row > 0 ? kNothing : image.sampler == SJD2_SAMPLER_INVERSE_CDF ? kSequential : kGumbel;
        break;
      case SJD2_GREEDY:
        action = kArgmax;
        break;
      case SJD2_EXACT:
        action = kGumbel;
        break;
      case SJD2_MAXIMAL:
        action = call.test(image, i, position);
        break;
      default: {
        if (threadIdx.x == 0) shared.failed = row;
        __syncthreads();
        for (auto r = static_cast<int32_t>(threadIdx.x); r < row; r += kDrawThreads) {
          if (call.test(image, i, image.committed + r) != kKeep) atomicMin(&shared.failed, r);
        }
        __syncthreads();
        const bool in_prefix = row < limit && shared.failed == row;
        action = in_prefix                                ? call.test(image, i, position)
                 : image.decoder == SJD2_GUMBEL ? kGumbel
                                                          : kDraw;
      }
    }
  }
  const float* p = call.target(image, i, position);
  int32_t token = slot.token;
  switch (action) {
    case kNothing:
    case kKeep:
      break;
    case kResidual:
      token = draw_residual(p, call.draft_row(image, i, position), call.codes,
                            position_uniform(image, position, SJD2_PURPOSE_RESIDUAL), shared.draw);
      break;
    case kDraw:
      token = draw_from(p, call.codes, position_uniform(image, position, SJD2_PURPOSE_DRAW), shared.draw);
      break;
    case kArgmax:
      token = find_largest(p, call.codes, shared);
      break;
    case kGumbel:
      token = find_gumbel(p, call.codes, image, position, shared);
      break;
    case kSequential: {
      const auto element = static_cast<uint32_t>(position);
      const PhiloxBlock block =
          philox(key_of(image), element / 4, image.index, 0, stream_high(SJD2_PURPOSE_SEQUENTIAL, 0));
      const uint32_t words[4] = {block.word[0], block.word[1], block.word[2], block.word[3]};
      const uint32_t lower = element % 2 == 0 ? words[0] : words[1], upper = element % 2 == 0 ? words[2] : words[3];
      token = draw_from(p, call.codes, uniform_low(element % 4 < 2 ? lower : upper), shared.draw);
    }
  }
  if (threadIdx.x == 0) call.choices[blockIdx.x] = {action, token};
}

constexpr int kCommitThreads = 64;

struct CommitShared {
  int32_t limit, committed, tested, kept, tail, tail_kept;
};

// A block owns one image, a thread every 64th row of its window, and every 64th sequence of the batch.
//   shared     the prefix's end and the counters
//   bytes      24 a row read, 20 written, and 16 a sequence
//   source     docs/decoding.md, "Committing"
__global__ void __launch_bounds__(kCommitThreads, 1) verify_commit_kernel(const VerifyCall call, Fault* fault) {
  SJD2_SHARED(CommitShared, shared);
  const int64_t i = blockIdx.x;
  const sjd2_image image = call.images[i];
  if (!image_fits(kVerify, image, i, call.max_window, call.max_length, fault)) return;
  if (image.decoder < SJD2_SEQUENTIAL || image.decoder > SJD2_EXACT) return;
  const auto rows = static_cast<int32_t>(live_rows(image, call.max_window));
  const int32_t limit = commit_limit(call, image, i, rows, &shared.limit);
  if (threadIdx.x == 0) {
    shared.committed = limit;
    shared.tested = shared.kept = shared.tail = shared.tail_kept = 0;
  }
  __syncthreads();
  const Choice* choices = call.choices + i * call.max_window;
  // Up to and including the first token that differs from its draft, or whose slot had none.
  for (auto row = static_cast<int32_t>(threadIdx.x); row < limit; row += kCommitThreads) {
    const sjd2_draft slot = call.draft(i, image.committed + row);
    const bool stays = slot.kind == SJD2_DRAFT_FORCED || (slot.kind != SJD2_DRAFT_NONE && choices[row].token == slot.token);
    if (!stays) atomicMin(&shared.committed, row + 1);
  }
  __syncthreads();
  const int32_t committed = shared.committed;
  // Every thread decides for itself, before any of them overwrites the slot.
  const sjd2_draft front = rows > 0 ? call.draft(i, image.committed) : sjd2_draft{};
  const bool failed = rows > 1 && image.decoder != SJD2_SEQUENTIAL && committed == 1 && front.level == 0 &&
                      (front.kind == SJD2_DRAFT_UNIFORM || front.kind == SJD2_DRAFT_ROW) &&
                      choices[0].token != front.token;
  const bool restarts = failed && image.restart > 0 && image.stalls + 1 >= image.restart;
  __syncthreads();
  for (auto row = static_cast<int32_t>(threadIdx.x); row < rows; row += kCommitThreads) {
    const int64_t position = static_cast<int64_t>(image.committed) + row;
    sjd2_draft& slot = call.draft(i, position);
    const Choice choice = choices[row];
    const bool sampled = slot.kind != SJD2_DRAFT_FORCED && slot.kind != SJD2_DRAFT_NONE;
    const int32_t same = sampled && choice.token == slot.token ? 1 : 0;
    if (row < committed) {
      call.tokens[i * call.max_length + position] = choice.token;
      if (sampled) atomicAdd(&shared.tested, 1);
      atomicAdd(&shared.kept, same);
      slot = {0, SJD2_DRAFT_NONE, image.levels, 0};
      continue;
    }
    if (choice.action == kNothing) continue;
    slot.age += row < rows - 1 ? 1 : 0;
    if (slot.kind == SJD2_DRAFT_FORCED) continue;
    if (sampled) atomicAdd(&shared.tail, 1);
    atomicAdd(&shared.tail_kept, same);
    if (restarts) {
      slot = {0, SJD2_DRAFT_NONE, image.levels, 0};
      continue;
    }
    slot.token = choice.token;
    slot.kind = SJD2_DRAFT_ROW;
    slot.level = slot.level > 0 ? slot.level - 1 : 0;
  }
  __syncthreads();
  sjd2_image next = image;
  next.committed += committed;
  const auto rows_next = static_cast<int32_t>(live_rows(next, call.max_window));
  if (threadIdx.x == 0) {
    sjd2_image& target = call.images[i];
    target.accepted = committed;
    if (rows > 0) {
      target.front_level += front.level;
      target.stalls = failed && !restarts ? image.stalls + 1 : 0;
      target.restarts += restarts ? 1 : 0;
      target.tested += shared.tested;
      target.kept += shared.kept;
      target.tail += shared.tail;
      target.tail_kept += shared.tail_kept;
      target.committed = next.committed;
      target.iteration += 1;
    }
  }
  for (int64_t b = threadIdx.x; b < call.batch; b += kCommitThreads) {
    sjd2_sequence& sequence = call.sequences[b];
    if (sequence.image != i) continue;
    sequence.kv_len += committed;
    sequence.position += committed;
    sequence.rows = rows_next;
  }
}

// One block, row after row; a thread owns a run of the codes.
//   shared     one sum per thread
//   bytes      8 a row that is kept; 24 codes for the one that is not
//   source     docs/decoding.md, "The rejection test"
__global__ void __launch_bounds__(kDrawThreads)
    verify_given_rows_kernel(int32_t* result, float* residual, const int32_t* draft, const float* q, const float* p,
                             const float* uniforms, float resample_uniform, int64_t rows, int64_t codes, Fault* fault) {
  SJD2_SHARED(DrawShared, shared);
  int32_t accepted = 0, produced = 0;
  for (int64_t r = 0; r < rows && produced == accepted; ++r) {
    const float *target = p + r * codes, *drafted = q + r * codes;
    int32_t token = draft[r];
    if (token < 0 || token >= codes) {
      if (threadIdx.x == 0) raise(fault, kBadDraft, r, token, codes);
      return;
    }
    if (accepts(target[token], drafted[token], uniforms[r])) {
      ++accepted;
    } else {
      const Excess excess = {target, drafted, 0.0f};
      const double total = sum_runs(excess, codes, shared);
      for (int64_t c = threadIdx.x; c < codes; c += kDrawThreads) {
        residual[c] = total > 0 ? static_cast<float>(excess(c) / total) : target[c];
      }
      token = draw_residual(target, drafted, codes, resample_uniform, shared);
    }
    if (threadIdx.x == 0) result[2 + produced] = token;
    ++produced;
  }
  if (threadIdx.x == 0) {
    result[0] = accepted;
    result[1] = produced;
  }
}

}  // namespace
}  // namespace sjd2::cuda

SJD2_EXPORT int32_t sjd2_verify_f32(sjd2_stream stream, int32_t* tokens, sjd2_draft* drafts, sjd2_image* images,
                                    sjd2_sequence* sequences, const float* probs, const int32_t*, int64_t n_images,
                                    int64_t batch, int64_t max_window, int64_t max_length, int64_t codes) {
  using namespace sjd2::cuda;
  Check check("verify");
  check.not_null(stream, tokens, drafts, images, sequences, probs).at_least("n_images", n_images, 1, SJD2_BAD_SHAPE);
  check.at_least("batch", batch, 1, SJD2_BAD_SHAPE).at_least("max_window", max_window, 1, SJD2_BAD_SHAPE);
  check.at_least("max_length", max_length, 1, SJD2_BAD_SHAPE).at_least("codes", codes, 1, SJD2_BAD_SHAPE);
  check.within("rows", n_images * max_window, 0, kWorkspaceBytes / static_cast<int64_t>(sizeof(Choice)));
  if (!check.ok()) return check.status();
  const VerifyCall call = {tokens, drafts, images,     sequences,  probs, reinterpret_cast<Choice*>(stream->workspace),
                           batch,  max_window, max_length, codes};
  SJD2_LAUNCH(verify_search_kernel, dim3(static_cast<uint32_t>(n_images * max_window)), dim3(kDrawThreads),
              sizeof(SearchShared), stream, call, stream->fault);
  SJD2_LAUNCH(verify_commit_kernel, dim3(static_cast<uint32_t>(n_images)), dim3(kCommitThreads), sizeof(CommitShared), stream,
              call, stream->fault);
  return SJD2_OK;
}

SJD2_EXPORT int32_t sjd2_verify_given_f32(sjd2_stream stream, int32_t* result, float* residual, const int32_t* draft,
                                          const float* q, const float* p, const float* uniforms, float resample_uniform,
                                          int64_t rows, int64_t codes) {
  using namespace sjd2::cuda;
  Check check("verify_given");
  check.not_null(stream, result, residual, draft, q, p, uniforms).at_least("rows", rows, 1, SJD2_BAD_SHAPE);
  check.at_least("codes", codes, 1, SJD2_BAD_SHAPE);
  if (!check.ok()) return check.status();
  SJD2_LAUNCH(verify_given_rows_kernel, dim3(1), dim3(kDrawThreads), sizeof(DrawShared), stream, result, residual, draft, q, p,
              uniforms, resample_uniform, rows, codes, stream->fault);
  return SJD2_OK;
}
