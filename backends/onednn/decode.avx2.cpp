// Compiled with AVX2 flags.
#include "backends/onednn/decode_rows.h"
