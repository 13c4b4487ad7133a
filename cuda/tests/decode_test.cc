// The decode operations: whole decodes over a table of logits, selection against sorting, bad arguments.
#include "check.h"

namespace {

using namespace sjd2::test;

constexpr int32_t kDecoders = 6;

struct Settings {
  int64_t images, length, codes, hidden, max_window;
  int32_t window, levels, decoder, top_k;
  float top_p, guidance;
  bool forced;
  uint64_t seed;
};

// One decode: every buffer between guard bands, logits a function of the position and the symbol to its left.
class Decode {
 public:
  explicit Decode(const Settings& s)
      : s_(s),
        batch_(2 * s.images),
        tokens(s.images * s.length),
        drafts_(s.images * s.max_window),
        images_(s.images),
        sequences_(2 * s.images),
        forced_(s.length),
        input_(s.images * s.max_window * s.hidden),
        noisy_(s.images * s.max_window * s.hidden),
        probs_(s.images * 2 * s.max_window * s.codes),
        logits_(2 * s.images * s.max_window * s.codes),
        table_((s.codes + 2) * s.hidden),
        mean_(s.hidden),
        std_(s.hidden),
        level_(9 * s.hidden),
        lambda_(9),
        alpha_(9) {
    Random random(s.seed);
    table_.fill_normal(random);
    mean_.fill_normal(random);
    level_.fill_normal(random);
    std_.fill(0.7f);
    for (int l = 0; l <= 8; ++l) {
      lambda_[l] = static_cast<float>(l);
      alpha_[l] = static_cast<float>(1.0 / std::sqrt(1.0 + l * l));
    }
    for (int64_t p = 0; p < s.length; ++p) forced_[p] = s.forced && p % 5 == 4 ? static_cast<int32_t>(s.codes + p % 2) : -1;
    for (int64_t i = 0; i < drafts_.size(); ++i) drafts_[i] = {};
    for (int64_t i = 0; i < s.images; ++i) {
      sjd2_image& image = images_[i];
      image = {};
      image.seed_lo = static_cast<uint32_t>(s.seed);
      image.index = static_cast<uint32_t>(i);
      image.length = static_cast<int32_t>(s.length);
      image.window = s.window;
      image.levels = s.levels;
      image.restart = s.levels > 0 ? 1 : 0;
      image.decoder = s.decoder;
      image.top_k = s.top_k;
      image.top_p = s.top_p;
      image.temperature = 0.9f;
      image.guidance = s.guidance;
      image.cond = static_cast<int32_t>(2 * i);
      image.uncond = s.guidance == 1.0f ? -1 : static_cast<int32_t>(2 * i + 1);
      const auto rows = static_cast<int32_t>(std::min<int64_t>(s.window, s.length));
      for (int64_t b = 2 * i; b < 2 * i + 2; ++b) sequences_[b] = {7, rows, 7, static_cast<int32_t>(i)};
    }
  }

  // Returns the number of passes, or -1. What the host wrote goes to the device once; then the state stays there.
  int run() {
    tokens.in(), drafts_.in(), images_.in(), sequences_.in(), forced_.in();
    table_.in(), mean_.in(), std_.in(), level_.in(), lambda_.in(), alpha_.in();
    for (int pass = 0; pass < 4 * s_.length; ++pass) {
      bool done = true;
      for (int64_t i = 0; i < s_.images; ++i) done = done && images_[i].committed == images_[i].length;
      if (done) return intact() ? pass : -1;
      if (!step()) return -1;
    }
    return -1;
  }

  int64_t restarts() const {
    int64_t sum = 0;
    for (int64_t i = 0; i < s_.images; ++i) sum += images_[i].restarts;
    return sum;
  }

