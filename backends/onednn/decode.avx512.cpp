// Compiled with AVX-512 flags.
#include "backends/onednn/decode_rows.h"
