# Random models of true shapes, apart from the program so that tests can reach them.
add_library(kerf_synth STATIC shapes.cpp synth_file.cpp synth_values.cpp)
target_link_libraries(kerf_synth PUBLIC kerf_gguf kerf_quant kerf_core)