 private:
  bool step() {
    int32_t status = sjd2_window_input_f32(
        stream, input_.at(), noisy_.at(), drafts_.at(), images_.at(), tokens.at(), table_.at(), nullptr, mean_.at(), std_.at(),
        level_.at(), lambda_.at(), alpha_.at(), forced_.at(), s_.images, s_.max_window, s_.length, s_.hidden, s_.codes + 2,
        s_.codes, 8);
    if (!ok(status, "window_input")) return false;
    drafts_.fetch();
    for (int64_t i = 0; i < s_.images; ++i) predict(i);
    status = sjd2_target_probs_f32(stream, probs_.at(), logits_.in(), images_.at(), forced_.at(), s_.images, batch_,
                                   s_.max_window, s_.codes);
    if (!ok(status, "target_probs")) return false;
    status = sjd2_verify_f32(stream, tokens.at(), drafts_.at(), images_.at(), sequences_.at(), probs_.at(), forced_.at(),
                             s_.images, batch_, s_.max_window, s_.length, s_.codes);
    if (!ok(status, "verify")) return false;
    tokens.fetch();
    images_.fetch();
    sequences_.fetch();
    return progress();
  }

  void predict(int64_t i) {
    const sjd2_image& image = images_[i];
    for (int32_t w = 0; w < sequences_[2 * i].rows; ++w) {
      const int64_t position = image.committed + w;
      int64_t left = -1;
      if (w > 0) {
        const sjd2_draft& slot = drafts_[i * s_.max_window + (position - 1) % s_.max_window];
        left = slot.level > 0 ? 1000 + slot.level : slot.token;
      } else if (position > 0) {
        left = tokens[i * s_.length + position - 1];
      }
      for (int64_t half = 0; half < 2; ++half) {
        Random random(static_cast<uint64_t>((left + 2) * 977 + half * 31 + (position % 7)));
        float* row = logits_.data() + ((2 * i + half) * s_.max_window + w) * s_.codes;
        for (int64_t c = 0; c < s_.codes; ++c) row[c] = static_cast<float>(2.0 * random.normal());
      }
    }
  }

  bool progress() {
    for (int64_t i = 0; i < s_.images; ++i) {
      const sjd2_image& image = images_[i];
      const bool right = image.status == SJD2_IMAGE_OK && image.committed <= image.length &&
                         sequences_[2 * i].kv_len == 7 + image.committed && sequences_[2 * i].position == 7 + image.committed &&
                         sequences_[2 * i].rows == std::min(image.window, image.length - image.committed) &&
                         (image.accepted > 0 || image.committed == image.length);
      if (!expect(right, "decoder %d: image %d stands at %d with %d rows after pass %d", s_.decoder, static_cast<int>(i),
                  image.committed, sequences_[2 * i].rows, image.iteration)) {
        return false;
      }
    }
    return true;
  }

  bool intact() {
    input_.fetch();
    noisy_.fetch();
    probs_.fetch();
    bool right = tokens.bands_intact() && drafts_.bands_intact() && images_.bands_intact() && sequences_.bands_intact() &&
                 input_.bands_intact() && noisy_.bands_intact() && probs_.bands_intact() && logits_.bands_intact();
    for (int64_t p = 0; p < s_.images * s_.length; ++p) {
      const int32_t forced = forced_[p % s_.length];
      right = right && (forced >= 0 ? tokens[p] == forced : tokens[p] >= 0 && tokens[p] < s_.codes);
    }
    return expect(right, "decoder %d: a stray write, or a token out of place", s_.decoder);
  }

  Settings s_;
  int64_t batch_;

 public:
  Guarded<int32_t> tokens;

