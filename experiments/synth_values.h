// Random values of a synthetic model, made so that activations neither explode nor vanish over many layers, and tokens stay
// different from each other, which spreads routing over the experts: weights have mean 0 and the std that Content says.
// Block i of a tensor depends on the seed, the tensor's name and i only (a counter-based generator, Salmon et al. 2011), so
// that any part of a tensor can be made alone, by any thread. No block is used twice.
//
// Codes of quantized blocks are uniform over all their values. A mean that is not 0 would be the same error in every output,
// and grow from layer to layer, so each format is balanced by what it has: formats with a minimum put it in the middle of the
// codes; the others, whose codes reach one further below 0 than above, draw the sign of their scales.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "experiments/synth_file.h"

namespace kerf {

class SynthValues {
 public:
  /// @param shape for what depends on it: the depth, and factors of rotary frequencies
  SynthValues(const SynthTensor& tensor, const ModelShape& shape, uint64_t seed);

  /// Writes blocks [first, first + n) of the tensor to `out`, n * block_bytes bytes. From any thread.
  void fill(int64_t first, int64_t n, std::byte* out) const;

  /// Random floats are sums of four bytes, a bell; so many sums there are.
  static constexpr size_t kBell = 4 * 255 + 1;
  /// Blocks of one tensor choose among so many scales.
  static constexpr size_t kScales = 64;

 private:
  float special(int64_t i) const;
  const SynthTensor& tensor_;
  const ModelShape& shape_;
  uint64_t key_;
  std::array<uint16_t, kScales> scales_{}, mins_{};  // binary16
  std::vector<float> bell_{};
  std::vector<uint16_t> half_bell_{};
};

}  // namespace kerf
