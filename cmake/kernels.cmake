# kerf_kernels(<backend> <file>...): builds the kernel files of one backend and generates fill_<backend>(Registry&),
# which calls one function per file: an explicit list, written by the build. The file cpu/matmul.q4_k.3_dot.vnni.cpp
# must define  void kerf::cpu::matmul_q4_k_3_dot_vnni(Registry::Adder);
#
# The last part of a name before .cpp may be an instruction set (core/isa.h): the file is then compiled with its flags
# and with KERF_ISA=<isa>, which gives inline code in shared headers a namespace of its own, so that the linker can not
# hand an AVX-512 copy of a helper to a machine without AVX-512.
set(KERF_FLAGS_avx2 -mavx2 -mfma -mf16c)
set(KERF_FLAGS_avx512 -mavx512f -mavx512cd -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c -mprefer-vector-width=512)
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  # GCC 12 warns inside its own avx512fintrin.h, whose _mm512_undefined_ps() is meant to be undefined (GCC bug 105593).
  list(APPEND KERF_FLAGS_avx512 -Wno-uninitialized -Wno-maybe-uninitialized)
endif()
set(KERF_FLAGS_vnni ${KERF_FLAGS_avx512} -mavx512vnni)
set(KERF_FLAGS_amx ${KERF_FLAGS_vnni} -mavx512vbmi -mavx512vbmi2 -mavx512bf16 -mamx-tile -mamx-bf16 -mamx-int8)

# kerf_fill(<backend> <variable> <file>...): writes fill_<backend>() and puts its path into the variable.
function(kerf_fill backend variable)
  set(declarations "")
  set(calls "")
  foreach(file IN LISTS ARGN)
    get_filename_component(stem ${file} NAME)
    string(REGEX REPLACE "\\.cpp$" "" stem ${stem})
    string(REPLACE "." "_" function ${stem})
    string(APPEND declarations "void ${function}(Registry::Adder);\n")
    string(APPEND calls "  ${backend}::${function}(registry.backend(\"${backend}\"));\n")
  endforeach()
  set(generated ${CMAKE_CURRENT_BINARY_DIR}/${backend}_kernels.cpp)
  file(CONFIGURE OUTPUT ${generated} CONTENT
"// Written by cmake/kernels.cmake from the list in a backend's CMakeLists.txt.
#include \"core/kernel.h\"
namespace kerf {
namespace ${backend} {
${declarations}}  // namespace ${backend}
void fill_${backend}(Registry& registry);
void fill_${backend}(Registry& registry) {
${calls}}
}  // namespace kerf
")
  set(${variable} ${generated} PARENT_SCOPE)
endfunction()

function(kerf_kernels backend)
  foreach(file IN LISTS ARGN)
    if(file MATCHES "\\.(avx2|avx512|vnni|amx)\\.cpp$")
      set(isa ${CMAKE_MATCH_1})
      set_source_files_properties(${file} PROPERTIES COMPILE_OPTIONS "${KERF_FLAGS_${isa}}" COMPILE_DEFINITIONS KERF_ISA=${isa})
    endif()
  endforeach()
  kerf_fill(${backend} generated ${ARGN})
  add_library(kerf_${backend} STATIC ${ARGN} ${generated})
  target_link_libraries(kerf_${backend} PUBLIC kerf_core kerf_quant kerf_attention)
endfunction()