 private:
  Guarded<sjd2_draft> drafts_;
  Guarded<sjd2_image> images_;
  Guarded<sjd2_sequence> sequences_;
  Guarded<int32_t> forced_;
  Guarded<float> input_, noisy_, probs_, logits_, table_, mean_, std_, level_, lambda_, alpha_;
};

// Sanitizers look at paths, and take long about it, the race check above all: for them shorter and fewer decodes.
#if defined(SJD2_KIND_raced)
constexpr int32_t kLevels[] = {0, 2}, kWindow = 4;
constexpr int64_t kLength = 8;
#elif defined(SJD2_KIND_sanitized)
constexpr int32_t kLevels[] = {0, 2}, kWindow = 16;
constexpr int64_t kLength = 25;
#else
constexpr int32_t kLevels[] = {0, 1, 2, 4, 8}, kWindow = 64;
constexpr int64_t kLength = 64;
#endif

void check_decodes() {
  const Settings shapes[] = {
      {1, 40, 17, 5, 8, 8, 0, 0, 0, 1.0f, 1.0f, false, 1},
      {3, 33, 64, 16, 16, 11, 0, 0, 9, 0.9f, 2.5f, true, 2},
      {2, 25, 3, 33, 40, 25, 0, 0, 2, 1.0f, 3.0f, true, 3},
      {1, 12, 1, 1, 1, 1, 0, 0, 1, 0.5f, 1.0f, false, 4},
  };
  int64_t restarts = 0;
  for (Settings s : shapes) {
    s.length = std::min(s.length, kLength);
    s.window = std::min(s.window, kWindow);
    s.decoder = SJD2_SEQUENTIAL;
    Decode sequential(s);
    Settings one = s;
    one.window = 1;
    Decode narrow_window(one);
    expect(sequential.run() > 0 && narrow_window.run() > 0, "ar does not end");
    for (s.decoder = SJD2_GREEDY; s.decoder < kDecoders; ++s.decoder) {
      for (const int32_t levels : kLevels) {
        s.levels = levels;
        Decode decode(s);
        expect(decode.run() > 0, "decoder %d with %d levels does not end", s.decoder, s.levels);
        restarts += decode.restarts();
        if (s.decoder != SJD2_EXACT) continue;
        for (int64_t p = 0; p < s.images * s.length; ++p) {
          if (!expect(decode.tokens[p] == narrow_window.tokens[p], "exact, %d levels: token %d is %d, ar has %d", s.levels,
                      static_cast<int>(p), decode.tokens[p], narrow_window.tokens[p])) {
            break;
          }
        }
      }
    }
  }
  expect(restarts > 0, "no window started again");
}

// The codes that top-k, or top-p in f64, keeps: by sorting.
std::vector<bool> sorted_choice(const Guarded<float>& logits, int64_t k, double share) {
  const int64_t codes = logits.size();
  std::vector<int64_t> order(static_cast<size_t>(codes));
  for (int64_t c = 0; c < codes; ++c) order[static_cast<size_t>(c)] = c;
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return logits[a] > logits[b]; });
  double total = 0.0, before = 0.0;
  for (int64_t c = 0; c < codes; ++c) total += std::exp(static_cast<double>(logits[c]));
  std::vector<bool> kept(static_cast<size_t>(codes));
  for (int64_t rank = 0; rank < codes; ++rank) {
    const int64_t c = order[static_cast<size_t>(rank)];
    const bool by_rank = k > 0 && logits[c] >= logits[order[static_cast<size_t>(k - 1)]];
    kept[static_cast<size_t>(c)] = k > 0 ? by_rank : rank == 0 || before < share * total;
    before += std::exp(static_cast<double>(logits[c]));
  }
  return kept;
}

