// Decoding: the window's input, targets and verification, and the draws that they are made of.
#include <array>

#include "bench.h"

namespace sjd2::bench {
namespace {

// A decode of one picture, with and without the prompt, in its middle: every slot holds a draft of the previous pass.
struct Decoding {
  static constexpr int64_t kBatch = 2, kLevels = 4;

  int64_t window, length, codes, hidden, committed;
  Guarded<float> input, noisy, probs, logits, table, mean, std, level_embed, lambda, alpha;
  Guarded<int32_t> tokens;
  Guarded<sjd2_draft> drafts;
  Guarded<sjd2_image> images;
  Guarded<sjd2_sequence> sequences;

  Decoding(const Shapes& s, int64_t window_)
      : window(window_), length(s.max_length), codes(s.codes), hidden(s.hidden), committed(s.max_length / 4),
        input(window * hidden, Place::kAligned), noisy(window * hidden, Place::kAligned),
        probs(2 * window * codes, Place::kAligned), logits(kBatch * window * codes, Place::kAligned),
        table(codes * hidden, Place::kAligned), mean(hidden, Place::kAligned), std(hidden, Place::kAligned),
        level_embed((kLevels + 1) * hidden, Place::kAligned), lambda(kLevels + 1), alpha(kLevels + 1),
        tokens(length, Place::kAligned), drafts(window, Place::kAligned), images(1, Place::kAligned),
        sequences(kBatch, Place::kAligned) {}

  // Slot of a position in the window's ring.
  int64_t slot(int64_t position) const { return position % window; }

