#include <limits>

#include "decode.h"
#include "vec.h"

namespace sjd2::SJD2_ISA {
namespace {

// What a row has to do to find its token, decided before any row of the image is searched.
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

struct Verify {
  int32_t* tokens;
  sjd2_draft* drafts;
  sjd2_image* images;
  const float* probs;
  Choice* choices;  // [I, M] by row of the pass
  int64_t max_window, max_length, codes;

  sjd2_draft& draft(int64_t i, int64_t position) const { return drafts[i * max_window + position % max_window]; }

  const float* target(int64_t i, int64_t position) const {
    return probs + prob_row(images, i, position, max_window, 0) * codes;
  }

  // NULL: uniform.
  const float* draft_row(int64_t i, int64_t position) const {
    if (draft(i, position).kind == SJD2_DRAFT_UNIFORM) return nullptr;
    return probs + prob_row(images, i, position, max_window, 1) * codes;
  }

  Action test(int64_t i, int64_t position) const {
    const sjd2_draft& slot = draft(i, position);
    if (slot.kind == SJD2_DRAFT_NONE) return kDraw;
    const float* row = draft_row(i, position);
    const float q = row == nullptr ? 1.0f / static_cast<float>(codes) : row[slot.token];
    const float u = position_uniform(images[i], position, SJD2_PURPOSE_ACCEPT);
    return accepts(target(i, position)[slot.token], q, u) ? kKeep : kResidual;
  }

  // Rows of [0, limit) may be committed: behind a noisy input no target is conditioned on committed tokens.
  int64_t commit_limit(int64_t i, int64_t rows) const {
    if (images[i].decoder == SJD2_SEQUENTIAL) return min64(rows, 1);
    int64_t limit = min64(rows, 1);
    while (limit < rows && draft(i, images[i].committed + limit - 1).level == 0) ++limit;
    return limit;
  }

  void plan(int64_t i) {
    const sjd2_image& image = images[i];
    const int64_t rows = live_rows(image, max_window);
    const int64_t limit = commit_limit(i, rows);
    bool prefix = true;
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t position = image.committed + row;
      Choice& choice = choices[i * max_window + row];
      prefix = prefix && row < limit;
      choice.token = draft(i, position).token;
      if (draft(i, position).kind == SJD2_DRAFT_FORCED) {
        choice.action = kKeep;
        continue;
      }
      switch (image.decoder) {
        case SJD2_SEQUENTIAL:
          choice.action = row > 0                                          ? kNothing
                          : image.sampler == SJD2_SAMPLER_INVERSE_CDF ? kSequential
                                                                           : kGumbel;
          break;
        case SJD2_GREEDY:
          choice.action = kArgmax;
          break;
        case SJD2_EXACT:
          choice.action = kGumbel;
          break;
        case SJD2_MAXIMAL:
          choice.action = test(i, position);
          break;
        default:
          if (prefix) {
            choice.action = test(i, position);
          } else {
            choice.action = image.decoder == SJD2_GUMBEL ? kGumbel : kDraw;
          }
      }
      prefix = prefix && choice.action == kKeep;
    }
  }

  void search(int64_t i, int64_t row) {
    const sjd2_image& image = images[i];
    const int64_t position = image.committed + row;
    Choice& choice = choices[i * max_window + row];
    if (choice.action == kNothing || choice.action == kKeep) return;
    const float* p = target(i, position);
    switch (choice.action) {
      case kResidual:
        choice.token = draw_residual(p, draft_row(i, position), codes,
                                     position_uniform(image, position, SJD2_PURPOSE_RESIDUAL));
        break;
      case kDraw:
        choice.token = draw_from(p, codes, position_uniform(image, position, SJD2_PURPOSE_DRAW));
        break;
      case kArgmax:
        choice.token = argmax(p);
        break;
      case kGumbel:
        choice.token = gumbel_argmax(p, image, position);
        break;
      default: {
        const uint32_t high = stream_high(SJD2_PURPOSE_SEQUENTIAL, 0);
        const auto element = static_cast<uint32_t>(position);
        const PhiloxBlock block = philox(key_of(image), element / 4, image.index, 0, high);
        choice.token = draw_from(p, codes, uniform24(block.word[element % 4]));
      }
    }
  }