void check_selection() {
  uint64_t seed = 50;
  for (const int64_t codes : {1, 2, 15, 17, 100, 1000, 4097}) {
    for (const double rule : {1.0, 3.0, codes / 2.0, codes - 1.0, 0.0, 0.13, 0.5, 0.931}) {
      const bool by_rank = rule >= 1.0;
      Random random(seed++);
      Guarded<float> logits(codes), probs(2 * codes);
      // Few different values, so that ties are met.
      for (int64_t c = 0; c < codes; ++c) {
        logits[c] = static_cast<float>(seed % 2 == 0 ? random.normal() : static_cast<double>(random.below(6)));
      }
      Guarded<sjd2_image> image(1);
      image[0] = {};
      image[0].length = image[0].window = 1;
      image[0].temperature = image[0].guidance = 1.0f;
      image[0].top_p = by_rank ? 1.0f : static_cast<float>(rule);
      image[0].uncond = -1;
      image[0].top_k = by_rank ? static_cast<int32_t>(rule) : 0;
      ok(sjd2_target_probs_f32(stream, probs.at(), logits.in(), image.in(), nullptr, 1, 1, 1, codes), "target_probs");
      probs.fetch();
      const std::vector<bool> kept =
          sorted_choice(logits, std::min<int64_t>(image[0].top_k, codes), static_cast<double>(image[0].top_p));
      double total = 0.0, expected = 0.0;
      bool right = true;
      for (int64_t c = 0; c < codes; ++c) {
        right = right && (probs[c] > 0.0f) == kept[static_cast<size_t>(c)];
        if (kept[static_cast<size_t>(c)]) expected += std::exp(static_cast<double>(logits[c]));
        total += probs[c];
      }
      for (int64_t c = 0; c < codes && right; ++c) {
        const double exact = kept[static_cast<size_t>(c)] ? std::exp(static_cast<double>(logits[c])) / expected : 0.0;
        right = std::fabs(probs[c] - exact) <= 1e-6 * exact;
      }
      expect(right && std::fabs(total - 1.0) < 1e-5, "rule %g of %d codes keeps the wrong ones", rule,
             static_cast<int>(codes));
      expect(probs.bands_intact(), "target_probs writes beyond its rows");
    }
  }
  // A row that is no distribution.
  Guarded<float> logits(4), probs(8);
  logits.fill(0.0f);
  logits[2] = NAN;
  Guarded<sjd2_image> image(1);
  image[0] = {};
  image[0].length = image[0].window = 1;
  image[0].temperature = image[0].top_p = 1.0f;
  image[0].uncond = -1;
  ok(sjd2_target_probs_f32(stream, probs.at(), logits.in(), image.in(), nullptr, 1, 1, 1, 4), "target_probs");
  image.fetch();
  expect(image[0].status == SJD2_IMAGE_NAN_LOGITS, "a NaN among the logits goes unseen");
}

void check_small() {
  Guarded<uint32_t> words(4);
  ok(sjd2_philox_words(stream, words.at(), 0, 0, 0, 0, 0, 4), "philox_words");
  words.fetch();
  expect(words[0] == 0x6627E8D5u && words[3] == 0x9B00DBD8u, "philox: %08x .. %08x is not the known answer", words[0], words[3]);
  for (const int64_t codes : {1, 7, 64, 65, 333}) {
    Random random(static_cast<uint64_t>(codes));
    Guarded<float> p(3 * codes), q(3 * codes), residual(codes), uniforms(3), likelihood(3);
    Guarded<int32_t> drafts(3), result(6), drawn(3);
    for (int64_t r = 0; r < 3; ++r) {
      for (Guarded<float>* rows : {&p, &q}) {
        double total = 0.0;
        for (int64_t c = 0; c < codes; ++c) total += (*rows)[r * codes + c] = static_cast<float>(random.uniform() + 0.01);
        for (int64_t c = 0; c < codes; ++c) (*rows)[r * codes + c] /= static_cast<float>(total);
      }
      drafts[r] = static_cast<int32_t>(random.below(codes));
      uniforms[r] = static_cast<float>(random.below(1 << 24)) * 0x1p-24f;
    }
    ok(sjd2_verify_given_f32(stream, result.at(), residual.at(), drafts.in(), q.in(), p.in(), uniforms.in(), 0.5f, 3, codes),
       "verify_given");
    result.fetch();
    residual.fetch();
    int32_t accepted = 0;
    while (accepted < 3) {
      const int64_t at = accepted * codes + drafts[accepted];
      if (!(static_cast<double>(uniforms[accepted]) * q[at] < p[at])) break;
      ++accepted;
    }
    expect(result[0] == accepted && result[1] == std::min(3, accepted + 1), "verify_given accepts %d of %d", result[0], accepted);
    ok(sjd2_draw_given_f32(stream, drawn.at(), p.at(), uniforms.at(), 3, codes), "draw_given");
    ok(sjd2_log_likelihood_f32(stream, likelihood.at(), p.at(), drafts.at(), 3, codes), "log_likelihood");
    drawn.fetch();
    likelihood.fetch();
    for (int64_t r = 0; r < 3; ++r) {
      double sum = 0.0, total = 0.0;
      int32_t expected = -1;
      for (int64_t c = 0; c < codes; ++c) {
        sum += p[r * codes + c];
        total += std::exp(static_cast<double>(p[r * codes + c]));
        if (expected < 0 && sum > uniforms[r]) expected = static_cast<int32_t>(c);
      }
      expect(drawn[r] == (expected < 0 ? codes - 1 : expected), "draw_given: %d, expected %d", drawn[r], expected);
      const double exact = p[r * codes + drafts[r]] - std::log(total);
      expect(std::fabs(likelihood[r] - exact) <= 1e-6 * (1.0 + std::fabs(exact)), "log_likelihood: %g, expected %g",
             static_cast<double>(likelihood[r]), exact);
    }
    expect(result.bands_intact() && residual.bands_intact() && drawn.bands_intact() && likelihood.bands_intact(),
           "a stray write at %d codes", static_cast<int>(codes));
  }
}

