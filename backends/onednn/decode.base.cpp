// For every x86-64.
#include "backends/onednn/decode_rows.h"
