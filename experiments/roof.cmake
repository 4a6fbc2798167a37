# The roof: loops per instruction set, with the flags that kernels of that set get (cmake/kernels.cmake).
foreach(isa avx2 avx512 vnni amx)
  set_source_files_properties(${CMAKE_CURRENT_LIST_DIR}/roof/loops.${isa}.cpp PROPERTIES COMPILE_OPTIONS "${KERF_FLAGS_${isa}}" COMPILE_DEFINITIONS KERF_ISA=${isa})
endforeach()
set_source_files_properties(${CMAKE_CURRENT_LIST_DIR}/roof/dot.bf16.cpp PROPERTIES COMPILE_OPTIONS "${KERF_FLAGS_avx512};-mavx512bf16" COMPILE_DEFINITIONS KERF_ISA=bf16)

add_library(kerf_roof STATIC
  ${CMAKE_CURRENT_LIST_DIR}/roof.cpp
  ${CMAKE_CURRENT_LIST_DIR}/roof/dot.bf16.cpp
  ${CMAKE_CURRENT_LIST_DIR}/roof/loops.amx.cpp
  ${CMAKE_CURRENT_LIST_DIR}/roof/loops.avx2.cpp
  ${CMAKE_CURRENT_LIST_DIR}/roof/loops.avx512.cpp
  ${CMAKE_CURRENT_LIST_DIR}/roof/loops.sse2.cpp
  ${CMAKE_CURRENT_LIST_DIR}/roof/loops.vnni.cpp
  ${CMAKE_CURRENT_LIST_DIR}/roof_device.cpp
  ${CMAKE_CURRENT_LIST_DIR}/roof_machine.cpp
  ${CMAKE_CURRENT_LIST_DIR}/roof_measure.cpp
  ${CMAKE_CURRENT_LIST_DIR}/roof_threads.cpp
  ${CMAKE_CURRENT_LIST_DIR}/roof_work.cpp)
target_link_libraries(kerf_roof PUBLIC kerf_engine kerf_backends kerf_settings)
