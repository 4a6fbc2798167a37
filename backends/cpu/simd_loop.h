// How the elementwise ops share work between threads: by ranges whose bounds depend on the size alone, so that neither
// the number of threads nor the order they come in can change a result.
#pragma once
#include <cstdint>

#include "core/threadpool.h"

namespace kerf {
#ifndef KERF_ISA
#define KERF_ISA base
#endif
inline namespace KERF_ISA {

/// Values one thread should have at least. Waking the pool costs a microsecond or two; 8192 values of a norm or an add
/// take about as long, so the norm of one decoded token (1536..8192 wide) stays on the thread that asked.
constexpr int64_t kSpanValues = 8192;

/// body(begin, end) over ranges of [0, n) of nearly equal length, each of at least `grain` items if n allows.
template <class Body>
void for_each_span(ThreadPool& pool, int64_t n, int64_t grain, const Body& body) {
  const int64_t spans = n <= grain ? 1 : (n + grain - 1) / grain;
  pool.parallel_for(spans, [&](int64_t i) { body(n * i / spans, n * (i + 1) / spans); });
}

/// The same over rows of `cols` values.
template <class Body>
void for_each_rows(ThreadPool& pool, int64_t rows, int64_t cols, const Body& body) {
  for_each_span(pool, rows, cols >= kSpanValues ? 1 : kSpanValues / cols, body);
}

}  // namespace KERF_ISA
}  // namespace kerf