  // The lowest id among the largest.
  int32_t argmax(const float* p) const {
    vf highest = splat(p[0]);
    int64_t c = 0;
    for (; c + kLanes <= codes; c += kLanes) highest = max(load(p + c), highest);
    float best = max_lanes(highest);
    for (; c < codes; ++c) best = p[c] > best ? p[c] : best;
    for (c = 0; p[c] != best;) ++c;
    return static_cast<int32_t>(c);
  }

  // argmax(log p + gumbel) as the race argmin(E / p), E = -log u: log p - log(-log u) = -log(E / p).
  int32_t gumbel_argmax(const float* p, const sjd2_image& image, int64_t position) const {
    const uint32_t high = stream_high(SJD2_PURPOSE_GUMBEL, 0);
    double best_time = std::numeric_limits<double>::infinity();
    int64_t best = 0;
    uint32_t words[4][kPhiloxBatch];
    int64_t candidates[4 * kPhiloxBatch];
    for (int64_t first = 0; first < codes; first += 4 * kPhiloxBatch) {
      const int64_t n = min64(4 * kPhiloxBatch, codes - first);
      const float* weights = p + first;
      float any = 0;
      for (int64_t c = 0; c < n; ++c) any += weights[c];
      if (any == 0) continue;
      philox_batch(words, key_of(image), static_cast<uint32_t>(first / 4), image.index, static_cast<uint32_t>(position),
                   high);
      // -log u >= 1 - u: most codes lose without a logarithm, all those of weight 0 among them (infinity times 0 compares
      // false too). Listed without a branch, which nothing could predict; the margin covers the logarithm's rounding.
      int64_t count = 0;
      for (int64_t c = 0; c < n; ++c) {
        const double u = uniform_open(words[c % 4][c / 4]);
        candidates[count] = c;
        count += (1 - u) * (1 - 1e-12) < best_time * weights[c] ? 1 : 0;
      }
      for (int64_t i = 0; i < count; ++i) {
        const int64_t c = candidates[i];
        const double time = -std::log(uniform_open(words[c % 4][c / 4])) / weights[c];
        if (time < best_time) {
          best_time = time;
          best = first + c;
        }
      }
    }
    return static_cast<int32_t>(best);
  }

  void finish(int64_t i) {
    sjd2_image& image = images[i];
    const int64_t rows = live_rows(image, max_window);
    if (rows == 0) {
      image.accepted = 0;
      return;
    }
    const sjd2_draft front = draft(i, image.committed);
    image.front_level += front.level;
    const int64_t committed = commit(i, commit_limit(i, rows));
    for (int64_t row = committed; row < rows; ++row) redraw(i, row, row < rows - 1);
    const bool failed = rows > 1 && image.decoder != SJD2_SEQUENTIAL && committed == 1 && front.level == 0 &&
                        (front.kind == SJD2_DRAFT_UNIFORM || front.kind == SJD2_DRAFT_ROW) &&
                        choices[i * max_window].token != front.token;
    image.stalls = failed ? image.stalls + 1 : 0;
    if (image.restart > 0 && image.stalls >= image.restart) {
      image.stalls = 0;
      image.restarts += 1;
      for (int64_t row = committed; row < rows; ++row) {
        if (draft(i, image.committed + row).kind != SJD2_DRAFT_FORCED) make_fresh(i, row);
      }
    }
    for (int64_t row = 0; row < committed; ++row) make_fresh(i, row);
    image.committed += static_cast<int32_t>(committed);
    image.accepted = static_cast<int32_t>(committed);
    image.iteration += 1;
  }

  void make_fresh(int64_t i, int64_t row) {
    draft(i, images[i].committed + row) = {0, SJD2_DRAFT_NONE, images[i].levels, 0};
  }

  int64_t commit(int64_t i, int64_t limit) {
    sjd2_image& image = images[i];
    for (int64_t row = 0; row < limit; ++row) {
      const int64_t position = image.committed + row;
      const sjd2_draft& slot = draft(i, position);
      const int32_t token = choices[i * max_window + row].token;
      tokens[i * max_length + position] = token;
      if (slot.kind == SJD2_DRAFT_FORCED) continue;
      const bool kept = slot.kind != SJD2_DRAFT_NONE && token == slot.token;
      if (slot.kind != SJD2_DRAFT_NONE) {
        image.tested += 1;
        image.kept += kept ? 1 : 0;
      }
      if (!kept) return row + 1;
    }
    return limit;
  }

