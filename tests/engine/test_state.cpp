// Going back: a KV cache forgets rows, a recurrent state can only be put back from a checkpoint. What is computed after a way
// back must be the bits that are computed without one. Calls are cut at the same places in both: a prompt in other pieces is
// another computation, with roundings of its own.
#include <fmt/format.h>

#include "core/error.h"
#include "tests/catch.h"
#include "tests/engine/golden.h"

using namespace kerf;
using namespace kerf::test;

namespace {

using Tokens = std::vector<int32_t>;
const std::vector<std::string> kHybrids{"tiny_qwen3_next_a", "tiny_qwen3_5_b", "tiny_qwen3_5_moe_b"};
const std::vector<std::string> kBackends{"reference", "cpu"};
const std::vector<Rule> kStatesAway{{R"(^state\.)", "pretend:0", "test"}};

SessionOptions options_of(const Golden& g, const std::string& backend, const std::vector<Rule>& rules = {}) {
  auto o = options(g.path("f16"), backend);
  o.context = 64;
  o.micro_batch = o.max_outputs = 16;
  if (!rules.empty()) o.devices = {"pretend:0=64MiB"};
  o.rules = rules;
  return o;
}

/// Logits of all tokens, from where the session is, in one call.
std::vector<float> feed(Session& session, const Tokens& tokens) {
  std::vector<float> all;
  session.forward(tokens, static_cast<int64_t>(tokens.size()),
                  [&](int64_t, std::span<const float> rows) { all.insert(all.end(), rows.begin(), rows.end()); });
  return all;
}

Tokens part(const Tokens& tokens, int64_t first, int64_t end) { return {tokens.begin() + first, tokens.begin() + end}; }

/// Logits of the tokens behind the last cut, in a session that never went back.
std::vector<float> straight(const SessionOptions& o, const Tokens& tokens, const std::vector<int64_t>& cuts) {
  Session session(o, kernels());
  int64_t done = 0;
  for (const int64_t cut : cuts) {
    feed(session, part(tokens, done, cut));
    done = cut;
  }
  return feed(session, part(tokens, done, static_cast<int64_t>(tokens.size())));
}

/// f(golden, options) for each hybrid on each backend, with the states on the host and on a device of their own.
template <class F>
void for_each_hybrid(F&& f) {
  for (const auto& name : kHybrids)
    for (const auto& backend : kBackends)
      for (const auto& rules : {std::vector<Rule>{}, kStatesAway}) {
        INFO(fmt::format("{} on {}, {} rules", name, backend, rules.size()));
        const Golden g = golden(name);
        f(g, options_of(g, backend, rules));
      }
}

struct Stop {};

}  // namespace

TEST_CASE("a checkpoint brings back the logits, bit for bit, wherever it is taken") {
  for_each_hybrid([](const Golden& g, const SessionOptions& o) {
    for (const int64_t at : {1, 2, 5, 16, 17, 32}) {
      INFO("at " << at);
      const auto want = straight(o, g.tokens_33, {at});
      Session session(o, kernels());
      feed(session, part(g.tokens_33, 0, at));
      session.checkpoint();
      const Tokens other(g.tokens_150.begin(), g.tokens_150.begin() + 20);
      CHECK(!same_bits(feed(session, other), want));
      CHECK(session.rewind(at) == at);
      CHECK(session.position() == at);
      CHECK(same_bits(feed(session, part(g.tokens_33, at, 33)), want));
      // The checkpoint is still there, and nobody has written to it.
      CHECK(session.rewind(at) == at);
      CHECK(same_bits(feed(session, part(g.tokens_33, at, 33)), want));
    }
  });
}

TEST_CASE("without a checkpoint the way back leads to the beginning") {
  for_each_hybrid([](const Golden& g, const SessionOptions& o) {
    const auto want = straight(o, g.tokens_33, {});
    Session session(o, kernels());
    feed(session, Tokens(g.tokens_150.begin(), g.tokens_150.begin() + 20));
    CHECK(session.rewind(20) == 20);  // no way back at all
    CHECK(session.rewind(19) == 0);
    CHECK(same_bits(feed(session, g.tokens_33), want));
    session.checkpoint();  // at 33
    CHECK(session.rewind(32) == 0);
    CHECK(same_bits(feed(session, g.tokens_33), want));
  });
}

TEST_CASE("the last checkpoints are kept; the way back ends at the nearest one before") {
  for_each_hybrid([](const Golden& g, const SessionOptions& o) {
    constexpr int64_t kStep = 3, kMade = static_cast<int64_t>(Session::kCheckpoints) + 2;
    const int64_t oldest = kStep * 3;  // two are gone
    std::vector<int64_t> cuts(static_cast<size_t>(kMade));
    for (int64_t i = 0; i < kMade; ++i) cuts[static_cast<size_t>(i)] = kStep * (i + 1);
    const auto make = [&](Session& session) {
      for (const int64_t cut : cuts) {
        feed(session, part(g.tokens_33, cut - kStep, cut));
        session.checkpoint();
      }
      feed(session, part(g.tokens_33, cuts.back(), 33));
    };
    Session session(o, kernels());
    for (const int64_t to : {cuts.back() + 1, cuts.back(), cuts.back() - 1, oldest + kStep + 2, oldest + 1, oldest}) {
      INFO("to " << to);
      CHECK(session.rewind(0) == 0);
      make(session);
      const int64_t reached = to / kStep * kStep;
      CHECK(session.rewind(to) == reached);
      const std::vector<int64_t> until(cuts.begin(), cuts.begin() + reached / kStep);
      CHECK(same_bits(feed(session, part(g.tokens_33, reached, 33)), straight(o, g.tokens_33, until)));
    }
    session.rewind(0);
    make(session);
    for (int64_t to = cuts.back(); to >= oldest; to -= kStep) CHECK(session.rewind(to) == to);  // one after the other
    CHECK(session.rewind(oldest - 1) == 0);
    CHECK(session.checkpoint_bytes() == 0);
    CHECK(same_bits(feed(session, g.tokens_33), straight(o, g.tokens_33, {})));
  });
}

