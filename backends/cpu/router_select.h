// The largest logits of a token without sorting the others: a list in falling order, into which few of them ever come (of X in
// random order, used * ln(X / used) after the first). A later one of equal size goes behind, so that the lower id is first.
#pragma once
#include <cstdint>

namespace kerf::cpu {
#ifndef KERF_ISA
#define KERF_ISA base
#endif
inline namespace KERF_ISA {

struct Largest {
  int32_t* ids;
  float* values;  // their logits
  int64_t used, count = 0;

  /// Logits have to come in the order of their ids. One that is not a number takes a place only while there are free ones.
  void offer(int32_t id, float logit) {
    if (count == used && !(logit > values[used - 1])) return;
    int64_t at = count < used ? count++ : used - 1;
    for (; at > 0 && logit > values[at - 1]; --at) values[at] = values[at - 1], ids[at] = ids[at - 1];
    values[at] = logit;
    ids[at] = id;
  }
};

/// Whether weights that are divided by their sum still need the sum over all experts. It cancels but for the lower bound of
/// 2^-14 on the chosen probabilities' sum, and as they are the largest, that sum is at least used / X.
inline bool needs_all(bool renormalize, int64_t X, int64_t used) { return !renormalize || X > used << 14; }

/// What exponentials are divided by.
inline float router_divisor(bool renormalize, float all, float chosen) {
  return !renormalize ? all : chosen > all * 0x1p-14f ? chosen : all * 0x1p-14f;
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