  void start(int32_t decoder, int32_t levels, int32_t top_k) {
    sjd2_image& image = images[0];
    image = {};
    image.seed_lo = 5;
    image.length = static_cast<int32_t>(length);
    image.window = static_cast<int32_t>(window);
    image.levels = levels;
    image.decoder = decoder;
    image.top_k = top_k;
    image.top_p = 1.0f;
    image.temperature = 0.9f;
    image.guidance = 3.0f;
    image.cond = 0;
    image.uncond = 1;
    image.committed = static_cast<int32_t>(committed);
    image.iteration = 10;
    images.in();
    for (int64_t b = 0; b < kBatch; ++b) {
      sequences[b] = {static_cast<int32_t>(20 + committed), static_cast<int32_t>(window), static_cast<int32_t>(20 + committed), 0};
    }
    sequences.in();
    for (int64_t p = 0; p < length; ++p) tokens[p] = static_cast<int32_t>(p * 7 % codes);
    tokens.in();
  }
};

Case window_input(const Shapes& s, int64_t window) {
  const auto m = std::make_shared<Decoding>(s, window);
  Random random(21);
  m->table.fill_normal(random);
  m->mean.fill_normal(random, 0.1);
  m->level_embed.fill_normal(random);
  m->std.fill(0.7f);
  m->noisy.fill_normal(random);
  for (int64_t l = 0; l <= Decoding::kLevels; ++l) {
    m->lambda[l] = static_cast<float>(l);
    m->alpha[l] = static_cast<float>(1.0 / std::sqrt(1.0 + static_cast<double>(l * l)));
  }
  for (Guarded<float>* g : {&m->table, &m->mean, &m->std, &m->level_embed, &m->lambda, &m->alpha, &m->input}) g->in();
  // The first slots are clean; behind them noise that the last verification has lowered by a level.
  const int64_t clean = window / 2;
  for (int64_t w = 0; w < window; ++w) {
    const int64_t position = m->committed + w;
    m->drafts[m->slot(position)] = {static_cast<int32_t>((w * 13 + 5) % m->codes), SJD2_DRAFT_ROW, w < clean ? 0 : 2, 1};
  }
  Case c;
  c.operation = "window_input";
  c.dtype = "f32";
  c.shape = text("window %lld of %lld, half of it noise", static_cast<long long>(window), static_cast<long long>(s.hidden));
  c.bytes = static_cast<double>(window * s.hidden) * 16.0;
  c.flop = 10.0 * static_cast<double>(window * s.hidden);
  // noisy's host copy is what the operation starts from, and stays so.
  c.prepare = [=] {
    m->start(SJD2_MAXIMAL, Decoding::kLevels, 0);
    m->noisy.in(), m->drafts.in();
  };
  c.enqueue = [=] {
    return sjd2_window_input_f32(stream, m->input.at(), m->noisy.at(), m->drafts.at(), m->images.at(), m->tokens.at(),
                                 m->table.at(), nullptr, m->mean.at(), m->std.at(), m->level_embed.at(), m->lambda.at(),
                                 m->alpha.at(), nullptr, 1, m->window, m->length, m->hidden, m->codes, m->codes,
                                 Decoding::kLevels);
  };
  c.check = [=] {
    m->input.fetch();
    Parity<float> parity;
    const double r = 2.0 / 3.0;  // lambda[2] / lambda[3]
    Random pick(23);
    for (int64_t i = 0; i < kSamples; ++i) {
      const int64_t w = pick.below(m->window), e = pick.below(m->hidden);
      double exact = 0.0;
      float naive = 0.0f;
      if (w == 0) {
        exact = naive = m->table[m->tokens[m->committed - 1] * m->hidden + e];
      } else {
        const int64_t slot = m->slot(m->committed + w - 1);
        const float clean_value = m->table[m->drafts[slot].token * m->hidden + e];
        exact = naive = clean_value;
        if (w - 1 >= clean) {
          const float z = m->noisy[slot * m->hidden + e], mean = m->mean[e], std = m->std[e], alpha = m->alpha[2];
          const double moved = r * z + (1.0 - r) * (static_cast<double>(clean_value) - mean) / std;
          exact = mean + static_cast<double>(std) * alpha * moved + m->level_embed[2 * m->hidden + e];
          const float r32 = m->lambda[2] / m->lambda[3];
          const float moved32 = r32 * z + (1.0f - r32) * ((clean_value - mean) / std);
          naive = mean + std * (alpha * moved32) + m->level_embed[2 * m->hidden + e];
        }
      }
      parity.add(m->input[w * m->hidden + e], naive, exact);
    }
    expect_near(parity, "window_input");
  };
  return c;
}

Case target_probs(const Shapes& s, int64_t window, int32_t top_k) {
  const auto m = std::make_shared<Decoding>(s, window);
  Random random(29);
  m->logits.fill_normal(random, 2.0);
  m->logits.in();
  Case c;
  c.operation = "target_probs";
  c.dtype = "f32";
  c.shape = text("window %lld, %lld codes, guided, top_k %d", static_cast<long long>(window), static_cast<long long>(s.codes),
                 top_k);
  c.bytes = static_cast<double>(window * s.codes) * 12.0;
  c.flop = 8.0 * static_cast<double>(window * s.codes);
  c.prepare = [=] {
    m->start(SJD2_MAXIMAL, 0, top_k);
    m->probs.in();
  };
  c.enqueue = [=] {
    return sjd2_target_probs_f32(stream, m->probs.at(), m->logits.at(), m->images.at(), nullptr, 1, Decoding::kBatch,
                                 m->window, m->codes);
  };
  c.check = [=] {
    m->probs.fetch();
    const int64_t rows = std::min<int64_t>(m->window, 8);
    std::vector<double> scores(static_cast<size_t>(m->codes));
    for (int64_t w = 0; w < rows; ++w) {
      for (int64_t i = 0; i < m->codes; ++i) {
        const double cond = m->logits[w * m->codes + i], uncond = m->logits[(m->window + w) * m->codes + i];
        scores[static_cast<size_t>(i)] = (uncond + 3.0 * (cond - uncond)) / 0.9;
      }
      double least = -INFINITY;
      if (top_k > 0 && top_k < m->codes) {
        std::vector<double> sorted = scores;
        std::nth_element(sorted.begin(), sorted.begin() + top_k - 1, sorted.end(), std::greater<>());
        least = sorted[static_cast<size_t>(top_k - 1)];
      }
      const double highest = *std::max_element(scores.begin(), scores.end());
      double total = 0.0;
      for (const double score : scores) total += score >= least ? std::exp(score - highest) : 0.0;
      // The half of pass 10 is the first.
      const float* got = m->probs.data() + m->slot(m->committed + w) * m->codes;
      bool right = true;
      for (int64_t i = 0; i < m->codes; ++i) {
        const double score = scores[static_cast<size_t>(i)];
        // A score in f32 has a few roundings of numbers up to 30, which exp turns into that many parts of the result; at
        // the edge of the filter they may change sides.
        const double near = 1e-4;
        const double exact = score >= least ? std::exp(score - highest) / total : 0.0;
        right &= std::fabs(got[i] - exact) <= near * exact + 1e-12 || std::fabs(score - least) < near;
      }
      expect(right, "target_probs: row %d differs", static_cast<int>(w));
    }
  };
  return c;
}

// p of each position is nearly all on one code; the drafts are right in the window's first half, so that the pass commits up
// to the first wrong one, which is replaced.
Case verify(const Shapes& s, int64_t window, int32_t decoder, const char* decoder_name) {
  const auto m = std::make_shared<Decoding>(s, window);
  const int64_t right_drafts = window / 2;
  const auto wanted = [codes = s.codes](int64_t position) { return static_cast<int32_t>((position * 31 + 3) % codes); };
  m->probs.fill(0.0f);
  for (int64_t w = 0; w < window; ++w) {
    const int64_t position = m->committed + w;
    m->probs[m->slot(position) * s.codes + wanted(position)] = 1.0f;
    for (int64_t i = 0; i < s.codes; ++i) m->probs[(window + m->slot(position)) * s.codes + i] = 1.0f / static_cast<float>(s.codes);
    const int32_t off = s.codes > 1 ? (w < right_drafts ? 0 : 1) : 0;
    m->drafts[m->slot(position)] = {static_cast<int32_t>((wanted(position) + off) % s.codes), SJD2_DRAFT_ROW, 0, 1};
  }
  Case c;
  c.operation = "verify";
  c.dtype = "f32";
  c.shape = text("window %lld, %lld codes, %s", static_cast<long long>(window), static_cast<long long>(s.codes), decoder_name);
  c.bytes = static_cast<double>(window * s.codes) * 8.0;
  c.flop = 4.0 * static_cast<double>(window * s.codes);
  c.prepare = [=] {
    m->start(decoder, 0, 0);
    m->probs.in(), m->drafts.in();
  };
  c.enqueue = [=] {
    return sjd2_verify_f32(stream, m->tokens.at(), m->drafts.at(), m->images.at(), m->sequences.at(), m->probs.at(), nullptr,
                           1, Decoding::kBatch, m->window, m->length, m->codes);
  };
  c.check = [=] {
    m->tokens.fetch(), m->images.fetch();
    const int64_t commits = right_drafts + 1;
    bool right = m->images[0].accepted == commits && m->images[0].committed == m->committed + commits;
    for (int64_t p = m->committed; p < m->committed + commits; ++p) right &= m->tokens[p] == wanted(p);
    expect(right, "verify, %s: %d committed, expected %d of the codes wanted", decoder_name, m->images[0].accepted,
           static_cast<int>(commits));
  };
  return c;
}

// Rows of probabilities for the operations that are given their random numbers.
struct Given {
  Guarded<float> p, q, residual, uniforms, likelihood;
  Guarded<int32_t> drafts, result, drawn;
  int64_t rows, codes;

