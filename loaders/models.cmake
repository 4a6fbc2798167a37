add_library(kerf_models STATIC
  models/model.cpp models/paper.cpp models/blocks.cpp models/llama.cpp models/qwen2.cpp models/qwen2moe.cpp
  models/qwen3.cpp models/qwen3moe.cpp models/qwen3next.cpp models/qwen35.cpp models/qwen35moe.cpp)
target_link_libraries(kerf_models PUBLIC kerf_gguf kerf_core)
