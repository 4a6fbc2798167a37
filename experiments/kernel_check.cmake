# The generic kernel test: cases, data, comparison. Used by tests/kernels and by `kerf kernels test|bench`.
add_library(kerf_kernel_check STATIC kernel_data.cpp kernel_cases.cpp kernel_attempt.cpp kernel_gates.cpp kernel_check.cpp)
target_link_libraries(kerf_kernel_check PUBLIC kerf_core kerf_quant kerf_attention kerf_reference)