  Given(int64_t rows_, int64_t codes_)
      : p(rows_ * codes_, Place::kAligned), q(rows_ * codes_, Place::kAligned), residual(codes_, Place::kAligned), uniforms(rows_),
        likelihood(rows_), drafts(rows_), result(rows_ + 3), drawn(rows_), rows(rows_), codes(codes_) {
    Random random(31);
    for (int64_t r = 0; r < rows; ++r) {
      for (Guarded<float>* g : {&p, &q}) {
        double total = 0.0;
        for (int64_t i = 0; i < codes; ++i) total += (*g)[r * codes + i] = static_cast<float>(random.uniform() + 0.01);
        for (int64_t i = 0; i < codes; ++i) (*g)[r * codes + i] /= static_cast<float>(total);
      }
      drafts[r] = static_cast<int32_t>(random.below(codes));
      uniforms[r] = static_cast<float>(random.below(1 << 24)) * 0x1p-24f;
    }
    p.in(), q.in(), residual.in(), uniforms.in(), likelihood.in(), drafts.in(), result.in(), drawn.in();
  }
};

Case given_case(const char* operation, const Shapes& s, int64_t rows) {
  Case c;
  c.operation = operation;
  c.dtype = "f32";
  c.shape = text("%lld rows of %lld codes", static_cast<long long>(rows), static_cast<long long>(s.codes));
  return c;
}

Case verify_given(const Shapes& s, int64_t rows) {
  const auto m = std::make_shared<Given>(rows, s.codes);
  Case c = given_case("verify_given", s, rows);
  c.bytes = static_cast<double>(s.codes) * 12.0;  // of the one row that is drawn anew
  c.enqueue = [=] {
    return sjd2_verify_given_f32(stream, m->result.at(), m->residual.at(), m->drafts.at(), m->q.at(), m->p.at(),
                                 m->uniforms.at(), 0.5f, m->rows, m->codes);
  };
  c.check = [=] {
    m->result.fetch();
    int64_t accepted = 0;
    while (accepted < m->rows) {
      const int64_t at = accepted * m->codes + m->drafts[accepted];
      if (!(static_cast<double>(m->uniforms[accepted]) * m->q[at] < m->p[at])) break;
      ++accepted;
    }
    expect(m->result[0] == accepted, "verify_given: accepts %d, expected %d", m->result[0], static_cast<int>(accepted));
  };
  return c;
}

Case draw_given(const Shapes& s, int64_t rows) {
  const auto m = std::make_shared<Given>(rows, s.codes);
  Case c = given_case("draw_given", s, rows);
  c.bytes = static_cast<double>(rows * s.codes) * 4.0;
  c.flop = static_cast<double>(rows * s.codes);
  c.enqueue = [=] { return sjd2_draw_given_f32(stream, m->drawn.at(), m->p.at(), m->uniforms.at(), m->rows, m->codes); };
  c.check = [=] {
    m->drawn.fetch();
    for (int64_t r = 0; r < m->rows; ++r) {
      double sum = 0.0;
      int64_t drawn = 0;
      while (drawn < m->codes - 1 && !((sum += m->p[r * m->codes + drawn]) > static_cast<double>(m->uniforms[r]))) ++drawn;
      expect(m->drawn[r] == drawn, "draw_given: row %d draws %d, expected %d", static_cast<int>(r), m->drawn[r],
             static_cast<int>(drawn));
    }
  };
  return c;
}

Case log_likelihood(const Shapes& s, int64_t rows) {
  const auto m = std::make_shared<Given>(rows, s.codes);
  Case c = given_case("log_likelihood", s, rows);
  c.bytes = static_cast<double>(rows * s.codes) * 4.0;
  c.flop = 3.0 * static_cast<double>(rows * s.codes);
  c.enqueue = [=] {
    return sjd2_log_likelihood_f32(stream, m->likelihood.at(), m->p.at(), m->drafts.at(), m->rows, m->codes);
  };
  c.check = [=] {
    m->likelihood.fetch();
    Parity<float> parity;
    for (int64_t r = 0; r < m->rows; ++r) {
      double total = 0.0;
      float total32 = 0.0f;
      for (int64_t i = 0; i < m->codes; ++i) {
        total += std::exp(static_cast<double>(m->p[r * m->codes + i]));
        total32 += std::exp(m->p[r * m->codes + i]);
      }
      const float logit = m->p[r * m->codes + m->drafts[r]];
      parity.add(m->likelihood[r], logit - std::log(total32), static_cast<double>(logit) - std::log(total));
    }
    expect_near(parity, "log_likelihood");
  };
  return c;
}

// Philox4x32-10. Source: Salmon et al. 2011, as docs/decoding.md lays it out.
std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53u} * counter[0], b = uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key0, static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key1, static_cast<uint32_t>(a)};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return counter;
}

