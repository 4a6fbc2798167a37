#include "loaders/tokenizer/stream.h"

#include <utility>

#include "core/text.h"

namespace kerf {

std::string StreamDecoder::next(int32_t id) {
  tokenizer_->append(id, options_.special, options_.at_start, pending_);
  std::string whole = pending_.substr(0, complete_utf8_prefix(pending_));
  pending_.erase(0, whole.size());
  return whole;
}

std::string StreamDecoder::flush() { return std::exchange(pending_, {}); }

}  // namespace kerf
