# The vocabulary: text to token ids and back.
find_package(PkgConfig REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
add_library(kerf_tokenizer STATIC
  tokenizer/bpe.cpp tokenizer/pretokenize.cpp tokenizer/special.cpp tokenizer/spm.cpp tokenizer/stream.cpp tokenizer/tokenizer.cpp tokenizer/utf8.cpp
  tokenizer/vocab.cpp tokenizer/vocab_read.cpp)
target_link_libraries(kerf_tokenizer PUBLIC kerf_core kerf_gguf PRIVATE PkgConfig::PCRE2 fmt::fmt)