  void redraw(int64_t i, int64_t row, bool was_input) {
    sjd2_image& image = images[i];
    sjd2_draft& slot = draft(i, image.committed + row);
    const Choice choice = choices[i * max_window + row];
    if (choice.action == kNothing) return;
    slot.age += was_input ? 1 : 0;
    if (slot.kind == SJD2_DRAFT_FORCED) return;
    if (slot.kind != SJD2_DRAFT_NONE) {
      image.tail += 1;
      image.tail_kept += choice.token == slot.token ? 1 : 0;
    }
    slot.token = choice.token;
    slot.kind = SJD2_DRAFT_ROW;
    slot.level = slot.level > 0 ? slot.level - 1 : 0;
  }
};

}  // namespace

int32_t verify_f32(sjd2_stream stream, int32_t* tokens, sjd2_draft* drafts, sjd2_image* images, sjd2_sequence* sequences,
                   const float* probs, const int32_t*, int64_t n_images, int64_t batch, int64_t max_window,
                   int64_t max_length, int64_t codes) {
  const auto bytes = static_cast<int64_t>(sizeof(Choice)) * n_images * max_window;
  auto* choices = static_cast<Choice*>(call_scratch(stream, 0, bytes));
  if (choices == nullptr) {
    return fail(SJD2_OUT_OF_MEMORY, "verify: no memory for %lld rows", static_cast<long long>(n_images * max_window));
  }
  Verify work{tokens, drafts, images, probs, choices, max_window, max_length, codes};
  // Images are independent; one image's rows are cheap to plan and to finish, so that only their search is spread.
  const int64_t tasks = task_count(stream, n_images, div_up(64, max_window));
  const auto each_image = [&](auto&& f) {
    parallel_for(stream, tasks, [&](int64_t task) {
      const Part part = part_of(n_images, task, tasks);
      for (int64_t i = part.begin; i < part.end; ++i) f(i);
    });
  };
  each_image([&](int64_t i) { work.plan(i); });
  for_image_rows(stream, images, n_images, max_window, codes, [&](int64_t i, int64_t row) { work.search(i, row); });
  each_image([&](int64_t i) { work.finish(i); });
  for (int64_t b = 0; b < batch; ++b) {
    const int32_t i = sequences[b].image;
    if (i < 0 || i >= n_images) continue;
    sequences[b].kv_len += images[i].accepted;
    sequences[b].position += images[i].accepted;
    sequences[b].rows = static_cast<int32_t>(live_rows(images[i], max_window));
  }
  return SJD2_OK;
}

int32_t verify_given_f32(sjd2_stream, int32_t* result, float* residual, const int32_t* draft, const float* q,
                         const float* p, const float* uniforms, float resample_uniform, int64_t rows, int64_t codes) {
  int32_t accepted = 0;
  int32_t produced = 0;
  for (int64_t r = 0; r < rows && produced == accepted; ++r) {
    const float* target = p + r * codes;
    const float* drafted = q + r * codes;
    int32_t token = draft[r];
    if (token < 0 || token >= codes) {
      return fail(SJD2_BAD_ARGUMENT, "verify_given: draft %lld is %d, expected a code below %lld",
                  static_cast<long long>(r), token, static_cast<long long>(codes));
    }
    if (accepts(target[token], drafted[token], uniforms[r])) {
      ++accepted;
    } else {
      const auto excess = [=](int64_t c) {
        const double d = static_cast<double>(target[c]) - drafted[c];
        return d > 0 ? d : 0.0;
      };
      const double total = total_of(excess, codes);
      for (int64_t c = 0; c < codes; ++c) residual[c] = total > 0 ? static_cast<float>(excess(c) / total) : target[c];
      token = draw_residual(target, drafted, codes, resample_uniform);
    }
    result[2 + produced++] = token;
  }
  result[0] = accepted;
  result[1] = produced;
  return SJD2_OK;
}

}  // namespace sjd2::SJD2_ISA