Case philox_words(int64_t n) {
  const auto words = std::make_shared<Guarded<uint32_t>>(n, Place::kAligned);
  words->in();
  Case c;
  c.operation = "philox_words";
  c.dtype = "u32";
  c.shape = text("%lld words", static_cast<long long>(n));
  c.bytes = 4.0 * static_cast<double>(n);
  c.enqueue = [=] { return sjd2_philox_words(stream, words->at(), 7, 9, 3, 11, 13, n); };
  c.check = [=] {
    words->fetch();
    bool equal = true;
    for (int64_t e = 0; e < n; ++e) {
      equal &= (*words)[e] == philox({static_cast<uint32_t>(e / 4), 3, 11, 13}, 7, 9)[static_cast<size_t>(e % 4)];
    }
    expect(equal, "philox_words: a word is another");
  };
  return c;
}

Case philox_normals(int64_t n) {
  const auto values = std::make_shared<Guarded<float>>(n, Place::kAligned);
  values->in();
  Case c;
  c.operation = "philox_normals";
  c.dtype = "f32";
  c.shape = text("%lld numbers", static_cast<long long>(n));
  c.bytes = 4.0 * static_cast<double>(n);
  c.enqueue = [=] { return sjd2_philox_normals_f32(stream, values->at(), 7, 9, 3, 11, 13, n); };
  // Exact values are the contract tests' business: here mean and variance, five standard errors wide.
  c.check = [=] {
    values->fetch();
    double sum = 0.0, squares = 0.0;
    for (int64_t i = 0; i < n; ++i) {
      sum += (*values)[i];
      squares += static_cast<double>((*values)[i]) * static_cast<double>((*values)[i]);
    }
    const auto count = static_cast<double>(n);
    expect(std::fabs(sum / count) < 5.0 / std::sqrt(count) && std::fabs(squares / count - 1.0) < 5.0 * std::sqrt(2.0 / count),
           "philox_normals: mean %g, mean square %g of %g numbers", sum / count, squares / count, count);
  };
  return c;
}

}  // namespace

std::vector<Maker> decode_cases(const Shapes& s) {
  std::vector<Maker> makers;
  for (const int64_t window : s.windows) {
    makers.push_back({"window_input", [=] { return window_input(s, window); }});
    makers.push_back({"target_probs", [=] { return target_probs(s, window, 0); }});
    makers.push_back({"target_probs", [=] { return target_probs(s, window, static_cast<int32_t>(s.codes / 4)); }});
    makers.push_back({"verify", [=] { return verify(s, window, SJD2_MAXIMAL, "maximal coupling"); }});
    makers.push_back({"verify", [=] { return verify(s, window, SJD2_EXACT, "exact"); }});
    makers.push_back({"verify_given", [=] { return verify_given(s, window); }});
    makers.push_back({"draw_given", [=] { return draw_given(s, window); }});
    makers.push_back({"log_likelihood", [=] { return log_likelihood(s, window); }});
  }
  makers.push_back({"philox_words", [=] { return philox_words(s.hidden * 64); }});
  makers.push_back({"philox_normals", [=] { return philox_normals(s.hidden * 64); }});
  return makers;
}

}  // namespace sjd2::bench
