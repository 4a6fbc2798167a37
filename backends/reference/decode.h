// Reading any tensor as numbers: the only place where the reference touches formats.
#pragma once
#include <vector>

#include "core/kernel.h"
#include "quant/formats.h"

namespace kerf::reference {

inline bool decodable(DType t) { return quant::is_decodable(t); }

/// Row r of a tensor of any decodable dtype, exactly as its format defines the values.
inline std::vector<float> decoded(const TensorView& t, int64_t r) {
  std::vector<float> row(static_cast<size_t>(t.desc.cols()));
  quant::decode_row_of(t.desc, t.data, r, row.data());
  return row;
}

}  // namespace kerf::reference
