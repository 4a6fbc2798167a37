// Chooses the next token from logits: penalties, then top-k, top-p, min-p, then temperature and a draw: the order of
// llama.cpp's default sampler chain, whose flags these are.
#pragma once
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kerf {

struct SamplerOptions {
  float temp = 0.8f;            // 0: greedy, the lowest id among the largest logits
  int top_k = 40;               // <= 0: all
  float top_p = 0.95f;          // the fewest most probable tokens that reach this mass; >= 1: all
  float min_p = 0.05f;          // tokens at least this probable relative to the best; <= 0: all
  float repeat_penalty = 1.0f;  // logits of recent tokens: divided by it if positive, else multiplied (Keskar et al. 2019)
  int repeat_last_n = 64;       // how many of the last tokens count; 0: none, -1: all
  uint64_t seed = 0;
};

class Sampler {
 public:
  /// @throws Error(usage) naming the option that is out of range.
  explicit Sampler(SamplerOptions options);

  /// The id drawn for these logits [V]. `position` names them in messages.
  /// @throws Error(runtime) if a logit is not finite.
  int32_t next(std::span<const float> logits, std::string_view position = {});
  /// Whether next() takes the id of the largest logit, whatever came before: nothing else of the logits is needed then.
  bool is_greedy() const { return options_.temp == 0 && (options_.repeat_penalty == 1 || options_.repeat_last_n == 0); }
  /// Tells the penalties which token was taken in the end (also those of the prompt).
  void accept(int32_t id);

  struct Candidate {
    int32_t id = 0;
    float logit = 0;
    double p = 0;  // under temperature, among the candidates left
  };
  /// What `next` draws from, most probable first. @throws as next().
  std::vector<Candidate> candidates(std::span<const float> logits, std::string_view position = {}) const;

 private:
  SamplerOptions options_;
  std::mt19937_64 random_;  // its sequence is fixed by the C++ standard, so a seed means the same tokens everywhere
  std::vector<int32_t> recent_;
};

}  // namespace kerf
