# The choice of the next token, apart from the program so that tests can reach it.
add_library(kerf_sampler STATIC sampler.cpp)
target_link_libraries(kerf_sampler PUBLIC kerf_core)
