// The backends of this build: each adds its kernels to a registry. The functions are written by cmake/kernels.cmake.
#pragma once
#include "core/kernel.h"

namespace kerf {

void fill_reference(Registry& registry);
void fill_cpu(Registry& registry);

}  // namespace kerf
