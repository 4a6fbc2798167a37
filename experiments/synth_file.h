// What is in a file that kerf synth writes: metadata, tensors and where they lie. Everything but the values.
#pragma once
#include <string>
#include <vector>

#include "core/tensor.h"
#include "experiments/shapes.h"
#include "loaders/gguf_writer.h"
#include "quant/mix.h"

namespace kerf {

/// What kind of values a tensor has (experiments/synth_values.h draws them).
enum class Content : uint8_t {
  matrix,        // std 1 / sqrt(cols): a normalized input gives an output of about the same size
  residual,      // a matrix whose output is added to the residual stream: smaller by sqrt(2 layers), so that all 2 layers of them
                 // together are as large as the embedding (Radford et al. 2019, 2.3)
  embedding,     // of an own head: std 1, since a row is looked up whole and the residual should remember its token in all layers
  norm,          // near 1
  bias,          // small
  convolution,   // taps of DeltaNet's convolution
  decay,         // ssm_a = -exp(A_log), negative
  time_step,     // ssm_dt.bias: softplus of it is a time step
  rope_factors,  // Llama 3.1's divisors of rotary frequencies: not random
};

struct SynthTensor {
  std::string name{};
  TensorDesc desc{};
  Content content = Content::matrix;
  int64_t offset = 0;  // in the file
};

struct SynthOptions {
  quant::Mix mix = quant::Mix::q4_k_m;
  int64_t layers = 0;   // of the shape's; 0: all
  int64_t context = 0;  // context_length; 0: the shape's
  uint64_t seed = 0;
};

struct SynthFile {
  std::vector<SynthTensor> tensors{};
  std::string header{};
  int64_t bytes = 0;       // of the whole file
  int64_t parameters = 0;  // values of all tensors
};

/// With fewer layers than the shape has, a mix gives its extra bits as to a model of so many layers: to the first, the last and
/// every third between, so that the bytes of a layer are on average about what they are in the whole model. What depends on
/// the size of the whole, the rule for 70B models and the scale of residual matrices, stays as it is there.
SynthFile synth_file(const ModelShape& shape, const SynthOptions& options);

}  // namespace kerf
