// Memory of this process as the system counts it.
#pragma once
#include <cstdint>
#include <optional>
#include <span>

#include "loaders/gguf.h"

namespace kerf {

/// The largest the process has been, in bytes.
int64_t peak_rss();

/// Bytes of mapped files that are in this process's page tables now. Pages that are only in the system's cache (what mincore(2)
/// tells) do not count, so it says what this run touched, rounded up to the neighbours that the system maps along (fault-around,
/// by default 64 KiB). Nothing if the system does not say.
std::optional<int64_t> resident_bytes(std::span<const gguf::File::Mapping> mappings);

}  // namespace kerf
