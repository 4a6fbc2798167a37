# The container: bytes of a model file to metadata, tensors and hyper-parameters.
add_library(kerf_gguf STATIC
  file.cpp gguf.cpp gguf_layout.cpp gguf_magic.cpp gguf_parse.cpp gguf_split.cpp gguf_writer.cpp hparams.cpp scan_values.cpp weights.cpp)
target_link_libraries(kerf_gguf PUBLIC kerf_core)