TEST_CASE("checkpoints take what they say") {
  for_each_hybrid([](const Golden& g, const SessionOptions& o) {
    Session session(o, kernels());
    int64_t states = 0;
    for (const auto& name : session.recurrent_states()) states += session.placement().of(name).bytes();
    CHECK(states > 0);
    session.checkpoint();  // the beginning needs none
    CHECK(session.checkpoint_bytes() == 0);
    feed(session, part(g.tokens_33, 0, 4));
    session.checkpoint();
    session.checkpoint();  // of the same position
    CHECK(session.checkpoint_bytes() == states);
    for (int64_t i = 0; i < 7; ++i) {
      feed(session, {g.tokens_33[static_cast<size_t>(i)]});
      session.checkpoint();
    }
    CHECK(session.checkpoint_bytes() == static_cast<int64_t>(Session::kCheckpoints) * states);
    CHECK(session.counters().copied_bytes ==
          session.planned(4, 4).plan->boundary_bytes() + 7 * session.planned(1, 1).plan->boundary_bytes());  // they are no part of a plan
  });
}

TEST_CASE("after an interrupted pass a hybrid must go back, and then is right") {
  for_each_hybrid([](const Golden& g, const SessionOptions& o) {
    const auto want = straight(o, g.tokens_33, {5});
    const auto from_start = straight(o, g.tokens_33, {});
    Session session(o, kernels());
    feed(session, part(g.tokens_33, 0, 5));
    session.checkpoint();
    int64_t left = 0;
    session.after_step([&] {
      if (left > 0 && --left == 0) throw Stop();
    });
    const auto steps = static_cast<int64_t>(session.planned(16, 16).plan->steps.size());
    // In the first micro-batch of two, and in the second.
    for (const int64_t step : {int64_t{1}, int64_t{3}, steps / 2, steps - 2, steps + 4}) {
      INFO("after step " << step);
      left = step;
      CHECK_THROWS_AS(feed(session, part(g.tokens_33, 5, 33)), Stop);
      left = 0;
      CHECK_THROWS_AS(feed(session, {1}), std::logic_error);
      CHECK(session.rewind(session.position()) == 5);  // of the position it is at, nothing is left
      CHECK(same_bits(feed(session, part(g.tokens_33, 5, 33)), want));
      CHECK(session.rewind(5) == 5);
    }
    left = 3;
    CHECK_THROWS_AS(feed(session, part(g.tokens_33, 5, 33)), Stop);
    left = 0;
    CHECK(session.rewind(4) == 0);
    CHECK(same_bits(feed(session, g.tokens_33), from_start));
  });
}

TEST_CASE("models without recurrent states go back to any position, and need no checkpoints") {
  for (const std::string name : {"qwen3", "tiny_qwen3_moe_a", "tiny_mixtral_b"})
    for (const auto& backend : kBackends) {
      const Golden g = golden(name);
      const auto o = options_of(g, backend);
      Session session(o, kernels());
      CHECK(session.recurrent_states().empty());
      for (const int64_t at : {32, 17, 16, 5, 1}) {
        INFO(name << " back to " << at);
        session.rewind(0);
        feed(session, part(g.tokens_33, 0, at));
        session.checkpoint();
        CHECK(session.checkpoint_bytes() == 0);
        feed(session, Tokens(g.tokens_150.begin(), g.tokens_150.begin() + 20));
        CHECK(session.rewind(at + 20) == at + 20);
        CHECK(session.rewind(at + 9) == at + 9);
        CHECK(session.rewind(at) == at);
        CHECK(same_bits(feed(session, part(g.tokens_33, at, 33)), straight(o, g.tokens_33, {at})));
      }
      // An interrupted pass leaves the rows before it as they were.
      session.rewind(0);
      feed(session, part(g.tokens_33, 0, 5));
      bool stop = true;
      session.after_step([&] {
        if (stop) throw Stop();
      });
      CHECK_THROWS_AS(feed(session, part(g.tokens_33, 5, 33)), Stop);
      stop = false;
      CHECK(session.rewind(5) == 5);
      CHECK(same_bits(feed(session, part(g.tokens_33, 5, 33)), straight(o, g.tokens_33, {5})));
    }
}

TEST_CASE("a second turn that shares the beginning of the first gives the logits of a fresh session") {
  // What `kerf run -i` does: it feeds a prompt, keeps a checkpoint, answers token by token; the next prompt begins with the first one,
  // but the answer in it may be other tokens than those that were generated.
  for_each_hybrid([](const Golden& g, const SessionOptions& o) {
    const Tokens prompt = part(g.tokens_33, 0, 12);
    Tokens second = prompt;
    const Tokens tail = part(g.tokens_150, 0, 15);
    second.insert(second.end(), tail.begin(), tail.end());
    Session session(o, kernels());
    feed(session, prompt);
    session.checkpoint();
    for (const int32_t id : part(g.tokens_33, 12, 20)) feed(session, {id});
    const int64_t common = session.rewind(13);  // by chance the first answered token is the same
    CHECK(common == 12);
    CHECK(same_bits(feed(session, part(second, common, 27)), straight(o, second, {12})));
  });
}
