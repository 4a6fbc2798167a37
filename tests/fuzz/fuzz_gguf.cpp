// Any bytes as a model file: the container, hyper-parameters, vocabulary, and every byte of every tensor. A FileError is
// the right answer to nearly all of them; any other exception, a sanitizer report, a hang or too much memory is a finding.
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/error.h"
#include "loaders/gguf.h"
#include "loaders/hparams.h"
#include "loaders/tokenizer/vocab.h"
#include "loaders/weights.h"

namespace {

template <class Step>
void refusable(Step step) {
  try {
    step();
  } catch (const kerf::FileError&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  refusable([&] {
    const auto file = kerf::gguf::File::from_bytes(std::as_bytes(std::span(data, size)), "fuzz");
    // One step's refusal must not hide the next step's fault.
    refusable([&] { kerf::read_hparams(file); });
    refusable([&] {
      if (kerf::has_vocab(file)) kerf::read_vocab(file);
    });
    kerf::scan_values(file);
    kerf::WeightFinder finder(file);
    for (const auto& t : file.tensors()) {
      const auto& s = t.desc.shape;
      refusable([&] { finder.need(t.name, {s[0], s[1], s[2], s[3]}); });
      refusable([&] { finder.want(t.name, {s[3]}); });
    }
    refusable([&] { finder.finish(true); });
  });
  return 0;
}
