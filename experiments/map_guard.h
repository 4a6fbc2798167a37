// A mapped model file may be truncated while it is in use; touching a lost page then raises SIGBUS, which would end the
// process. The guard turns it into an error: the handler puts a page of zeros where the lost one was, remembers where,
// and the next check() throws. A signal handler can only reach process-wide data, so there is one guard per process.
#pragma once
#include <vector>

#include "loaders/gguf.h"

namespace kerf {

class MapGuard {
 public:
  /// Installs the handler and watches these ranges. Other SIGBUS faults keep their usual effect.
  explicit MapGuard(const std::vector<gguf::File::Mapping>& mappings);
  ~MapGuard();
  MapGuard(const MapGuard&) = delete;
  MapGuard& operator=(const MapGuard&) = delete;

  /// @throws FileError with path and offset if a page was lost since the guard was set.
  void check() const;
};

}  // namespace kerf