void check_refusals() {
  Guarded<float> values(8);
  Guarded<int32_t> ids(8);
  Guarded<sjd2_image> image(1);
  Guarded<sjd2_draft> draft(1);
  Guarded<sjd2_sequence> sequence(1);
  values.fill(0.0f);
  ids.fill(0);
  image[0] = {};
  draft[0] = {};
  sequence[0] = {};
  image[0].length = image[0].window = 1;
  image[0].temperature = image[0].top_p = 1.0f;
  image[0].uncond = -1;
  values.in(), ids.in(), draft.in(), sequence.in();
  const auto targets = [&](float* probs, int64_t codes) {
    return sjd2_target_probs_f32(stream, probs, values.at(), image.in(), nullptr, 1, 1, 1, codes);
  };
  const auto inputs = [&](int64_t max_length) {
    return sjd2_window_input_f32(stream, values.at(), nullptr, draft.at(), image.in(), ids.in(), values.at(), nullptr, nullptr,
                                 nullptr, nullptr, nullptr, nullptr, nullptr, 1, 1, max_length, 1, 4, 4, 1);
  };
  const auto verifies = [&] {
    return sjd2_verify_f32(stream, ids.at(), draft.at(), image.in(), sequence.at(), values.at(), nullptr, 1, 1, 1, 1, 4);
  };
  refused(targets(nullptr, 4), SJD2_BAD_ARGUMENT, "null probs");
  refused(targets(values.at(), 0), SJD2_BAD_SHAPE, "no codes");
  image[0].temperature = 0.0f;
  refused(targets(values.at(), 4), SJD2_BAD_ARGUMENT, "temperature 0");
  image[0].temperature = 1.0f;
  image[0].cond = 5;
  refused(targets(values.at(), 4), SJD2_BAD_ARGUMENT, "sequence 5 of 1");
  image[0].cond = 0;
  image[0].window = 2;
  refused(verifies(), SJD2_BAD_ARGUMENT, "window 2 of 1");
  image[0].window = 1;
  image[0].decoder = 9;
  refused(verifies(), SJD2_BAD_ARGUMENT, "decoder 9");
  image[0].decoder = 0;
  image[0].levels = 1;
  refused(inputs(1), SJD2_BAD_ARGUMENT, "levels without noise");
  image[0].levels = 0;
  image[0].length = 2;
  image[0].committed = 1;
  ids[0] = 4;
  refused(inputs(2), SJD2_BAD_ARGUMENT, "token 4 of a table of 4");
  ids[0] = 7;
  refused(sjd2_log_likelihood_f32(stream, values.at(), values.at(), ids.in(), 1, 4), SJD2_BAD_ARGUMENT, "target 7 of 4");
}

}  // namespace

int main() {
  return run("decode", [] {
    check_decodes();
    check_selection();
    check_small();
    check_refusals();
  });
}
